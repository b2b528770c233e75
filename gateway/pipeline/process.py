"""One drop's way through the pipeline: read, validate, order, write, report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl

from gateway import clock
from gateway.contracts.codes import CODES
from gateway.durable import sync_folder
from gateway.errors import CutOff, DropRefused
from gateway.pipeline import csv_lines, page, pieces, rejecting, results, settle
from gateway.pipeline import report as reports
from gateway.pipeline.cut_off import open_quote_is_a_sign
from gateway.pipeline.drop import Contributed, Counts, Drop, Outcome, Suspect
from gateway.pipeline.handover import SCRATCH as HANDOVER
from gateway.pipeline.handover import Handover
from gateway.pipeline.histogram import spread
from gateway.pipeline.judge import Judged, judge
from gateway.pipeline.order import Concluded, Ordered, left_out_of, ordered
from gateway.pipeline.pieces import Spool
from gateway.pipeline.problems import Problems
from gateway.pipeline.result_form import is_rendered, properties_of, result_columns, result_format, too_many_errors
from gateway.pipeline.rows import ROW
from gateway.pipeline.source import Source, opened
from gateway.pipeline.staging import Staging
from gateway.pipeline.validate import TIME

WRITTEN_BESIDE_BYTES = 16 << 20
CLOCK_SKEW_MAX = timedelta(minutes=5)
SCRATCH = frozenset({"expanded", "utf8"})
KEPT = frozenset({settle.FOLDER, settle.SETTLED})
Progress = Callable[[str], None]


def process(drop: Drop, staging: Path, progress: Progress = lambda status: None) -> Outcome | Suspect:
    """As `outcome_of`, but a drop that looks cut off and is to be held comes back as a Suspect, and leaves no file.

    What is raised is a fault of ours.
    """
    try:
        return outcome_of(drop, staging, progress)
    except CutOff as cut:
        fresh(staging, drop)
        return Suspect(cut.message, CODES[cut.code].hint, cut.line)


def outcome_of(drop: Drop, staging: Path, progress: Progress = lambda status: None) -> Outcome:
    """Run a drop to its outcome: every result file is in `staging`, durable, and nothing is visible yet.

    A bad file is an outcome with status `failed` and a report that says why. Raises CutOff for a drop that looks cut
    off where it is to be held. `progress` hears "processing" when validation is done.
    """
    started = clock.now()
    problems = Problems(drop.policy.problems_max)
    out = fresh(staging, drop)
    try:
        if drop.duplicate_of and drop.policy.on_duplicate == "reject":
            message = f"these bytes were already processed by job {drop.duplicate_of}"
            raise DropRefused("duplicate_file", message)
        if drop.duplicate_of:
            return finish(drop, out, started, problems, Counts(), reports.Facts(drop.path.stat().st_size))
        note_circumstances(drop, problems)
        source = opened(drop, staging)
        spool = Spool(staging, drop) if len(source.octets) > drop.whole_bytes_max else None
        handover = Handover(staging, drop) if drop.for_store else None
        render = is_rendered(source, drop)
        try:
            with open_quote_is_a_sign(source):
                judged = judge(source, drop, problems, render=render, keeper=spool, taker=handover)
        except CutOff as cut:
            source, problems = without_the_cut(cut, source, drop)
            spool = Spool(staging, drop) if spool else None
            handover = Handover(staging, drop) if handover else None
            judged = judge(source, drop, problems, render=render, keeper=spool, taker=handover)
        progress("processing")
        if spool:
            done = pieces.conclude(drop, source, judged, spool, out, problems)
        else:
            done = conclude(drop, source, judged, out, problems)
        reasons = (done.reason,) if done.reason else ()
        contributed = handover.write(done.left_out, done.rejected) if handover and not reasons else None
        return finish(drop, out, started, problems, done.counts, done.facts, reasons, contributed)
    except DropRefused as refusal:
        if isinstance(refusal, CutOff) and drop.on_cut_off == "hold":
            raise
        out = fresh(staging, drop)
        problems.add_refusal(refusal)
        return finish(
            drop, out, started, problems, Counts(), reports.Facts(drop.path.stat().st_size), reasons=(refusal.message,)
        )
    finally:
        clear_scratch(staging)


def clear_scratch(staging: Path) -> None:
    """Take what was only needed on the way out of the staging folder; most drops need nothing of it."""
    found = os.listdir(staging) if staging.is_dir() else []
    for scratch in SCRATCH.intersection(found):
        (staging / scratch).unlink()
    for folder in {pieces.FOLDER, HANDOVER}.intersection(found):
        shutil.rmtree(staging / folder, ignore_errors=True)


def without_the_cut(cut: CutOff, source: Source, drop: Drop) -> tuple[Source, Problems]:
    """The text up to the record that is cut, to be read anew, and the problems so far: the bytes left out.

    Raises the cut for a drop that is not to be processed so, and where nothing would be left.
    """
    if drop.on_cut_off != "process" or not cut.whole:
        raise cut
    problems = Problems(drop.policy.problems_max)
    note_circumstances(drop, problems)
    left_out = len(source.octets) - cut.whole
    problems.add_of_file(
        cut.code, f"{cut.message}; the last {left_out:,} bytes are in no row", line=cut.line, level="warning"
    )
    return replace(source, octets=source.octets[: cut.whole]), problems


def note_circumstances(drop: Drop, problems: Problems) -> None:
    """What the way of the drop tells, apart from its bytes (C45, C47)."""
    if not drop.completion_proof:
        problems.add_of_file("no_completion_proof", "nothing proves that the upload was complete")
    if drop.client_mtime and drop.client_mtime > drop.as_of + CLOCK_SKEW_MAX:
        ahead = drop.client_mtime - drop.as_of
        problems.add_of_file("clock_skew", f"the file's time is {ahead} ahead of ours: the sender's clock is off")


def fail(drop: Drop, staging: Path, code: str, message: str, hint: str = "") -> Outcome:
    """The outcome of a drop that could not be processed through no fault of its own, with a report that says so."""
    problems = Problems(drop.policy.problems_max)
    problems.add_of_file(code, message, hint=hint)
    size = drop.path.stat().st_size if drop.path.exists() else 0
    return finish(drop, fresh(staging, drop), clock.now(), problems, Counts(), reports.Facts(size), reasons=(message,))


def fresh(staging: Path, drop: Drop) -> Staging:
    """A staging folder without files; what an earlier try left is removed."""
    if not staging.is_dir():
        staging.mkdir(parents=True)
    elif not is_fresh(staging):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
    generation = f".g{drop.generation}" if drop.generation > 1 else ""
    return Staging(staging, drop.name + generation)


def is_fresh(staging: Path) -> bool:
    """Whether nothing is in it but empty folders: one that was another job's has them, and this job needs them too."""
    found = os.listdir(staging)
    return KEPT.issuperset(found) and not any(os.listdir(staging / folder) for folder in found)


def conclude(drop: Drop, source: Source, judged: Judged, out: Staging, problems: Problems) -> Concluded:
    """Order and write what was judged; a feed may want none of it when too much is bad (U44, C24)."""
    total = judged.good.height + judged.rejected.height
    facts = reports.Facts(drop.path.stat().st_size)
    if judged.rejected.height:
        header = judged.header.raw
        out.write(
            f".rejected.{source.format}",
            lambda path: results.write_rejected(source, header, judged.rejected, path),
        )
    if reason := too_many_errors(drop, judged.rejected.height, total):
        problems.add_of_file("too_many_errors", reason)
        counts = Counts(total, rejected=judged.rejected.height, withheld=judged.good.height, blank=judged.blank)
        return Concluded(counts, facts, reason)
    done = ordered(judged.good, drop.contract)
    counts = Counts(total, done.frame.height, done.merged, done.duplicates, judged.rejected.height, blank=judged.blank)
    columns = write_accepted(drop, source, judged, done, out)
    facts = reports.Facts(
        facts.file_size,
        order=reports.order_facts(done.frame, TIME, done.moved),
        time_columns=judged.tallies.times.told(),
        properties=properties_of(drop, columns),
        histogram=spread(done.frame, TIME),
        columns=tuple(judged.header.names or sorted(judged.further)),
        has_header=bool(judged.header.names),
    )
    return Concluded(counts, facts, left_out=left_out_of(judged.good, done), rejected=[judged.rejected[ROW].to_numpy()])


def write_accepted(drop: Drop, source: Source, judged: Judged, done: Ordered, out: Staging) -> list[str]:
    """The accepted rows in the format of the drop, or of the feed; returns their columns."""
    form = result_format(source, drop)
    if is_rendered(source, drop) and form == "csv":
        columns = result_columns(judged, drop, form)
        if done.frame.height:
            write = partial(csv_lines.write, done.frame, columns, judged.header.delimiter)
            out.write(".accepted.csv", write, large=is_large(done.frame))
        return columns
    if is_rendered(source, drop):
        if done.frame.height:
            out.write(".accepted.ndjson", partial(results.write_rendered, done.frame), large=is_large(done.frame))
        return sorted(judged.further)
    columns = result_columns(judged, drop, form)
    writers: dict[str, Callable[[Path], object]] = {
        "csv": partial(results.write_csv, done.frame, columns, judged.header.delimiter),
        "ndjson": partial(results.write_ndjson, done.frame, drop, columns, judged.json_columns, judged.escapes),
        "parquet": partial(results.write_parquet, done.frame, drop, columns),
    }
    if done.frame.height:
        out.write(f".accepted.{form}", writers[form])
    return columns


def is_large(frame: pl.DataFrame) -> bool:
    """Whether writing the rows takes so long that a thread beside it is worth its while."""
    return frame.estimated_size() > WRITTEN_BESIDE_BYTES


def finish(
    drop: Drop,
    out: Staging,
    started: datetime,
    problems: Problems,
    counts: Counts,
    facts: reports.Facts,
    reasons: tuple[str, ...] = (),
    contributed: Contributed | None = None,
) -> Outcome:
    """Write errors and report, and close the outcome. The counts must add up, or nothing is published.

    A job that brings something to the store gets its report when the store has it (see `settle`).
    """
    if not counts.add_up:
        raise AssertionError(f"rows do not add up: {counts}")
    if not drop.leaves_accepted:
        out.take_back("accepted")
    listed = problems.listed()
    if listed.height and (listed["level"] != "note").any():
        out.write(".errors.csv", partial(results.write_errors, listed))
    outcome = Outcome(
        drop.job_id, "failed" if reasons else "completed", started, clock.now(), counts, tuple(out.files),
        drop.contract.name, drop.contract.sha256, reports.most_first(problems.by_code), reasons,
        drop.duplicate_of, drop.repairs, contributed, facts.columns, facts.has_header,
    )  # fmt: skip
    content = reports.report(drop, outcome, problems, facts, listed)
    if contributed and contributed.rows:
        if contributed.can_be_rejected:
            rejecting.keep_listed(out.folder / settle.FOLDER, problems, listed)
        # What the store makes of the rows belongs into the report, so it is not written yet.
        settle.leave(out, content, problems, facts.histogram)
        sync_folder(out.folder)
        return outcome
    shown = out.write(".report.html", lambda path: page.write(path, content, problems, facts.histogram))
    content["files"].append(reports.file_facts(shown))
    text = reports.report_text(content)
    out.write(".report.json", lambda path: path.write_text(text, encoding="utf-8"))
    sync_folder(out.folder)
    return replace(outcome, files=tuple(out.files))
