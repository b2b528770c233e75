"""Holds in the ledger: drops that wait for a proof, a file, profiles or an operator, and how each wait ends."""

from __future__ import annotations

from datetime import datetime

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import drops, jobs
from gateway.ledger.connection import Ledger
from gateway.ledger.drops import SELECT, DropRow, drop_row


def hold(ledger: Ledger, drop: DropRow, held_for: str, reason: str, until: datetime | None) -> DropRow:
    """It is not to be processed yet. A claimed drop keeps its file and its job; the others stay in the inbox."""
    drops.move(ledger, drop.id, (drop.state,), "held", reason, held_for=held_for, held_until=until, decided=None)
    return drops.get(ledger, drop.id)


def hold_suspect(ledger: Ledger, drop: DropRow, reason: str, until: datetime, now: datetime) -> DropRow:
    """Its job found that it looks cut off: the job goes back to the queue, and does not begin while it is held."""
    with ledger.transaction():
        jobs.return_to_queue(ledger, str(drop.job_id), "its drop looks cut off", now)
        newest = drops.newest(ledger, *drop.name)
        if newest is not None and newest.generation > drop.generation:
            newer = "it looks cut off, and a newer upload of its name is here"
            drops.supersede(ledger, drop.id, newer)
            jobs.end_unbegun(ledger, str(drop.job_id), newer, now)
            return drops.get(ledger, drop.id)
        return hold(ledger, drop, "suspect", reason, until)


def held(ledger: Ledger, held_for: str | None = None) -> list[DropRow]:
    """The held drops, or those that wait for one thing; the oldest first."""
    # The plus keeps SQLite from walking the whole table in the order of its key.
    found = ledger.rows(
        f"{SELECT} WHERE state = 'held' AND held_for = coalesce(?, held_for) ORDER BY +drops.id", (held_for,)
    )
    return [drop_row(row) for row in found]


def first_unfinished(ledger: Ledger, feeds: list[str], before: DropRow) -> DropRow | None:
    """The tenant's oldest drop of these feeds that landed before and has not ended; no held ones, and no dry runs."""
    marks = ", ".join("?" for _ in feeds)
    found = ledger.row(
        f"{SELECT} WHERE drops.tenant = ? AND drops.feed IN ({marks}) AND landed_at < ? "
        "AND state IN ('landed', 'settling', 'queued', 'claimed') AND kind = 'data' AND NOT drops.dry_run "
        "ORDER BY landed_at LIMIT 1",
        (before.tenant, *feeds, clock.text(before.landed_at)),
    )
    return drop_row(found) if found else None


def overdue(ledger: Ledger, now: datetime) -> list[DropRow]:
    """The held drops whose time is over."""
    found = ledger.rows(f"{SELECT} WHERE state = 'held' AND held_until <= ?", (clock.text(now),))
    return [drop_row(row) for row in found]


def decide(ledger: Ledger, drop: DropRow, decided: str | None, reason: str, now: datetime) -> None:
    """End a hold: to be processed or refused, by an operator or by the feed's policy; or None: what it waited for came.

    A drop in the inbox settles at once and is claimed; a claimed one goes on with its job.
    """
    if drop.state != "held":
        raise LedgerError(f"drop {drop.id} is {drop.state}, not held; only a held drop can be released")
    if drop.in_inbox:
        drops.move(ledger, drop.id, ("held",), "settling", reason, decided=decided, settles_at=now)
    else:
        drops.move(ledger, drop.id, ("held",), "claimed", reason, decided=decided)


def release(ledger: Ledger, drop: DropRow, now: datetime) -> None:
    """An operator lets a held drop go on as it is, or has a quarantined one tried again."""
    with ledger.transaction():
        if drop.held_for == "file" and drop.state == "held":
            raise LedgerError(
                f"drop {drop.id}: {drop.path} only proves another file, and that one is not here; "
                "withdraw it, or have the file uploaded"
            )
        if drop.state == "held" and drop.held_for == "profiles":
            # Its results are staged: who publishes them ends the hold.
            drops.change(ledger, drop.id, "state = 'held'", decided="process")
        elif drop.state == "quarantined":
            jobs.requeue(ledger, str(drop.job_id), now)
        else:
            decide(ledger, drop, "process", "released by an operator", now)


def withdraw(ledger: Ledger, drop: DropRow, reason: str, leaving: str | None, now: datetime) -> None:
    """Take a drop back that no job has begun. Its file, when it is in the inbox, is yet to leave it: `leaving`."""
    with ledger.transaction():
        drop = drops.get(ledger, drop.id)
        unbegun = drop.job_id is None or jobs.is_unbegun(ledger, drop.job_id)
        if not unbegun or not (drop.in_inbox or drop.state in ("held", "claimed")):
            raise LedgerError(f"drop {drop.id} is {drop.state}; it can be withdrawn only before it is processed")
        # To archive what is in the archive does no harm; a claimed file may still stand in the inbox after a kill.
        leaves = leaving if drop.in_inbox or leaving == "archive" else None
        drops.move(ledger, drop.id, (drop.state,), "withdrawn", reason, leaving=leaves)
        end_job(ledger, drop, reason, now)


def give_up(ledger: Ledger, drop: DropRow, state: str, reason: str, now: datetime) -> None:
    """Its file is not in the inbox any more, or is another: vanished or superseded."""
    with ledger.transaction():
        drops.move(ledger, drop.id, (*drops.UNSETTLED, "held"), state, reason)
        end_job(ledger, drop, reason, now)


def end_job(ledger: Ledger, drop: DropRow, reason: str, now: datetime) -> None:
    """A drop that was replaced while it was held has a job that waits for it."""
    if drop.job_id is not None:
        jobs.end_unbegun(ledger, drop.job_id, reason, now)
