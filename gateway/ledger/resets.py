"""Resets in the ledger: what a tenant for tests sent before is history, and counts no more.

No row is deleted. Drops that wait are withdrawn, uploads expire, results count as swept, and bytes that landed before
the reset are not taken for seen.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from gateway import clock
from gateway.ledger import drops, holds, uploads
from gateway.ledger.connection import Ledger
from gateway.ledger.drops import IN_INBOX, SELECT, DropRow, drop_row
from gateway.ledger.retention import IN_OUTBOX
from gateway.ledger.uploads import UploadRow

REASON = "the tenant was reset"


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What a reset would take away from under somebody; the id of a job or an upload, and in words."""

    id: str
    said: str


def under_way(ledger: Ledger, tenant: str) -> list[UnderWay]:
    """Jobs of the tenant that have begun, and uploads whose client is at it."""
    jobs = ledger.rows(
        """
        SELECT jobs.id, jobs.feed, filename, status, state, held_for FROM jobs JOIN drops ON drops.id = drop_id
        WHERE jobs.tenant = ? AND state IN ('queued', 'claimed', 'held')
          AND (status IN ('validating', 'processing', 'pending_refresh')
               OR (status = 'queued' AND end_time IS NOT NULL))
        """,
        (tenant,),
    )
    open_now = ledger.rows(
        "SELECT id, feed, path FROM uploads INDEXED BY uploads_open WHERE tenant = ? "
        "AND state IN ('open', 'incomplete') AND state = 'open' AND ended_at IS NULL",
        (tenant,),
    )
    return [
        UnderWay(one["id"], f"job {one['id']} ({one['feed']}/{one['filename']}) is {said_of(one)}") for one in jobs
    ] + [UnderWay(one["id"], f"{one['feed']}/{one['path']} is being uploaded") for one in open_now]


def said_of(job: sqlite3.Row) -> str:
    """How far a job is, in words."""
    if job["state"] == "held":
        return f"held for {job['held_for']}; `gateway release` lets it go on"
    return f"{job['status']}"


def begin(ledger: Ledger, tenant: str, now: datetime) -> None:
    """Mark all that the tenant has sent as of before. Belongs into the transaction that found nothing under way."""
    with ledger.transaction() as connection:
        connection.execute("INSERT INTO resets (tenant, at) VALUES (?, ?)", (tenant, clock.text(now)))
        for drop in waiting(ledger, tenant):
            holds.withdraw(ledger, drop, REASON, "delete", now)
        for upload in unfinished_uploads(ledger, tenant):
            uploads.expire(ledger, upload.id, upload.state, REASON)
        connection.execute(
            f"UPDATE jobs SET outbox_swept_at = ? WHERE tenant = ? AND {IN_OUTBOX}",  # noqa: S608 - a condition of ours.
            (clock.text(now), tenant),
        )


def end(ledger: Ledger, tenant: str, now: datetime) -> None:
    """All is gone that was to go."""
    with ledger.transaction() as connection:
        connection.execute(
            "UPDATE resets SET ended_at = ? WHERE tenant = ? AND ended_at IS NULL", (clock.text(now), tenant)
        )


def cut_short(ledger: Ledger) -> list[str]:
    """The tenants whose reset has begun and has not ended."""
    return [row["tenant"] for row in ledger.rows("SELECT DISTINCT tenant FROM resets WHERE ended_at IS NULL")]


def waiting(ledger: Ledger, tenant: str) -> list[DropRow]:
    """The tenant's drops that no job has begun."""
    found = ledger.rows(
        f"{SELECT} WHERE drops.tenant = ? AND ({IN_INBOX} OR state IN ('held', 'claimed')) ORDER BY drops.id", (tenant,)
    )
    return [drop_row(row) for row in found]


def leaving(ledger: Ledger, tenant: str) -> list[DropRow]:
    """The tenant's drops whose files must still be taken out of the inbox."""
    return [drop for drop in drops.leaving(ledger) if drop.tenant == tenant]


def unfinished_uploads(ledger: Ledger, tenant: str) -> list[UploadRow]:
    """Those that broke off, and those that stand in an inbox under a temporary name."""
    found = ledger.rows(
        "SELECT id FROM uploads AS this WHERE tenant = ? AND (state IN ('open', 'incomplete') OR (state = 'closed' "
        "AND NOT EXISTS (SELECT 1 FROM drops WHERE upload_id = this.id))) ORDER BY id",
        (tenant,),
    )
    return [uploads.get(ledger, row["id"]) for row in found]


def expired(ledger: Ledger, tenant: str) -> list[str]:
    """The ids of the uploads that resets have ended."""
    found = ledger.rows(
        "SELECT id FROM uploads WHERE tenant = ? AND state = 'expired' AND reason = ?", (tenant, REASON)
    )
    return [row["id"] for row in found]


def marks(ledger: Ledger, tenant: str) -> int:
    """How many files of the tenant would be taken for duplicates if they came again."""
    found = ledger.row(
        "SELECT count(DISTINCT feed || ' ' || sha256) AS marks FROM drops WHERE tenant = ? AND sha256 IS NOT NULL "
        "AND landed_at > coalesce((SELECT max(at) FROM resets WHERE resets.tenant = drops.tenant), '')",
        (tenant,),
    )
    return int(found["marks"]) if found else 0
