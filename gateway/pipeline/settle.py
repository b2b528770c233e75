"""Settling: the results of a staged job are finished with what the store says of it.

The pipeline leaves in `<staging>/store/` what that takes, beside the rows for the store: `told.json`, with what the
report says so far, and the problems and the histogram of its page. What is finished goes to `<staging>/settled/`, and
nothing that was staged is changed: so it can be done again after a kill.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from gateway import clock
from gateway.durable import create, sync_folder
from gateway.pipeline import leaving, page, rejecting, remarks, results
from gateway.pipeline.drop import Drop, Outcome, StagedFile
from gateway.pipeline.histogram import Bucket, Histogram
from gateway.pipeline.problems import Group, Problems
from gateway.pipeline.report import PROBLEMS_SHOWN, file_facts, most_first, order_facts, report_text
from gateway.pipeline.report import Facts as Learnt
from gateway.pipeline.result_form import too_many_errors
from gateway.pipeline.staging import Staging
from gateway.pipeline.validate import TIME

if TYPE_CHECKING:
    # Whoever only leaves something here does without the store.
    from gateway.store import Facts

FOLDER: Final = "store"
SETTLED: Final = "settled"
TOLD: Final = "told.json"
PAGE, REPORT = "report.html", "report.json"
ORDER: Final = ("rejected", "accepted", "errors", PAGE, REPORT)


def leave(out: Staging, content: Mapping[str, Any], problems: Problems, histogram: Histogram | None) -> None:
    """Keep what the report and its page are made of beside what the job brings to the store."""
    told = {
        "prefix": out.prefix,
        "report": content,
        "listed_max": problems.listed_max,
        "room": problems.room,
        "groups": [asdict(group) for group in problems.groups()],
        "histogram": told_of(histogram) if histogram else None,
    }
    # The folder has what the store gets, so it is there.
    folder = out.folder / FOLDER
    create(folder / TOLD, json.dumps(told, ensure_ascii=False).encode())
    sync_folder(folder)


def settled(staging: Path, outcome: Outcome, facts: Facts, rejecting: Drop | None = None) -> Outcome:
    """The outcome of a job as the store has decided it; its report tells the facts. Can be repeated.

    `rejecting` is the drop where events of unknown identities are rejected.
    """
    empty_folder(staging / SETTLED)
    return Settling(staging, outcome, facts, rejecting).settled()


def rewrites(facts: Facts) -> bool:
    """Whether more is written than page and report: files with rows, as large as the drop may be."""
    return bool(len(facts.duplicates) or len(facts.unknown) or facts.shrinking_rows)


def empty_folder(folder: Path) -> None:
    """The folder, without the files that a try before this one has left."""
    try:
        folder.mkdir()
    except FileExistsError:
        for path in folder.iterdir():
            path.unlink()


class Settling:
    """The results of one job while they are finished."""

    def __init__(self, staging: Path, outcome: Outcome, facts: Facts, rejecting: Drop | None) -> None:
        self.staging = staging
        self.outcome = outcome
        self.facts = facts
        self.rejecting = rejecting
        told = json.loads((staging / FOLDER / TOLD).read_bytes())
        self.content: dict[str, Any] = told["report"]
        self.problems = problems_of(told)
        self.histogram = histogram_of(told["histogram"])
        self.counts = outcome.counts
        self.out = Staging(staging / SETTLED, told["prefix"])
        self.dropped: set[str] = set()

    def settled(self) -> Outcome:
        if self.rejecting and len(self.facts.unknown):
            reason = too_many_errors(self.rejecting, self.rejected, self.counts.total) if self.facts.failed else ""
            self.reject(self.rejecting, reason)
            if reason:
                return self.failed(reason)
        refused = self.facts.unknown if self.rejecting else self.facts.unknown.clear()
        if len(self.facts.duplicates) or len(refused):
            self.leave_out(refused)
        tell(self.content, self.facts)
        self.remark()
        return self.reported()

    def leave_out(self, refused: pl.Series) -> None:
        """Duplicates of stored events, and what the feed does not take, leave the accepted rows."""
        gone = pl.concat([self.facts.duplicates, refused]).unique()
        rows = leaving.accepted_rows(self.staging / FOLDER, self.counts.accepted)
        is_gone = rows["row"].is_in(gone.implode())
        duplicates = self.counts.duplicate + len(gone) - len(refused)
        self.count(accepted=self.counts.accepted - len(gone), rejected=self.rejected, duplicate=duplicates)
        self.rewrite_accepted(is_gone)
        kept = rows.filter(~is_gone).rename({"time": TIME})
        kept = kept.with_columns(pl.col(TIME).dt.replace_time_zone(None))
        self.content["order"] = order_facts(kept, TIME, self.content["order"]["rows_moved"])
        if self.histogram:
            self.histogram = leaving.thinned(self.histogram, rows.filter(is_gone)["time"])

    @property
    def rejected(self) -> int:
        """How many rows are rejected, by validation and by the store."""
        return self.outcome.counts.rejected + (len(self.facts.unknown) if self.rejecting else 0)

    def count(self, **rows: int) -> None:
        """The counts as they are now."""
        self.counts = replace(self.counts, **rows)
        if not self.counts.add_up:
            raise AssertionError(f"rows do not add up: {self.counts}")
        for name in ("accepted", "merged", "duplicate", "rejected", "withheld"):
            self.content[f"{name}_rows"] = getattr(self.counts, name)

    def reject(self, drop: Drop, reason: str) -> None:
        """The rejected file and errors.csv have the rows too that the store rejects; `reason` is why the drop fails."""
        folder = self.staging / FOLDER
        refused = rejecting.refused(drop, folder, self.staging / SETTLED, self.facts.unknown)
        self.out.write(
            f".rejected.{refused.source.format}",
            lambda path: results.write_rejected(refused.source, refused.header, refused.places, path),
        )
        self.problems.add(refused.problems)
        of_file = [self.problems.add_of_file("too_many_errors", reason)] if reason else []
        listed = rejecting.listed(folder, refused.problems, of_file, self.problems.listed_max)
        self.out.write(".errors.csv", partial(results.write_errors, listed))
        self.content["problems"] = listed.head(PROBLEMS_SHOWN).to_dicts()

    def failed(self, reason: str) -> Outcome:
        """Too much of it is bad: it ends as a drop does that validation fails for this (U44, C24)."""
        good = self.counts.total - self.rejected
        self.count(accepted=0, merged=0, duplicate=0, rejected=self.rejected, withheld=good)
        self.outcome = replace(self.outcome, status="failed", reason_for_failure=(reason,), contributed=None)
        nothing = Learnt(self.content["file_size"])
        self.content |= {"status": "failed", "reason_for_failure": [reason], "order": dict(nothing.order)}
        self.content |= {"time_columns": nothing.time_columns, "properties": dict(nothing.properties)}
        self.count_problems()
        self.histogram = None
        self.dropped |= {file.staged for file in self.outcome.files if role_of(file) == "accepted"}
        return self.reported()

    def remark(self) -> None:
        """What is worth a look is told before what was found without the store."""
        listed = self.content["problems"]
        if found := list(remarks.remarks(self.problems, self.facts, rejected=bool(self.rejecting))):
            rewritten = self.out.folder / "errors.csv"
            path = rewritten if rewritten.exists() else self.staged("errors")
            before = path.read_bytes() if path else b""
            self.out.write(".errors.csv", partial(remarks.write_errors, found, self.facts, before, listed))
            self.content["problems"] = [*found, *listed][:PROBLEMS_SHOWN]
        self.count_problems()

    def count_problems(self) -> None:
        self.content["problems_by_code"] = most_first(self.problems.by_code)
        self.content["problems_by_column"] = most_first(self.problems.by_column)

    def rewrite_accepted(self, is_gone: pl.Series) -> None:
        before = self.staged("accepted")
        if before is None:
            return
        if not self.counts.accepted:
            self.dropped.add(before.name)
            return
        places = is_gone.arg_true().to_numpy().astype(np.int64)
        self.out.write(f".{before.name}", lambda path: leaving.without(before, places, path))

    def staged(self, role: str) -> Path | None:
        """What the pipeline has staged in that role."""
        names = [file.staged for file in self.outcome.files if file.staged.split(".")[0] == role]
        return self.staging / names[0] if names else None

    def reported(self) -> Outcome:
        """Page and report, of the files as they are now."""
        files = self.files()
        original = [file for file in self.content["files"] if file["role"] == "original"]
        self.content["files"] = [*original, *map(file_facts, files)]
        shown = self.write(PAGE, page.page(self.content, self.problems, self.histogram))
        self.content["files"].append(file_facts(shown))
        self.write(REPORT, report_text(self.content))
        sync_folder(self.out.folder)
        sync_folder(self.staging)
        by_code = dict(self.content["problems_by_code"])
        return replace(self.outcome, counts=self.counts, files=self.files(), problems_by_code=by_code)

    def write(self, name: str, text: str) -> StagedFile:
        """A small file."""
        content = text.encode()
        create(self.out.folder / name, content)
        digest = hashlib.sha256(content).hexdigest()
        staged = StagedFile(f"{self.out.prefix}.{name}", name, len(content), digest)
        self.out.files.append(staged)
        return staged

    def files(self) -> tuple[StagedFile, ...]:
        """Those that are finished, and of the staged ones those that stay as they are; the report last."""
        by_role = {role_of(file): file for file in self.outcome.files if file.staged not in self.dropped}
        by_role |= {role_of(file): replace(file, staged=f"{SETTLED}/{file.staged}") for file in self.out.files}
        return tuple(by_role[role] for role in ORDER if role in by_role)


def tell(content: dict[str, Any], facts: Facts) -> None:
    """What the store made of the rows (C2, C3, C9 to C11)."""
    content["properties"] |= {
        "created": facts.new_properties,
        "changed": facts.changed_properties,
        "blanked": facts.blanked,
    }
    content["store"] = {
        "created": facts.created,
        "updated": facts.updated,
        "unchanged": facts.unchanged,
        "events": facts.events,
        "late_events": facts.late,
        "unknown_identities": facts.unknown_identities,
    }


def problems_of(told: Mapping[str, Any]) -> Problems:
    """What the pipeline has found in the drop, as far as the page shows it."""
    problems, report = Problems(told["listed_max"]), told["report"]
    problems.take_back(
        [Group(**group) for group in told["groups"]],
        report["problems_by_code"],
        report["problems_by_column"],
        told["room"],
    )
    return problems


def told_of(histogram: Histogram) -> dict[str, Any]:
    return {"width": histogram.width, "buckets": [(clock.text(one.start), one.count) for one in histogram.buckets]}


def histogram_of(told: Mapping[str, Any] | None) -> Histogram | None:
    """The inverse of `told_of`."""
    if told is None:
        return None
    return Histogram(told["width"], tuple(Bucket(clock.moment(start), count) for start, count in told["buckets"]))


def role_of(file: StagedFile) -> str:
    """One of ORDER."""
    name = file.staged.rpartition("/")[2]
    return name if name.startswith("report.") else name.split(".")[0]


def warm_up() -> None:
    """Compile the page's template: the first report should find it so."""
    page.template()
