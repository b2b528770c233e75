"""What the gateway left behind: the ledger, read with plain SQL, and the files of the outbox."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts.soaking.site import Site

END_STATES = ("done", "duplicate", "superseded", "withdrawn", "vanished", "quarantined")
DROPS = """
    SELECT drops.id, feed, path, renamed_to, generation, state, bytes, sha256, upload_id, job.id AS job,
           job.status, job.duplicate_of, job.accepted_rows, job.rejected_rows, job.reason_for_failure AS reason,
           (SELECT count(*) FROM transitions WHERE subject = drops.id AND reason LIKE 'replaced%') AS replaced
    FROM drops LEFT JOIN (
        SELECT id, drop_id, status, duplicate_of, accepted_rows, rejected_rows, reason_for_failure FROM jobs
    ) AS job ON drop_id = drops.id ORDER BY drops.id
"""


@dataclass(frozen=True, slots=True)
class Drop:
    """A row of `drops` with its job's. `replaced` counts how often other bytes took its place before it settled."""

    id: str
    feed: str
    path: str
    renamed_to: str | None
    generation: int
    state: str
    bytes: int
    sha256: str | None
    upload_id: str | None
    job: str | None
    status: str | None
    duplicate_of: str | None
    accepted_rows: int | None
    rejected_rows: int | None
    reason: str | None
    replaced: int

    @property
    def has_processed(self) -> bool:
        """Its rows were taken, and not as a repeat of others."""
        return self.status == "completed" and self.duplicate_of is None

    def __str__(self) -> str:
        job = f", job {self.job} {self.status}" if self.job else ""
        reason = f" {self.reason}" if self.status == "failed" else ""
        repeat = f" as a repeat of {self.duplicate_of}" if self.duplicate_of else ""
        return f"drop {self.id} {self.path} generation {self.generation} {self.state}{job}{repeat}{reason}"


@dataclass(frozen=True, slots=True)
class Report:
    """A report.json of the outbox, and the result files that it names."""

    path: Path
    content: dict[str, Any]

    @property
    def files(self) -> dict[str, Path]:
        """Its result files by role."""
        outbox = self.path.parents[self.content["filename"].count("/")]
        return {one["role"]: outbox / one["name"] for one in self.content["files"] if one["role"] != "original"}

    @property
    def of_drop(self) -> tuple[str, str, int]:
        """Feed, path and generation."""
        return self.content["feed"], self.content["filename"], self.content["generation"]


class Evidence:
    """Read once the gateway has stopped."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.drops = [Drop(*row) for row in rows(site, DROPS)]
        self.reports = [
            Report(path, json.loads(path.read_text())) for path in sorted(site.outbox.rglob("*.report.json"))
        ]

    @cached_property
    def named(self) -> dict[tuple[str, str], list[Drop]]:
        """The drops by feed and each name that they had."""
        found = defaultdict(list)
        for drop in self.drops:
            for name in {drop.path, drop.renamed_to} - {None}:
                found[drop.feed, str(name)].append(drop)
        return found

    @cached_property
    def by_job(self) -> dict[str | None, Drop]:
        return {drop.job: drop for drop in self.drops if drop.job}

    def result_files(self) -> Iterator[Path]:
        """Every file of the outbox but the reports in JSON and those that say how a drop waits."""
        for path in sorted(self.site.outbox.rglob("*")):
            if path.is_file() and not path.name.endswith((".report.json", ".status.json")):
                yield path

    def original(self, drop: Drop) -> bytes:
        """What its job has read."""
        return (self.site.data / "spool" / "work" / str(drop.job) / "original").read_bytes()

    def history(self, drop: Drop) -> str:
        """What happened to a drop and to its job, in one line."""
        sql = "SELECT new, reason FROM transitions WHERE subject IN (?, ?) ORDER BY id"
        steps = rows(self.site, sql, (drop.id, drop.job or ""))
        return f"{drop}: " + " > ".join(f"{new} ({reason})" if reason else new for new, reason in steps)


def unfinished(site: Site) -> int:
    """How many drops have not come to their end."""
    marks = ", ".join("?" for _ in END_STATES)
    sql = f"SELECT count(*) FROM drops WHERE state NOT IN ({marks})"  # noqa: S608
    return int(rows(site, sql, END_STATES)[0][0])


def rows(site: Site, sql: str, values: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{site.ledger}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(sql, values).fetchall()
