"""Quarantine in the ledger: the drops that the gateway itself could not process, and who was told of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway import clock
from gateway.ledger import drops
from gateway.ledger.connection import Ledger


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A drop that waits for an operator. `since` is when its job ended; `file` is below `inbox/<feed>/`."""

    since: datetime
    tenant: str
    feed: str
    file: str
    reason: str
    job_id: str
    drop_id: str


def quarantined(ledger: Ledger) -> list[Quarantined]:
    """All that wait, the oldest first."""
    return select(ledger, "1")


def untold(ledger: Ledger) -> list[Quarantined]:
    """Those of which nobody was told yet, the oldest first."""
    return select(ledger, "told_at IS NULL")


def note_told(ledger: Ledger, told: Quarantined, now: datetime) -> None:
    """`on_quarantine` was told of it. Nothing changes when it has been requeued in the meantime."""
    since = clock.text(told.since)
    # The time is our own text of a time; every other value is bound.
    drops.change(ledger, told.drop_id, f"state = 'quarantined' AND state_since = '{since}'", told_at=now)


def select(ledger: Ledger, condition: str) -> list[Quarantined]:
    # Only a condition of our own is put in.
    found = ledger.rows(
        f'SELECT quarantined_drops.* FROM quarantined_drops JOIN drops ON drops.id = "drop" WHERE {condition}'  # noqa: S608
    )
    return [
        Quarantined(
            since=clock.moment(row["since"]),
            tenant=row["tenant"],
            feed=row["feed"],
            file=row["file"],
            reason=row["reason"],
            job_id=row["job"],
            drop_id=row["drop"],
        )
        for row in found
    ]
