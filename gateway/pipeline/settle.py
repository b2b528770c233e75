"""Settling: the results of a staged job are finished with what the store says of it.

The pipeline leaves in `<staging>/store/` what that takes: `told.json` (the problems and the histogram of the page),
`accepted.parquet` (where the accepted rows stand in the drop, in their order) and `header` (the bytes before rejected
rows). What is finished goes to `<staging>/settled/`, and nothing that was staged is changed: so it can be done again
after a kill.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import clock
from gateway.durable import sync_folder, write
from gateway.pipeline import page
from gateway.pipeline.drop import Counts, Outcome, StagedFile
from gateway.pipeline.histogram import Bucket, Histogram
from gateway.pipeline.problems import Group, Problems
from gateway.pipeline.report import PROBLEMS_SHOWN, file_facts, most_first, report_text
from gateway.pipeline.staging import Staging

if TYPE_CHECKING:
    # Whoever only leaves something here does without the store.
    from gateway.store import Facts

FOLDER = "store"
SETTLED = "settled"
TOLD = "told.json"
ORDER = ("rejected", "accepted", "errors", "report.html", "report.json")


def leave(staging: Path, problems: Problems, histogram: Histogram | None) -> None:
    """Keep what the page of a report is made of beside what the job brings to the store."""
    told = {
        "listed_max": problems.listed_max,
        "is_cut": problems.is_cut,
        "groups": [asdict(group) for group in problems.groups()],
        "histogram": told_of(histogram) if histogram else None,
    }
    (staging / FOLDER).mkdir(exist_ok=True)
    write(staging / FOLDER / TOLD, json.dumps(told).encode())


def settled(staging: Path, outcome: Outcome, facts: Facts) -> Outcome:
    """The outcome of a job as the store has decided it; its report tells the facts. Can be repeated."""
    shutil.rmtree(staging / SETTLED, ignore_errors=True)
    (staging / SETTLED).mkdir()
    content = json.loads((staging / "report.json").read_text(encoding="utf-8"))
    problems, histogram = problems_of(staging, content)
    out = Staging(staging / SETTLED, prefix_of(outcome))
    tell(content, facts, outcome.counts)
    warn(content, problems, facts)
    content["files"] = [file for file in content["files"] if file["role"] != "report"]
    shown = out.write(".report.html", lambda path: page.write(path, content, problems, histogram))
    content["files"].append(file_facts(shown))
    text = report_text(content)
    out.write(".report.json", lambda path: path.write_text(text, encoding="utf-8"))
    sync_folder(out.folder)
    sync_folder(staging)
    return replace(
        outcome, files=replaced(outcome.files, out.files), problems_by_code=dict(content["problems_by_code"])
    )


def tell(content: dict[str, Any], facts: Facts, counts: Counts) -> None:
    """What the store made of the rows."""
    content["properties"] |= {"created": facts.new_properties, "blanked": facts.blanked}
    content["store"] = {
        "created": facts.created,
        "updated": facts.updated,
        "unchanged": facts.unchanged,
        "events": facts.events,
        "unknown_identities": facts.unknown_identities,
    }


def warn(content: dict[str, Any], problems: Problems, facts: Facts) -> None:
    """What is worth a look, each once with the number of its rows."""
    if count := len(facts.unknown):
        people = counted(facts.unknown_identities, "person or company", "people or companies")
        message = f"{counted(count, 'event is', 'events are')} of {people} of whom there is no profile"
        note(problems, content, "unknown_identity", f"{message}; the first is in row {facts.unknown[0]:,}", count)
    if count := facts.shrinking_rows:
        row, names = facts.shrinking[0]
        message = f"{counted(count, 'record lacks or blanks', 'records lack or blank')} properties that were set before"
        named = ", ".join(names[:10])
        note(problems, content, "shrinking_properties", f"{message}; the first is row {row:,}: {named}", count)
    content["problems_by_code"] = most_first(problems.by_code)


def note(problems: Problems, content: dict[str, Any], code: str, message: str, count: int) -> None:
    """One remark about so many rows, in the report's list and on its page."""
    entry = problems.add_remark(code, message, count)
    content["problems"] = [entry, *content["problems"]][:PROBLEMS_SHOWN]


def counted(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def problems_of(staging: Path, content: Mapping[str, Any]) -> tuple[Problems, Histogram | None]:
    """What the pipeline has found in the drop, as far as the page shows it, and the histogram of its rows."""
    told = json.loads((staging / FOLDER / TOLD).read_text(encoding="utf-8"))
    groups = [Group(**group) for group in told["groups"]]
    problems = Problems(0 if told["is_cut"] else told["listed_max"])
    problems.take_back(groups, content["problems_by_code"], content["problems_by_column"])
    return problems, histogram_of(told["histogram"])


def told_of(histogram: Histogram) -> dict[str, Any]:
    return {"width": histogram.width, "buckets": [(clock.text(one.start), one.count) for one in histogram.buckets]}


def histogram_of(told: Mapping[str, Any] | None) -> Histogram | None:
    """The inverse of `told_of`."""
    if told is None:
        return None
    return Histogram(told["width"], tuple(Bucket(clock.moment(start), count) for start, count in told["buckets"]))


def prefix_of(outcome: Outcome) -> str:
    """What the names of its results begin with."""
    return outcome.files[-1].name.removesuffix(".report.json")


def replaced(before: tuple[StagedFile, ...], finished: list[StagedFile]) -> tuple[StagedFile, ...]:
    """The files of the outcome, those that are finished in place of those that were staged; the report last."""
    by_name = {file.name: file for file in before} | {
        file.name: replace(file, staged=f"{SETTLED}/{file.staged}") for file in finished
    }
    return tuple(by_name.values())


def warm_up() -> None:
    """Compile the page's template: the first report should find it so."""
    page.template()
