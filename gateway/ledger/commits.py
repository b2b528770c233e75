"""Commits in the ledger: which jobs go into the store together, under which number, and how far that has come.

A tenant has one at a time. begun: nothing of it is in the store. resolved: its jobs' outcomes are decided, and a part
of it may be there. committed: all of it is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import drops
from gateway.ledger.connection import Ledger
from gateway.ledger.drops import DropRow

UNFINISHED = "state IN ('begun', 'resolved')"


@dataclass(frozen=True, slots=True)
class CommitRow:
    """One row of `commits`; `jobs` is what its jobs were resolved by, in their order, each with its id as `job`."""

    tenant: str
    sequence: int
    state: str
    begun_at: datetime
    ended_at: datetime | None
    jobs: tuple[Mapping[str, Any], ...]
    created: int
    tries: int
    error: str | None

    @property
    def subject(self) -> str:
        """As transitions name it."""
        return f"{self.tenant}/{self.sequence}"


def begin(ledger: Ledger, tenant: str, jobs: Sequence[Mapping[str, Any]], now: datetime) -> CommitRow:
    """Begin a commit of these jobs, or begin the one anew that had not come further. LedgerError for one that had."""
    # Should a power cut undo it, nothing of it is in the store: what makes it resolved makes this durable too.
    with ledger.transaction(lazily=True) as connection:
        before = unfinished_of(ledger, tenant)
        if before is not None and before.state != "begun":
            raise LedgerError(f"commit {before.subject} is {before.state}; it is finished before another begins")
        sequence = before.sequence if before else last_sequence(ledger, tenant) + 1
        if before is None:
            connection.execute(
                "INSERT INTO commits (tenant, sequence, state, begun_at, jobs) VALUES (?, ?, 'begun', ?, '[]')",
                (tenant, sequence, clock.text(now)),
            )
            ledger.note_transition("commit", f"{tenant}/{sequence}", None, "begun", told(jobs), now)
        else:
            free_jobs(connection, tenant, sequence)
        take_jobs(connection, tenant, sequence, jobs)
        return get(ledger, tenant, sequence)


def take_jobs(connection: sqlite3.Connection, tenant: str, sequence: int, jobs: Sequence[Mapping[str, Any]]) -> None:
    """The jobs are of this commit from now on; LedgerError when one is not staged any more."""
    connection.execute(
        "UPDATE commits SET jobs = ? WHERE tenant = ? AND sequence = ?", (json.dumps(jobs), tenant, sequence)
    )
    for job in jobs:
        taken = connection.execute(
            "UPDATE jobs SET commit_sequence = ? WHERE id = ? AND tenant = ? AND status = 'pending_refresh'",
            (sequence, job["job"], tenant),
        )
        if taken.rowcount != 1:
            raise LedgerError(f"job {job['job']} is not staged; it cannot go into the store")


def free_jobs(connection: sqlite3.Connection, tenant: str, sequence: int) -> None:
    connection.execute(
        "UPDATE jobs SET commit_sequence = NULL WHERE tenant = ? AND commit_sequence = ?", (tenant, sequence)
    )


def renumber(ledger: Ledger, commit: CommitRow, sequence: int) -> CommitRow:
    """Give a begun commit a later number: the store has had its own, from before this ledger was restored perhaps."""
    with ledger.transaction() as connection:
        free_jobs(connection, commit.tenant, commit.sequence)
        connection.execute(
            "UPDATE commits SET sequence = ? WHERE tenant = ? AND sequence = ? AND state = 'begun'",
            (sequence, commit.tenant, commit.sequence),
        )
        ledger.note_transition("commit", f"{commit.tenant}/{sequence}", None, "begun", "the store has had others")
        take_jobs(connection, commit.tenant, sequence, commit.jobs)
        return get(ledger, commit.tenant, sequence)


def abandon(ledger: Ledger, commit: CommitRow, reason: str, outcomes: Mapping[str, str] | None = None) -> None:
    """None of its jobs goes: the number is free again, as nothing of it is in the store. `outcomes` as in `resolve`."""
    with ledger.transaction() as connection:
        free_jobs(connection, commit.tenant, commit.sequence)
        connection.execute(
            "DELETE FROM commits WHERE tenant = ? AND sequence = ? AND state = 'begun'",
            (commit.tenant, commit.sequence),
        )
        ledger.note_transition("commit", commit.subject, "begun", "abandoned", reason)
        decide(connection, outcomes or {})


def resolve(
    ledger: Ledger,
    commit: CommitRow,
    jobs: Sequence[Mapping[str, Any]],
    outcomes: Mapping[str, str],
    created: int,
    now: datetime,
) -> None:
    """Its jobs' outcomes, as JSON by id, are decided against the store; `jobs` are those that go, in order.

    An outcome of another job is that of one that failed against the store.
    """
    with ledger.transaction() as connection:
        move(ledger, commit, "begun", "resolved", now, error=None, created=created)
        free_jobs(connection, commit.tenant, commit.sequence)
        take_jobs(connection, commit.tenant, commit.sequence, jobs)
        decide(connection, outcomes)


def decide(connection: sqlite3.Connection, outcomes: Mapping[str, str]) -> None:
    connection.executemany(
        "UPDATE jobs SET outcome = ? WHERE id = ? AND status = 'pending_refresh'",
        [(outcome, job_id) for job_id, outcome in outcomes.items()],
    )


def finish(ledger: Ledger, commit: CommitRow, now: datetime) -> None:
    """All of it is in the store. Should a power cut undo it, the store says so again."""
    with ledger.transaction(lazily=True):
        move(ledger, commit, "resolved", "committed", now, ended_at=now, error=None, jobs="[]")


def note_failure(ledger: Ledger, commit: CommitRow, error: str) -> int:
    """It could not be made now; how often it could not so far."""
    with ledger.transaction() as connection:
        connection.execute(
            f"UPDATE commits SET tries = tries + 1, error = ? WHERE tenant = ? AND sequence = ? AND {UNFINISHED}",  # noqa: S608 - a condition of ours.
            (error, commit.tenant, commit.sequence),
        )
        if error != commit.error:
            ledger.note_transition("commit", commit.subject, commit.state, commit.state, error)
        return get(ledger, commit.tenant, commit.sequence).tries


def get(ledger: Ledger, tenant: str, sequence: int) -> CommitRow:
    """The commit of this number, or LedgerError."""
    found = ledger.row("SELECT * FROM commits WHERE tenant = ? AND sequence = ?", (tenant, sequence))
    if found is None:
        raise LedgerError(f"the ledger has no commit {tenant}/{sequence}")
    return commit_row(found)


def state_of(ledger: Ledger, job_id: str) -> str | None:
    """How far the commit is that takes a job, None where none does."""
    found = ledger.row(
        "SELECT state FROM jobs JOIN commits ON commits.tenant = jobs.tenant AND sequence = commit_sequence "
        "WHERE jobs.id = ?",
        (job_id,),
    )
    return found["state"] if found else None


def unpublished(ledger: Ledger) -> list[str]:
    """The ids of the jobs whose rows are in the store, and whose results are not in the outbox yet."""
    found = ledger.rows(
        "SELECT id FROM jobs JOIN commits ON commits.tenant = jobs.tenant AND sequence = commit_sequence "
        "WHERE jobs.status = 'pending_refresh' AND commits.state = 'committed'"
    )
    return [row["id"] for row in found]


def unfinished(ledger: Ledger) -> list[CommitRow]:
    """Those that are under way, or were when the gateway was killed."""
    found = ledger.rows(f"SELECT * FROM commits INDEXED BY commits_unfinished WHERE {UNFINISHED}")  # noqa: S608 - a condition of ours.
    return [commit_row(row) for row in found]


def unfinished_of(ledger: Ledger, tenant: str) -> CommitRow | None:
    """The tenant's commit that is under way."""
    found = ledger.row(
        f"SELECT * FROM commits INDEXED BY commits_unfinished WHERE tenant = ? AND {UNFINISHED}",  # noqa: S608 - a condition of ours.
        (tenant,),
    )
    return commit_row(found) if found else None


def delayed(ledger: Ledger) -> list[DropRow]:
    """The drops whose results are staged, of tenants whose commit could not be made when it was tried last."""
    found = ledger.rows(
        f"""
        SELECT drops.*, jobs.id AS job_id FROM commits INDEXED BY commits_unfinished
        CROSS JOIN jobs INDEXED BY jobs_by_status ON status = 'pending_refresh' AND jobs.tenant = commits.tenant
        CROSS JOIN drops ON drops.id = drop_id AND drops.state = 'claimed' AND NOT drops.dry_run
        WHERE commits.{UNFINISHED} AND error IS NOT NULL
        """  # noqa: S608 - a condition of ours.
    )
    return [drops.drop_row(row) for row in found]


def last_sequence(ledger: Ledger, tenant: str) -> int:
    found = ledger.row(
        "SELECT sequence FROM commits WHERE tenant = ? AND sequence > 0 ORDER BY sequence DESC LIMIT 1", (tenant,)
    )
    return int(found["sequence"]) if found else 0


def last_that_created(ledger: Ledger, tenant: str) -> int:
    """The number of the last commit that is done and made profiles or companies; 0 when none did."""
    found = ledger.row(
        "SELECT sequence FROM commits INDEXED BY commits_that_created WHERE tenant = ? AND created > 0 "
        "AND state = 'committed' ORDER BY begun_at DESC LIMIT 1",
        (tenant,),
    )
    return int(found["sequence"]) if found else 0


def cut(ledger: Ledger, commit: CommitRow, reason: str) -> None:
    """In the copy of a ledger: a commit that was under way is none of it; its jobs run again."""
    with ledger.transaction() as connection:
        free_jobs(connection, commit.tenant, commit.sequence)
        connection.execute(
            "DELETE FROM commits WHERE tenant = ? AND sequence = ? AND state <> 'committed'",
            (commit.tenant, commit.sequence),
        )
        ledger.note_transition("commit", commit.subject, commit.state, "abandoned", reason)


def has_created(ledger: Ledger, tenant: str, since: datetime) -> bool:
    """Whether profiles or companies were made by a commit that began since, and is done."""
    found = ledger.row(
        "SELECT 1 FROM commits INDEXED BY commits_that_created WHERE tenant = ? AND begun_at > ? AND created > 0 "
        "AND state = 'committed' LIMIT 1",
        (tenant, clock.text(since)),
    )
    return found is not None


def move(ledger: Ledger, commit: CommitRow, old: str, new: str, now: datetime, **columns: Any) -> None:
    """One transition, guarded by the old state; LedgerError when the commit is in another."""
    assignments = "".join(f", {column} = ?" for column in columns)
    with ledger.transaction() as connection:
        # Only our own names of columns are put together; every value is bound.
        changed = connection.execute(
            f"UPDATE commits SET state = ?{assignments} WHERE tenant = ? AND sequence = ? AND state = ?",  # noqa: S608
            (new, *map(drops.sql, columns.values()), commit.tenant, commit.sequence, old),
        )
        if changed.rowcount != 1:
            raise LedgerError(f"commit {commit.subject} is not {old}")
        ledger.note_transition("commit", commit.subject, old, new, None, now)


def told(jobs: Sequence[Mapping[str, Any]]) -> str:
    return f"{len(jobs):,} {'job' if len(jobs) == 1 else 'jobs'}"


def commit_row(row: sqlite3.Row) -> CommitRow:
    plain = dict(row)
    return CommitRow(
        **plain
        | {column: drops.moment(plain[column]) for column in ("begun_at", "ended_at")}
        | {"jobs": tuple(json.loads(plain["jobs"]))}
    )
