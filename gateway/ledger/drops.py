"""Drops in the ledger: complete files that landed in an inbox, and what became of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import uploads
from gateway.ledger.connection import Ledger, find_one, tenants_of

IN_INBOX = "state IN ('landed', 'settling', 'queued', 'held') AND (state <> 'held' OR claimed_at IS NULL)"
# Only a condition of our own is put in; every value is bound.
WAITING = f"""
    SELECT path, id, inode, bytes FROM drops INDEXED BY drops_in_inbox
    WHERE tenant = ? AND feed = ? AND {IN_INBOX}
"""  # noqa: S608 - only a condition of our own is put in.
UNSETTLED = ("landed", "settling")
ENDED = ("done", "duplicate", "quarantined")
SELECT = "SELECT drops.*, jobs.id AS job_id FROM drops LEFT JOIN jobs ON jobs.drop_id = drops.id"
# As the index has it. The index is named, as SQLite would go by another one through all that the tenant ever sent.
SETTLING = "state IN ('landed', 'settling', 'queued')"
SETTLED = (
    f"{SELECT.replace('FROM drops', 'FROM drops INDEXED BY drops_settling')} WHERE drops.tenant = ? AND {SETTLING}"
)
# Rows are in the order in which they landed, and so is the index among equal times.
IN_TURN = "ORDER BY settles_at, drops.rowid LIMIT ?"
Name = tuple[str, str, str]
"""Tenant, feed and path below `inbox/<feed>/`: what only one file of an inbox can have."""

TIMES = ("state_since", "held_until", "landed_at", "settles_at", "claimed_at", "client_mtime", "told_at", "purged_at")


@dataclass(frozen=True, slots=True)
class DropRow:
    """One row of `drops`, with the id of its job. Times are aware, in UTC; `path` is below `inbox/<feed>/`.

    A `dry_run` is a file below `dryrun/`: it is tried, and nothing of it is stored.
    """

    id: str
    tenant: str
    feed: str
    path: str
    generation: int
    kind: str
    state: str
    state_since: datetime
    reason: str | None
    held_for: str | None
    held_until: datetime | None
    decided: str | None
    proof: str | None
    expected_sha256: str | None
    leaving: str | None
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
    told_at: datetime | None
    purged_at: datetime | None
    dry_run: bool
    job_id: str | None

    @property
    def name(self) -> Name:
        return self.tenant, self.feed, self.path

    @property
    def in_inbox(self) -> bool:
        """Whether its file stands in the inbox."""
        return self.state in (*UNSETTLED, "queued") or (self.state == "held" and self.claimed_at is None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: times as the ledger writes them."""
        plain = {name: sql(value) for name, value in asdict(self).items() if name != "id"}
        return {"drop_id": self.id} | plain

    @property
    def shown_path(self) -> str:
        """The path under which the client finds it."""
        return self.renamed_to or self.path


class WaitingFile(NamedTuple):
    """A drop's id, and the inode and size of its file. There may be very many."""

    drop_id: str
    inode: int
    bytes: int


def get(ledger: Ledger, drop_id: str) -> DropRow:
    """The drop with this id, or LedgerError."""
    found = ledger.row(f"{SELECT} WHERE drops.id = ?", (drop_id,))
    if found is None:
        raise LedgerError(f"the ledger has no drop {drop_id}")
    return drop_row(found)


def find(ledger: Ledger, prefix: str) -> DropRow:
    """The one drop whose id begins with `prefix`, or LedgerError that says whether none or several do."""
    return drop_row(find_one(ledger, "drop", f"{SELECT} WHERE {{}}", "drops.id", prefix))


def select(ledger: Ledger, *, tenant: str | None, feed: str | None, state: str | None, limit: int) -> list[DropRow]:
    """The drops that match all filters, newest first."""
    filters = {"drops.tenant": tenant, "drops.feed": feed, "state": state}
    given = {column: value for column, value in filters.items() if value is not None}
    where = " AND ".join(f"{column} = ?" for column in given) or "1"
    found = ledger.rows(f"{SELECT} WHERE {where} ORDER BY drops.id DESC LIMIT ?", (*given.values(), limit))
    return [drop_row(row) for row in found]


def newest(ledger: Ledger, tenant: str, feed: str, path: str) -> DropRow | None:
    """The drop of that name with the highest generation, in whatever state."""
    found = ledger.row(
        f"{SELECT} WHERE drops.tenant = ? AND drops.feed = ? AND path = ? ORDER BY generation DESC LIMIT 1",
        (tenant, feed, path),
    )
    return drop_row(found) if found else None


def waiting(ledger: Ledger, tenant: str, feed: str) -> dict[str, WaitingFile]:
    """What must stand in a feed's inbox, by path."""
    found = ledger.rows(WAITING, (tenant, feed))
    return {row["path"]: WaitingFile(row["id"], row["inode"], row["bytes"]) for row in found}


def settled(ledger: Ledger, now: datetime, latest: datetime, limit: int) -> list[DropRow]:
    """Landed drops that nothing has touched since their `settles_at`, and those still queued; oldest first.

    Each tenant has an equal part of the `limit`: thousands of one keep no other from the next claim. None settles
    later than `latest`: one that says so is from before the clock was set back, and has settled.
    """
    tenants = tenants_of(ledger, "drops INDEXED BY drops_settling", SETTLING)
    part = max(limit // max(len(tenants), 1), 1)
    found = []
    for tenant in tenants:
        # Two questions, each answered in the order of the index: one with both would sort all that wait, each time.
        rows = ledger.rows(f"{SETTLED} AND settles_at > ? {IN_TURN}", (tenant, clock.text(latest), part))
        rows += ledger.rows(f"{SETTLED} AND settles_at <= ? {IN_TURN}", (tenant, clock.text(now), part - len(rows)))
        found += [drop_row(row) for row in rows]
    return sorted(found, key=lambda drop: (drop.settles_at <= now, drop.settles_at, drop.id))


def next_settling(ledger: Ledger) -> datetime | None:
    """When the next landed drop settles."""
    found = ledger.row("SELECT min(settles_at) AS at FROM drops WHERE state IN ('landed', 'settling', 'queued')")
    return moment(found["at"]) if found else None


def landed_by_upload(ledger: Ledger) -> list[DropRow]:
    """The drops over SFTP whose landing may have been cut short."""
    found = ledger.rows(f"{SELECT} WHERE state IN ('landed', 'settling', 'queued') AND upload_id IS NOT NULL")
    return [drop_row(row) for row in found]


def claimed(ledger: Ledger) -> list[DropRow]:
    """The drops that jobs have and have not finished."""
    unfinished = "state IN ('landed', 'settling', 'queued', 'claimed')"  # As the index has it.
    return [drop_row(row) for row in ledger.rows(f"{SELECT} WHERE {unfinished} AND state = 'claimed'")]


def came_by_rename(ledger: Ledger, drop: DropRow) -> bool:
    """Whether the client gave the whole file its final name by a rename from a temporary one."""
    return drop.upload_id is not None and uploads.was_closed(ledger, drop.upload_id)


def claim(ledger: Ledger, drop_id: str, now: datetime, **columns: Any) -> None:
    """It settled: it is queued, and its job takes the file. Belongs into the transaction that makes the job.

    Only one caller gets here: the others find another state and LedgerError.
    """
    with ledger.transaction():
        note(ledger, drop_id, (*UNSETTLED, "held"), "queued")
        ledger.note_transition("drop", drop_id, "queued", "claimed")
        # One change of the row for both: each one moves it through half a dozen indexes.
        change(
            ledger,
            drop_id,
            "1",
            **{"state": "claimed", "state_since": now, "reason": None, "claimed_at": now} | columns,
        )


def finish(ledger: Ledger, drop_id: str, state: str, reason: str | None) -> None:
    """Its job has ended: done, duplicate or quarantined."""
    move(ledger, drop_id, ("claimed",), state, reason, told_at=None)


def reopen(ledger: Ledger, drop_id: str, reason: str) -> None:
    """Its job runs again on the archived bytes. LedgerError when they are there no more."""
    drop = get(ledger, drop_id)
    if drop.purged_at is not None:
        raise LedgerError(
            f"the file of drop {drop_id} ({drop.tenant}/{drop.feed}/{drop.path}) was removed on "
            f"{drop.purged_at:%Y-%m-%d}: files are kept for `archive_days` ([retention] in gateway.toml); "
            "it can be uploaded again"
        )
    move(ledger, drop_id, ENDED, "claimed", reason)


def supersede(ledger: Ledger, drop_id: str, reason: str) -> None:
    """Another file took its name before it was processed."""
    move(ledger, drop_id, (*UNSETTLED, "held", "claimed"), "superseded", reason)


def use_up(ledger: Ledger, proof: DropRow, reason: str, now: datetime) -> None:
    """A marker or checksum has done its work; its file is yet to leave the inbox."""
    move(ledger, proof.id, (*UNSETTLED, "held"), "done", reason, claimed_at=now, leaving="archive")


def leaving(ledger: Ledger) -> list[DropRow]:
    """The drops that have ended and whose files must still be taken out of the inbox."""
    return [drop_row(row) for row in ledger.rows(f"{SELECT} WHERE leaving IS NOT NULL ORDER BY drops.id")]


def left(ledger: Ledger, drop_id: str) -> None:
    """Its file is out of the inbox."""
    change(ledger, drop_id, "1", leaving=None)


def restart_settling(ledger: Ledger, drop_id: str, now: datetime, settle_seconds: float, reason: str) -> None:
    """Something touched it (its times were set, it was opened again): it settles anew. Not once it has settled."""
    with ledger.transaction():
        if get(ledger, drop_id).state in UNSETTLED:
            settles_at = now + timedelta(seconds=settle_seconds)
            move(ledger, drop_id, UNSETTLED, "settling", reason, settles_at=settles_at)


def postpone(ledger: Ledger, drop_id: str, now: datetime, seconds: float) -> None:
    """Look at it again later; nothing has happened to it."""
    change(ledger, drop_id, "state IN ('landed', 'settling')", settles_at=now + timedelta(seconds=seconds))


def set_client_mtime(ledger: Ledger, drop_id: str, mtime: datetime) -> None:
    """The file time that the client set (C45)."""
    change(ledger, drop_id, "1", client_mtime=mtime)


def set_sha256(ledger: Ledger, drop_id: str, sha256: str) -> None:
    """The digest of the claimed bytes."""
    change(ledger, drop_id, "state = 'claimed'", sha256=sha256)


def move(ledger: Ledger, drop_id: str, old: Sequence[str], new: str, reason: str | None = None, **columns: Any) -> None:
    """One transition, guarded by the old state; LedgerError when the drop is in another."""
    kept = {"state": new, "state_since": clock.now(), "reason": reason} | columns
    with ledger.transaction():
        note(ledger, drop_id, old, new, reason)
        change(ledger, drop_id, "1", **kept)


def note(ledger: Ledger, drop_id: str, old: Sequence[str], new: str, reason: str | None = None) -> None:
    """The transition alone; belongs before the change of the row. LedgerError as in `move`."""
    if not ledger.note_move("drop", drop_id, old, new, reason):
        found = ledger.row("SELECT state FROM drops WHERE id = ?", (drop_id,))
        raise LedgerError(f"drop {drop_id} is {found['state'] if found else 'unknown'}, not {' or '.join(old)}")


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


def flags(plain: Mapping[str, Any], *columns: str) -> dict[str, bool]:
    """These columns as truth values."""
    return {column: bool(plain[column]) for column in columns}


def drop_row(row: sqlite3.Row) -> DropRow:
    plain = dict(row)
    for column in TIMES:
        if plain[column] is not None:
            plain[column] = clock.moment(plain[column])
    return DropRow(**plain | flags(plain, "hidden", "dry_run"))
