"""What waits of a feed outside its inbox, by the ledger: uploads in the spool, and files that jobs have not ended with.

What stands in the inbox itself is not here: the folder says it, with the files that local programs have put there.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import NamedTuple

from gateway.ledger.connection import Ledger

SPOOLED = """
    SELECT count(*) AS files, coalesce(sum(CASE state WHEN 'incomplete' THEN bytes ELSE 0 END), 0) AS bytes
    FROM uploads INDEXED BY uploads_open WHERE tenant = ? AND feed = ? AND state IN ('open', 'incomplete')
"""
# The first condition of each is the index's own.
CLAIMED = """
    SELECT count(*) AS files, coalesce(sum(bytes), 0) AS bytes FROM drops INDEXED BY drops_unfinished
    WHERE tenant = ? AND feed = ? AND state IN ('landed', 'settling', 'queued', 'claimed') AND state = 'claimed'
"""
HELD = """
    SELECT count(*) AS files, coalesce(sum(bytes), 0) AS bytes FROM drops INDEXED BY drops_in_inbox
    WHERE tenant = ? AND feed = ? AND state IN ('landed', 'settling', 'queued', 'held')
    AND state = 'held' AND claimed_at IS NOT NULL
"""
QUEUE = "SELECT 1 FROM jobs INDEXED BY jobs_queued WHERE tenant = ? AND status = 'queued' LIMIT 1 OFFSET ?"
# Two ranges beside the tenant, as a thousand of its own rows are not to be walked through.
OTHERS = [
    # Only these words of our own are put in; every value is bound.
    f"SELECT 1 FROM {table} WHERE tenant {beside} ? AND {states} LIMIT 1"  # noqa: S608
    for table, states in (
        ("drops INDEXED BY drops_unfinished", "state IN ('landed', 'settling', 'queued', 'claimed')"),
        ("uploads INDEXED BY uploads_open", "state IN ('open', 'incomplete') AND state = 'open'"),
    )
    for beside in ("<", ">")
]


class Waiting(NamedTuple):
    """Files and their bytes."""

    files: int
    bytes: int


def outside_the_inbox(ledger: Ledger, tenant: str, feed: str) -> Waiting:
    """Uploads that are open or broke off, and claimed files whose jobs have not ended.

    The bytes of open uploads are not among them: whoever has their handles knows those.
    """
    files = size = 0
    for query in (SPOOLED, CLAIMED, HELD):
        if found := ledger.row(query, (tenant, feed)):
            files, size = files + found["files"], size + found["bytes"]
    return Waiting(files, size)


def has_queued(ledger: Ledger, tenant: str) -> bool:
    """Whether the tenant has a queued job, that can begin or not. False when the ledger cannot be asked."""
    with suppress(sqlite3.Error):
        return ledger.row(QUEUE, (tenant, 0)) is not None
    return False


def floods(ledger: Ledger, tenant: str, long: int) -> bool:
    """Whether so many jobs of a tenant are queued while another one's files are processed or uploaded.

    Reads no more of the queue than that. False when the ledger cannot be asked.
    """
    with suppress(sqlite3.Error):
        return ledger.row(QUEUE, (tenant, long - 1)) is not None and any(
            ledger.row(query, (tenant,)) is not None for query in OTHERS
        )
    return False
