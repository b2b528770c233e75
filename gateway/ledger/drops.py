"""Drops in the ledger: complete files that landed in an inbox, and what became of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger.connection import Ledger, new_id

SELECT = "SELECT drops.*, jobs.id AS job_id FROM drops LEFT JOIN jobs ON jobs.drop_id = drops.id"
Name = tuple[str, str, str]
"""Tenant, feed and path below `inbox/<feed>/`: what only one file of an inbox can have."""

TIMES = ("landed_at", "settles_at", "claimed_at", "client_mtime")


@dataclass(frozen=True, slots=True)
class DropRow:
    """One row of `drops`, with the id of its job. Times are aware, in UTC; `path` is below `inbox/<feed>/`."""

    id: str
    tenant: str
    feed: str
    path: str
    generation: int
    state: str
    landed_at: datetime
    settles_at: datetime
    claimed_at: datetime | None
    bytes: int
    inode: int
    sha256: str | None
    upload_id: str | None
    username: str | None
    client_mtime: datetime | None
    renamed_to: str | None
    hidden: bool
    job_id: str | None

    @property
    def name(self) -> Name:
        return self.tenant, self.feed, self.path

    @property
    def shown_path(self) -> str:
        """The path under which the client finds it."""
        return self.renamed_to or self.path


class WaitingFile(NamedTuple):
    """A drop's id, and the inode and size of its file. There may be very many."""

    drop_id: str
    inode: int
    bytes: int


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
    upload_id: str | None = None
    username: str | None = None
    client_mtime: datetime | None = None


def record_landing(ledger: Ledger, landing: Landing) -> DropRow:
    """The drop of a file that lands: a new generation, or the unsettled drop of that name, replaced in place."""
    with ledger.transaction():
        before = newest(ledger, landing.tenant, landing.feed, landing.path)
        if before is not None and before.state == "landed":
            return replace(ledger, before, landing)
        drop_id = new_id()
        columns = {field.name: sql(getattr(landing, field.name)) for field in fields(landing)}
        insert(
            ledger,
            columns | {"id": drop_id, "state": "landed", "generation": before.generation + 1 if before else 1},
        )
        ledger.note_transition("drop", drop_id, None, "landed")
        return get(ledger, drop_id)


def replace(ledger: Ledger, before: DropRow, landing: Landing) -> DropRow:
    """The same drop with other bytes: whoever uploads again before it settled replaces it."""
    columns = ("bytes", "inode", "landed_at", "settles_at", "upload_id", "username", "client_mtime")
    move(
        ledger,
        before.id,
        ("landed",),
        "landed",
        "replaced before it settled",
        **{column: getattr(landing, column) for column in columns},
    )
    return get(ledger, before.id)


def get(ledger: Ledger, drop_id: str) -> DropRow:
    """The drop with this id, or LedgerError."""
    found = ledger.row(f"{SELECT} WHERE drops.id = ?", (drop_id,))
    if found is None:
        raise LedgerError(f"the ledger has no drop {drop_id}")
    return drop_row(found)


def newest(ledger: Ledger, tenant: str, feed: str, path: str) -> DropRow | None:
    """The drop of that name with the highest generation, in whatever state."""
    found = ledger.row(
        f"{SELECT} WHERE drops.tenant = ? AND drops.feed = ? AND path = ? ORDER BY generation DESC LIMIT 1",
        (tenant, feed, path),
    )
    return drop_row(found) if found else None


def waiting(ledger: Ledger, tenant: str, feed: str) -> dict[str, WaitingFile]:
    """What must stand in a feed's inbox, by path."""
    found = ledger.rows(
        "SELECT path, id, inode, bytes FROM drops INDEXED BY drops_waiting "
        "WHERE tenant = ? AND feed = ? AND state IN ('landed', 'queued')",
        (tenant, feed),
    )
    return {row["path"]: WaitingFile(row["id"], row["inode"], row["bytes"]) for row in found}


def settled(ledger: Ledger, now: datetime, limit: int) -> list[DropRow]:
    """Landed drops that nothing has touched since their `settles_at`, and those still queued; oldest first."""
    found = ledger.rows(
        f"{SELECT} WHERE state IN ('landed', 'queued') AND settles_at <= ? ORDER BY settles_at, drops.id LIMIT ?",
        (clock.text(now), limit),
    )
    return [drop_row(row) for row in found]


def next_settling(ledger: Ledger) -> datetime | None:
    """When the next landed drop settles."""
    found = ledger.row("SELECT min(settles_at) AS at FROM drops WHERE state IN ('landed', 'queued')")
    return moment(found["at"]) if found else None


def landed_by_upload(ledger: Ledger) -> list[DropRow]:
    """The landed drops that came over SFTP."""
    return [drop_row(row) for row in ledger.rows(f"{SELECT} WHERE state = 'landed' AND upload_id IS NOT NULL")]


def came_by_rename(ledger: Ledger, drop: DropRow) -> bool:
    """Whether the client gave the whole file its final name by a rename from a temporary one."""
    found = ledger.row(
        "SELECT 1 FROM transitions WHERE subject = ? AND kind = 'upload' AND old = 'closed' AND new = 'open'",
        (drop.upload_id,),
    )
    return found is not None


def queue(ledger: Ledger, drop_id: str) -> None:
    """It settled: from now on its job waits. Belongs into the transaction that makes the job."""
    move(ledger, drop_id, ("landed",), "queued")


def claim(ledger: Ledger, drop_id: str, now: datetime) -> None:
    """Its job takes the file. Only one caller gets here: the others find another state and LedgerError."""
    move(ledger, drop_id, ("queued",), "claimed", claimed_at=now)


def finish(ledger: Ledger, drop_id: str) -> None:
    """Its job has ended."""
    move(ledger, drop_id, ("claimed",), "done")


def reopen(ledger: Ledger, drop_id: str, reason: str) -> None:
    """Its job runs again on the archived bytes."""
    move(ledger, drop_id, ("done",), "claimed", reason)


def withdraw(ledger: Ledger, drop_id: str, reason: str) -> None:
    """The client removed it before it settled."""
    move(ledger, drop_id, ("landed",), "withdrawn", reason)


def supersede(ledger: Ledger, drop_id: str, reason: str) -> None:
    """Another file stands under its name before it settled."""
    move(ledger, drop_id, ("landed",), "superseded", reason)


def vanish(ledger: Ledger, drop_id: str, reason: str) -> None:
    """Its file is no longer in the inbox, and nobody told the gateway."""
    move(ledger, drop_id, ("landed",), "vanished", reason)


def rename_landed(ledger: Ledger, drop_id: str, feed: str, path: str, now: datetime, settle_seconds: float) -> DropRow:
    """The client renamed it before it settled: it goes on as the newest generation of its new name.

    An unsettled drop that stood under the new name is superseded, for its file has been replaced.
    """
    with ledger.transaction():
        drop = get(ledger, drop_id)
        target = newest(ledger, drop.tenant, feed, path)
        if target is not None and target.id != drop_id and target.state == "landed":
            supersede(ledger, target.id, f"replaced by a rename of {drop.path}")
        move(
            ledger,
            drop_id,
            ("landed",),
            "landed",
            f"renamed from {drop.feed}/{drop.path}",
            feed=feed,
            path=path,
            generation=target.generation + (target.id != drop_id) if target else 1,
            settles_at=now + timedelta(seconds=settle_seconds),
        )
        return get(ledger, drop_id)


def restart_settling(ledger: Ledger, drop_id: str, now: datetime, settle_seconds: float) -> None:
    """The client touched it (set a time, opened it again): it settles anew. Does nothing once it has settled."""
    change(ledger, drop_id, "state = 'landed'", settles_at=now + timedelta(seconds=settle_seconds))


def set_client_mtime(ledger: Ledger, drop_id: str, mtime: datetime) -> None:
    """The file time that the client set (C45)."""
    change(ledger, drop_id, "1", client_mtime=mtime)


def set_sha256(ledger: Ledger, drop_id: str, sha256: str) -> None:
    """The digest of the claimed bytes."""
    change(ledger, drop_id, "state = 'claimed'", sha256=sha256)


def move(ledger: Ledger, drop_id: str, old: Sequence[str], new: str, reason: str | None = None, **columns: Any) -> None:
    """One transition, guarded by the old state; LedgerError when the drop is in another."""
    with ledger.transaction() as connection:
        found = connection.execute("SELECT state FROM drops WHERE id = ?", (drop_id,)).fetchone()
        state = found["state"] if found else "unknown"
        if state not in old or not change(ledger, drop_id, f"state = '{state}'", state=new, **columns):
            raise LedgerError(f"drop {drop_id} is {state}, not {' or '.join(old)}")
        ledger.note_transition("drop", drop_id, state, new, reason)


def change(ledger: Ledger, drop_id: str, guard: str, **columns: Any) -> bool:
    """Set columns where the guard holds; True when it did."""
    assignments = ", ".join(f"{column} = ?" for column in columns)
    with ledger.transaction() as connection:
        # Only our own names of columns and guards are put together; every value is bound.
        changed = connection.execute(
            f"UPDATE drops SET {assignments} WHERE id = ? AND {guard}",  # noqa: S608
            (*map(sql, columns.values()), drop_id),
        )
        return changed.rowcount == 1


def insert(ledger: Ledger, columns: dict[str, Any]) -> None:
    names, marks = ", ".join(columns), ", ".join("?" for _ in columns)
    with ledger.transaction() as connection:
        # Only our own names of columns are put together; every value is bound.
        connection.execute(f"INSERT INTO drops ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608


def sql(value: Any) -> Any:
    """A value as the ledger keeps it."""
    return clock.text(value) if isinstance(value, datetime) else value


def moment(value: str | None) -> datetime | None:
    return clock.moment(value) if value is not None else None


def drop_row(row: sqlite3.Row) -> DropRow:
    plain = dict(row)
    return DropRow(**plain | {column: moment(plain[column]) for column in TIMES} | {"hidden": bool(plain["hidden"])})
