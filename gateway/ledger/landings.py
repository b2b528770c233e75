"""Landings in the ledger: how a file that comes into an inbox, or gets another name there, becomes a drop."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from gateway.ledger import drops, jobs
from gateway.ledger.connection import Ledger, new_id
from gateway.ledger.drops import DropRow

ANEW = {"held_for": None, "held_until": None, "decided": None, "proof": None, "expected_sha256": None, "sha256": None}
"""What the ledger forgets about a drop whose bytes or name are others now."""
REPLACED = ("kind", "bytes", "inode", "landed_at", "settles_at", "upload_id", "username", "client_mtime")


@dataclass(frozen=True, slots=True)
class Landing:
    """A file that is complete and about to stand in an inbox. A local program has no upload and no username."""

    tenant: str
    feed: str
    path: str
    bytes: int
    inode: int
    landed_at: datetime
    settles_at: datetime
    kind: str = "data"
    upload_id: str | None = None
    username: str | None = None
    client_mtime: datetime | None = None


def record_landing(ledger: Ledger, landing: Landing, *, supersedes: bool = False) -> DropRow:
    """The drop of a file that lands: a new generation, or the drop of that name, replaced in place while it waits.

    With `supersedes` an earlier generation whose job has not begun is superseded (`on_overwrite = "replace"`).
    """
    with ledger.transaction():
        before = drops.newest(ledger, landing.tenant, landing.feed, landing.path)
        return drops.get(ledger, record_behind(ledger, before, landing, supersedes=supersedes))


def record_behind(ledger: Ledger, before: DropRow | None, landing: Landing, *, supersedes: bool) -> str:
    """As `record_landing`, behind the newest drop of that name; returns the id. Part of a transaction."""
    if before is not None and is_replaced(before):
        return replace(ledger, before, landing)
    if before is not None and supersedes:
        supersede_unbegun(ledger, before, landing.landed_at)
    drop_id = new_id()
    columns = {field.name: drops.sql(getattr(landing, field.name)) for field in fields(landing)}
    generation = before.generation + 1 if before else 1
    since = drops.sql(landing.landed_at)
    drops.insert(ledger, columns | {"id": drop_id, "state": "landed", "state_since": since, "generation": generation})
    ledger.note_transition("drop", drop_id, None, "landed")
    return drop_id


def is_replaced(drop: DropRow) -> bool:
    """Whether a new file of its name takes its place: it has not settled, or nothing shows that it is whole."""
    return drop.state in drops.UNSETTLED or (drop.state == "held" and drop.held_for != "profiles")


def put_back(ledger: Ledger, before: DropRow, reason: str) -> None:
    """The file that was to replace a drop could not be stored: the drop is what it was."""
    columns = (*REPLACED, *ANEW, "claimed_at", "renamed_to", "hidden")
    old = {column: getattr(before, column) for column in columns}
    drops.move(ledger, before.id, ("landed",), before.state, reason, **old)


def replace(ledger: Ledger, before: DropRow, landing: Landing) -> str:
    """The same drop with other bytes: whoever uploads again before it settled, or while it is held, replaces it."""
    reason = "replaced while it was held" if before.state == "held" else "replaced before it settled"
    drops.move(
        ledger,
        before.id,
        (before.state,),
        "landed",
        reason,
        claimed_at=None,
        renamed_to=None,
        hidden=False,
        **ANEW,
        **{column: getattr(landing, column) for column in REPLACED},
    )
    return before.id


def supersede_unbegun(ledger: Ledger, before: DropRow, now: datetime) -> None:
    """An earlier generation gives way if its job has never begun; otherwise both are processed."""
    if before.state != "claimed" or before.job_id is None or not jobs.is_unbegun(ledger, before.job_id):
        return
    drops.supersede(ledger, before.id, "a newer upload of its name came before it was processed")
    jobs.end_unbegun(ledger, before.job_id, "a newer upload of its name came before it was processed", now)


def rename_landed(
    ledger: Ledger, drop_id: str, feed: str, path: str, kind: str, now: datetime, settle_seconds: float
) -> DropRow:
    """The client renamed it before the claim: it goes on as the newest generation of its new name and settles anew.

    A drop that waited under the new name is superseded, for its file has been replaced.
    """
    with ledger.transaction():
        drop = drops.get(ledger, drop_id)
        target = drops.newest(ledger, drop.tenant, feed, path)
        if target is not None and target.id != drop_id and is_replaced(target):
            drops.supersede(ledger, target.id, f"replaced by a rename of {drop.path}")
            if target.job_id is not None:
                jobs.end_unbegun(ledger, target.job_id, f"replaced by a rename of {drop.path}", now)
        drops.move(
            ledger,
            drop_id,
            (*drops.UNSETTLED, "held"),
            "settling",
            f"renamed from {drop.feed}/{drop.path}",
            feed=feed,
            path=path,
            kind=kind,
            generation=target.generation + (target.id != drop_id) if target else 1,
            settles_at=now + timedelta(seconds=settle_seconds),
            **ANEW,
        )
        return drops.get(ledger, drop_id)
