"""What clients see of drops: the name in the inbox, and claimed files for as long as the grace lasts."""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway import clock
from gateway.ledger.connection import Ledger
from gateway.ledger.drops import SELECT, DropRow, Name, change, drop_row, newest

SHOWN = "state IN ('claimed', 'held', 'done', 'duplicate', 'quarantined') AND claimed_at IS NOT NULL"
CLAIMED = f"{SHOWN} AND hidden = 0"
# Those within grace, by the index on claimed_at; and, however old, those that are held, so that an upload can go on.
GRACED = f"""
    SELECT * FROM (
        {SELECT} WHERE drops.tenant = :tenant AND drops.feed = :feed AND {CLAIMED} AND claimed_at > :since
        UNION {SELECT} WHERE state = 'held' AND +drops.tenant = :tenant AND +drops.feed = :feed AND {CLAIMED}
    )
"""  # noqa: S608 - only conditions of our own are put in; every value is bound.


def find(ledger: Ledger, name: Name, now: datetime, grace_seconds: float) -> DropRow | None:
    """The drop that a client sees under that name: the one in the inbox, else the newest claimed one within grace."""
    before = newest(ledger, *name)
    if before is not None and before.in_inbox:
        return before
    tenant, feed, path = name
    found = ledger.row(
        f"{GRACED} WHERE coalesce(renamed_to, path) = :path ORDER BY claimed_at DESC, generation DESC LIMIT 1",
        {"tenant": tenant, "feed": feed, "path": path, "since": since(now, grace_seconds)},
    )
    return drop_row(found) if found else None


def claimed(ledger: Ledger, tenant: str, feed: str, now: datetime, grace_seconds: float) -> list[DropRow]:
    """The claimed drops of a feed that a client still sees, oldest first."""
    found = ledger.rows(
        f"{GRACED} ORDER BY claimed_at, generation",
        {"tenant": tenant, "feed": feed, "since": since(now, grace_seconds)},
    )
    return [drop_row(row) for row in found]


def since(now: datetime, grace_seconds: float) -> str:
    return clock.text(now - timedelta(seconds=grace_seconds))


def hide(ledger: Ledger, name: Name) -> None:
    """The name is the client's no more: no claimed drop is shown under it, of whatever generation; their jobs go on."""
    with ledger.transaction() as connection:
        # CLAIMED is a condition of our own; every value is bound.
        connection.execute(
            f"UPDATE drops SET hidden = 1 WHERE tenant = ? AND feed = ? AND {CLAIMED} "  # noqa: S608
            "AND coalesce(renamed_to, path) = ?",
            name,
        )


def rename(ledger: Ledger, drop: DropRow, new_path: str) -> None:
    """The client renamed it after the claim: it is shown under the new name only; the job keeps the first one."""
    with ledger.transaction():
        hide(ledger, (drop.tenant, drop.feed, new_path))
        hide(ledger, (drop.tenant, drop.feed, drop.shown_path))
        change(ledger, drop.id, SHOWN, renamed_to=new_path, hidden=0)
