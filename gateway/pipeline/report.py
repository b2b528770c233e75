"""report.json: everything that a partner is told about a drop, as one flat object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Final

import polars as pl
from pydantic import TypeAdapter

from gateway import clock
from gateway.pipeline import dry_run
from gateway.pipeline.drop import Drop, Outcome, StagedFile
from gateway.pipeline.histogram import Histogram
from gateway.pipeline.problems import Problems

SCHEMA_VERSION = 1
PROBLEMS_SHOWN = 100
# The same text as `json` makes of it, which indents in Python: that takes ten times as long.
JSON: Final = TypeAdapter[Any](Any)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the pipeline learnt of a drop beside its counts.

    order: first and last time of the accepted rows, and how many rows were out of order. histogram: their times, for
    the page only. columns: as `Outcome` has them.
    """

    file_size: int
    order: Mapping[str, Any] = field(default_factory=lambda: {"first": None, "last": None, "rows_moved": 0})
    time_columns: list[dict[str, Any]] = field(default_factory=list)
    properties: Mapping[str, Any] = field(default_factory=lambda: {"created": [], "changed": [], "blanked": 0})
    histogram: Histogram | None = None
    columns: tuple[str, ...] = ()
    has_header: bool = False


def report(drop: Drop, outcome: Outcome, problems: Problems, facts: Facts, listed: pl.DataFrame) -> dict[str, Any]:
    """The job object of RULES.md section 7, and what section 8 adds to it; `listed` are the problems that it lists."""
    counts = outcome.counts
    original = {"name": drop.name, "bytes": facts.file_size, "sha256": drop.sha256, "role": "original"}
    content = {
        "schema_version": SCHEMA_VERSION,
        "job_id": drop.job_id,
        "name": PurePosixPath(drop.name).name,
        "status": outcome.status,
        "tenant": drop.tenant,
        "feed": drop.feed,
        "filename": drop.name,
        "generation": drop.generation,
        "file_size": facts.file_size,
        "uploaded_on": clock.text(drop.as_of),
        "uploaded_by": drop.uploaded_by,
        "as_of": clock.text(drop.as_of),
        "start_time": clock.text(outcome.start_time),
        "end_time": clock.text(outcome.end_time),
        "elapsed_time": round(outcome.elapsed_time, 3),
        "total_rows": counts.total,
        "accepted_rows": counts.accepted,
        "rejected_rows": counts.rejected,
        "merged_rows": counts.merged,
        "duplicate_rows": counts.duplicate,
        "withheld_rows": counts.withheld,
        "blank_rows": counts.blank,
        "reason_for_failure": list(outcome.reason_for_failure),
        "contract": {"name": drop.contract.name, "sha256": drop.contract.sha256},
        "problems_by_code": most_first(problems.by_code),
        "problems_by_column": most_first(problems.by_column),
        "problems": listed.head(PROBLEMS_SHOWN).to_dicts(),
        "order": dict(facts.order),
        "time_columns": facts.time_columns,
        "properties": dict(facts.properties),
        "files": [original, *map(file_facts, outcome.files)],
        "repairs": drop.repairs,
        "duplicate_of": drop.duplicate_of,
        "dry_run": drop.dry_run,
        "links": f"/v1/imports/jobs/{drop.job_id}",
    }
    return content | {"rehearsal": dry_run.unasked(drop, outcome)} if drop.dry_run else content


def file_facts(file: StagedFile) -> dict[str, Any]:
    """A result file as the report names it."""
    role = PurePosixPath(file.staged).name.split(".")[0]
    return {"name": file.name, "bytes": file.bytes, "sha256": file.sha256, "role": role}


def most_first(counts: Mapping[str, int]) -> dict[str, int]:
    """The largest count first; equal ones by name, so that a rerun is identical."""
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def report_text(content: Mapping[str, Any]) -> str:
    """The report as it is written."""
    return JSON.dump_json(content, indent=2).decode() + "\n"


def order_facts(frame: pl.DataFrame, time: str, moved: int) -> dict[str, Any]:
    """First and last time of ordered rows, in the stored form; `rows_moved` stood behind a later one."""
    if time not in frame.columns or frame.height == 0:
        return {"first": None, "last": None, "rows_moved": moved}
    ends = {"first": frame[time].min(), "last": frame[time].max()}
    stored = {name: f"{at:%Y-%m-%dT%H:%M:%S.%fZ}" for name, at in ends.items() if isinstance(at, datetime)}
    return stored | {"rows_moved": moved}
