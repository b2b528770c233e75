"""Retention in the ledger: what may be swept by now, that it was, and the ledger's own old detail.

Nothing of a drop that is quarantined, held, or under way is ever swept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from gateway import clock
from gateway.ledger import drops, jobs
from gateway.ledger.connection import Ledger
from gateway.ledger.drops import SELECT, DropRow, drop_row
from gateway.ledger.jobs import JobRow, job_row

# As in the index `drops_archived`.
ARCHIVED = "purged_at IS NULL AND state IN ('done', 'duplicate', 'superseded', 'withdrawn', 'vanished')"
# As in the index `jobs_in_outbox`.
IN_OUTBOX = "outbox_swept_at IS NULL AND jobs.status IN ('completed', 'failed')"
PORTION = 500
"""Rows that one transaction looks at, so that nobody waits long for the ledger."""


def archived(ledger: Ledger, before: datetime, limit: int) -> list[DropRow]:
    """Drops that ended before that time and whose files are still kept; the oldest first."""
    # The conditions are our own; every value is bound.
    found = ledger.rows(
        f"{SELECT} WHERE {ARCHIVED} AND state_since < ? AND leaving IS NULL ORDER BY state_since LIMIT ?",
        (clock.text(before), limit),
    )
    return [drop_row(row) for row in found]


def purge(ledger: Ledger, drop: DropRow, now: datetime) -> bool:
    """Its file may be removed: from now on its job cannot be requeued. False when it has been in the meantime."""
    with ledger.transaction():
        return drops.get(ledger, drop.id) == drop and drops.change(ledger, drop.id, ARCHIVED, purged_at=now)


def is_purged(ledger: Ledger, folder: str) -> bool:
    """Whether a folder of the archive belongs to a job or drop whose file was to be removed."""
    found = ledger.row(
        "SELECT 1 FROM drops WHERE id = ?1 AND purged_at IS NOT NULL "
        "UNION ALL SELECT 1 FROM jobs JOIN drops ON drops.id = drop_id WHERE jobs.id = ?1 AND purged_at IS NOT NULL",
        (folder,),
    )
    return found is not None


def published(ledger: Ledger, before: datetime, after: str, limit: int) -> list[JobRow]:
    """Jobs with an id behind `after` that ended before that time, and whose results are still in the outbox."""
    # Only a condition of our own is put in; every value is bound.
    found = ledger.rows(
        f"SELECT jobs.* FROM jobs JOIN drops ON drops.id = drop_id WHERE {IN_OUTBOX} "  # noqa: S608
        "AND status_since < ? AND state <> 'quarantined' AND jobs.id > ? ORDER BY jobs.id LIMIT ?",
        (clock.text(before), after, limit),
    )
    return [job_row(row) for row in found]


def note_results_swept(ledger: Ledger, job: JobRow, now: datetime) -> bool:
    """Its results leave the outbox in this transaction. False when it was requeued in the meantime."""
    with ledger.transaction() as connection:
        if jobs.get(ledger, job.id) != job:
            return False
        connection.execute("UPDATE jobs SET outbox_swept_at = ? WHERE id = ?", (clock.text(now), job.id))
        return True


def needs_outbox(ledger: Ledger, tenant: str, feed: str, paths: Sequence[str]) -> bool:
    """Whether a drop of one of these paths is under way, or its results are in the outbox and not old enough."""
    marks = ", ".join("?" for _ in paths)
    # Only marks are put in; every value is bound.
    found = ledger.row(
        f"""
        SELECT 1 FROM drops LEFT JOIN jobs ON jobs.drop_id = drops.id
        WHERE drops.tenant = ? AND drops.feed = ? AND path IN ({marks})
          AND (state IN ('landed', 'settling', 'held', 'queued', 'claimed', 'quarantined')
               OR (jobs.id IS NOT NULL AND outbox_swept_at IS NULL))
        """,  # noqa: S608
        (tenant, feed, *paths),
    )
    return found is not None


def note_sweep(ledger: Ledger, what: str, count: int, size: int, now: datetime) -> None:
    """One sweep removed so many files or rows, and bytes."""
    with ledger.transaction() as connection:
        connection.execute(
            "INSERT INTO sweeps (at, what, count, bytes) VALUES (?, ?, ?, ?)", (clock.text(now), what, count, size)
        )


def forget_transitions(ledger: Ledger, before: datetime) -> int:
    """Delete the transitions before that time, but those of what is still under way; how many."""
    needed, last, count, more = under_way(ledger), 0, 0, True
    while more:
        with ledger.transaction() as connection:
            keep_since(connection, before)
            rows = connection.execute(
                "SELECT id, at, subject FROM transitions WHERE id > ? ORDER BY id LIMIT ?", (last, PORTION)
            ).fetchall()
            old = [row["id"] for row in rows if row["at"] < clock.text(before) and row["subject"] not in needed]
            connection.executemany("DELETE FROM transitions WHERE id = ?", [(one,) for one in old])
        count += len(old)
        # They stand in the order of their time, give or take a clock that was set back.
        more = any(row["at"] < clock.text(before) for row in rows)
        last = rows[-1]["id"] if rows else last
    return count


def keep_since(connection: sqlite3.Connection, before: datetime) -> None:
    """Let the triggers pass the deletion of older transitions and audit. It only ever moves on."""
    connection.execute(
        "INSERT INTO transitions_kept (id, since) VALUES (1, ?) "
        "ON CONFLICT (id) DO UPDATE SET since = max(since, excluded.since)",
        (clock.text(before),),
    )


def forget_audit(ledger: Ledger, before: datetime) -> int:
    """Delete the audit before that time; how many rows."""
    count, deleted = 0, PORTION
    while deleted == PORTION:
        with ledger.transaction() as connection:
            keep_since(connection, before)
            deleted = connection.execute(
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)",
                (clock.text(before), PORTION),
            ).rowcount
        count += deleted
    return count


def forget_uploads(ledger: Ledger, before: datetime) -> int:
    """Delete the uploads that ended before that time, but those whose drop is still under way; how many."""
    count, deleted = 0, PORTION
    while deleted == PORTION:
        with ledger.transaction() as connection:
            deleted = connection.execute(
                """
                DELETE FROM uploads WHERE id IN (
                    SELECT id FROM uploads WHERE ended_at < ? AND state IN ('closed', 'aborted', 'expired')
                      AND NOT EXISTS (
                        SELECT 1 FROM drops WHERE upload_id = uploads.id
                        AND state IN ('landed', 'settling', 'held', 'queued', 'claimed', 'quarantined'))
                    ORDER BY ended_at LIMIT ?)
                """,
                (clock.text(before), PORTION),
            ).rowcount
        count += deleted
    return count


def under_way(ledger: Ledger) -> set[str]:
    """The ids of the uploads, drops and jobs that are not done with."""
    found = ledger.rows(
        """
        SELECT id FROM uploads WHERE state IN ('open', 'incomplete')
        UNION ALL SELECT drops.id FROM drops WHERE state IN ('landed', 'settling', 'queued', 'held')
        UNION ALL SELECT upload_id FROM drops WHERE state IN ('landed', 'settling', 'queued', 'held')
        UNION ALL SELECT drops.id FROM drops WHERE state = 'quarantined'
        UNION ALL SELECT jobs.id FROM drops JOIN jobs ON drop_id = drops.id WHERE state = 'quarantined'
        UNION ALL SELECT id FROM jobs WHERE status IN ('queued', 'validating', 'processing', 'pending_refresh')
        UNION ALL SELECT drop_id FROM jobs WHERE status IN ('queued', 'validating', 'processing', 'pending_refresh')
        """
    )
    return {row["id"] for row in found}
