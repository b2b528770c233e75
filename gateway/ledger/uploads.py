"""Uploads in the ledger: what a client is writing or has written, from its open to its close.

open -> closed       the client closed it and every byte is there
open -> incomplete   it broke off; what arrived from the start of the file on waits to be resumed
open -> aborted      it broke off and nothing of it is worth keeping, or a newer upload took its place
incomplete -> open   the client resumes it
incomplete -> expired  nobody went on with it in time
closed -> expired    it stood in the inbox under a temporary name, and never got its final one
closed -> open       it leaves its temporary name for its final one, or it could not be put into the inbox
"""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import audit
from gateway.ledger.audit import Event
from gateway.ledger.connection import Ledger, find_one, new_id


@dataclass(frozen=True, slots=True)
class UploadRow:
    """One row of `uploads`. `id` is also the name of the file in the spool while it is not closed."""

    id: str
    tenant: str
    username: str
    feed: str
    path: str
    state: str
    opened_at: datetime
    ended_at: datetime | None
    bytes: int
    in_place: bool
    address: str | None
    client: str | None
    fingerprint: str | None
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: times as the ledger writes them."""
        times = {name: clock.text(at) for name in ("opened_at", "ended_at") if (at := getattr(self, name))}
        plain = {name: value for name, value in asdict(self).items() if name != "id"}
        return {"upload_id": self.id} | plain | times


def open_upload(
    ledger: Ledger,
    *,
    tenant: str,
    username: str,
    feed: str,
    path: str,
    address: str | None,
    client: str | None,
    fingerprint: str | None = None,
    in_place: bool = False,
    upload_id: str | None = None,
) -> tuple[UploadRow, list[str]]:
    """A new upload, and the ids of the user's incomplete ones of that name, which it replaces.

    `in_place` says that it began with the bytes of an older file and may write over them: while the gateway runs
    it knows which bytes are new, but after a kill nothing tells, and then nothing of them may be kept. `upload_id`
    is given by who has to know it before the ledger does.
    """
    upload_id = upload_id or new_id()
    with ledger.transaction() as connection:
        older = connection.execute(
            "SELECT id FROM uploads WHERE tenant=? AND feed=? AND path=? AND username=? AND state='incomplete'",
            (tenant, feed, path, username),
        ).fetchall()
        for row in older:
            abort(ledger, row["id"], "a newer upload took its place")
        connection.execute(
            "INSERT INTO uploads (id, tenant, username, feed, path, state, opened_at, in_place, address, client, "
            "fingerprint) VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?)",
            (upload_id, tenant, username, feed, path, clock.text(clock.now()), in_place, address, client, fingerprint),
        )
        ledger.note_transition("upload", upload_id, None, "open")
        _audit(ledger, get(ledger, upload_id), None)
        return get(ledger, upload_id), [row["id"] for row in older]


def resume(ledger: Ledger, upload_id: str, *, in_place: bool) -> UploadRow:
    """An incomplete upload that its user goes on with; `in_place` as in `open_upload`."""
    with ledger.transaction() as connection:
        connection.execute("UPDATE uploads SET in_place=? WHERE id=?", (in_place, upload_id))
        _move(ledger, upload_id, ("incomplete",), "open", None, "resumed")
        return get(ledger, upload_id)


def close_upload(ledger: Ledger, upload_id: str, size: int) -> None:
    """The client closed it and all of its `size` bytes are on disk. Part of the transaction that lands it."""
    _move(ledger, upload_id, ("open",), "closed", size, None)


def interrupt(ledger: Ledger, upload_id: str, size: int, reason: str) -> str:
    """It broke off with `size` bytes that can be resumed. Returns its new state: incomplete or aborted."""
    with ledger.transaction() as connection:
        newer = connection.execute(
            "SELECT 1 FROM uploads AS newer JOIN uploads AS this USING (tenant, feed, path, username) "
            "WHERE this.id = ? AND newer.id > this.id",
            (upload_id,),
        ).fetchone()
        state = "aborted" if newer or size == 0 else "incomplete"
        if newer:
            reason = f"{reason}; a newer upload took its place"
        _move(ledger, upload_id, ("open",), state, size, reason)
        return state


def abort(ledger: Ledger, upload_id: str, reason: str) -> None:
    """Nothing of it is kept."""
    _move(ledger, upload_id, ("open", "incomplete"), "aborted", None, reason)


def expire(ledger: Ledger, upload_id: str, old: str, reason: str) -> None:
    """Nobody went on with it in time, or gave it its final name: nothing of it is kept."""
    _move(ledger, upload_id, (old,), "expired", None, reason)


def incomplete(ledger: Ledger, before: datetime) -> list[UploadRow]:
    """The uploads that broke off before that time; one that is open has not ended."""
    rows = ledger.rows(
        "SELECT * FROM uploads WHERE state IN ('open', 'incomplete') AND ended_at < ? ORDER BY id",
        (clock.text(before),),
    )
    return [_upload(row) for row in rows]


def look_up(ledger: Ledger, upload_id: str) -> UploadRow | None:
    """The upload of an id, if there is one."""
    found = ledger.row("SELECT * FROM uploads WHERE id=?", (upload_id,))
    return _upload(found) if found is not None else None


def reopen(ledger: Ledger, upload_id: str, reason: str) -> UploadRow:
    """Its bytes are in the spool again: they are about to land under another name, or could not land."""
    with ledger.transaction():
        _move(ledger, upload_id, ("closed",), "open", None, reason)
        return get(ledger, upload_id)


def set_place(ledger: Ledger, upload_id: str, feed: str, path: str) -> UploadRow:
    """The upload is now for another name."""
    with ledger.transaction() as connection:
        connection.execute("UPDATE uploads SET feed=?, path=? WHERE id=?", (feed, path, upload_id))
        return get(ledger, upload_id)


def get(ledger: Ledger, upload_id: str) -> UploadRow:
    """The upload of an id, or LedgerError."""
    found = ledger.row("SELECT * FROM uploads WHERE id=?", (upload_id,))
    if found is None:
        raise LedgerError(f"upload {upload_id}: there is no such upload")
    return _upload(found)


def find(ledger: Ledger, prefix: str) -> UploadRow:
    """The one upload whose id begins with `prefix`, or LedgerError that says whether none or several do."""
    return _upload(find_one(ledger, "upload", "SELECT * FROM uploads WHERE {}", "id", prefix))


def select(ledger: Ledger, *, tenant: str | None, feed: str | None, state: str | None, limit: int) -> list[UploadRow]:
    """The uploads that match all filters, newest first."""
    filters = {"tenant": tenant, "feed": feed, "state": state}
    given = {column: value for column, value in filters.items() if value is not None}
    where = " AND ".join(f"{column} = ?" for column in given) or "1"
    # Only our own names of columns are put together; every value is bound.
    found = ledger.rows(
        f"SELECT * FROM uploads WHERE {where} ORDER BY id DESC LIMIT ?",  # noqa: S608
        (*given.values(), limit),
    )
    return [_upload(row) for row in found]


def partial(ledger: Ledger, tenant: str, username: str, feed: str, path: str) -> UploadRow | None:
    """The user's newest upload of that name, when it is still open or incomplete."""
    found = ledger.row(
        "SELECT * FROM uploads WHERE tenant=? AND feed=? AND path=? AND username=? ORDER BY id DESC LIMIT 1",
        (tenant, feed, path, username),
    )
    return _upload(found) if found is not None and found["state"] in ("open", "incomplete") else None


def partials(ledger: Ledger, tenant: str, username: str, feed: str) -> list[UploadRow]:
    """The user's uploads of a feed that are still open or incomplete, the newest of each name."""
    rows = ledger.rows(
        "SELECT * FROM uploads AS this INDEXED BY uploads_open "
        "WHERE tenant=? AND feed=? AND username=? AND state IN ('open', 'incomplete') "
        "AND NOT EXISTS (SELECT 1 FROM uploads AS newer WHERE newer.tenant=this.tenant AND newer.feed=this.feed "
        "AND newer.path=this.path AND newer.username=this.username AND newer.id > this.id) ORDER BY path",
        (tenant, feed, username),
    )
    return [_upload(row) for row in rows]


def names_under_way(ledger: Ledger, tenant: str, username: str, feed: str) -> list[str]:
    """The paths that are being uploaded to a feed by anybody, and those that the user can go on with."""
    rows = ledger.rows(
        "SELECT path FROM uploads INDEXED BY uploads_open WHERE tenant=? AND feed=? "
        "AND state IN ('open', 'incomplete') AND (state='open' OR username=?)",
        (tenant, feed, username),
    )
    return [row["path"] for row in rows]


def stored(ledger: Ledger, tenant: str, feed: str, path: str) -> UploadRow | None:
    """The newest closed upload of that name: whose bytes a file with a temporary name has."""
    found = ledger.row(
        "SELECT * FROM uploads WHERE tenant=? AND feed=? AND path=? AND state='closed' ORDER BY id DESC LIMIT 1",
        (tenant, feed, path),
    )
    return _upload(found) if found is not None else None


def was_closed(ledger: Ledger, upload_id: str) -> bool:
    """Whether its client has ever closed it; it was opened again to get another name."""
    sql = "SELECT 1 FROM transitions WHERE subject = ? AND kind = 'upload' AND old = 'closed' AND new = 'open'"
    return ledger.row(sql, (upload_id,)) is not None


def was_stored(ledger: Ledger, upload_id: str) -> bool:
    """Whether an open upload was whole and acknowledged before it was opened again."""
    found = ledger.row("SELECT old FROM transitions WHERE subject=? ORDER BY id DESC LIMIT 1", (upload_id,))
    return found is not None and found["old"] == "closed"


def open_uploads(ledger: Ledger) -> list[UploadRow]:
    """Uploads that nobody has ended: those that are under way, and those that a process which died left behind."""
    return [_upload(row) for row in ledger.rows("SELECT * FROM uploads WHERE state='open' ORDER BY id")]


def _move(ledger: Ledger, upload_id: str, old: tuple[str, ...], new: str, size: int | None, reason: str | None) -> None:
    """One guarded transition. `size` None keeps the bytes that are recorded."""
    with ledger.transaction() as connection:
        found = get(ledger, upload_id).state
        if found not in old:
            raise LedgerError(f"upload {upload_id} is {found}, so it cannot become {new}")
        ended_at = None if new == "open" else clock.text(clock.now())
        connection.execute(
            "UPDATE uploads SET state=?, ended_at=?, bytes=coalesce(?, bytes), reason=? WHERE id=? AND state=?",
            (new, ended_at, size, reason, upload_id, found),
        )
        ledger.note_transition("upload", upload_id, found, new, reason)
        _audit(ledger, get(ledger, upload_id), reason)


def _audit(ledger: Ledger, upload: UploadRow, reason: str | None) -> None:
    """In the transaction of the upload's own transition: what a client was told is in is never lost here."""
    audit.write(
        ledger,
        Event(
            action="upload begin" if upload.state == "open" else "upload",
            result="ok" if upload.state in ("open", "closed") else "failed",
            tenant=upload.tenant,
            username=upload.username,
            address=upload.address,
            fingerprint=upload.fingerprint,
            client=upload.client,
            subject=f"/inbox/{upload.feed}/{upload.path}",
            bytes=upload.bytes,
            detail=reason,
        ),
    )


def _upload(row: sqlite3.Row) -> UploadRow:
    times = {name: clock.moment(row[name]) if row[name] else None for name in ("opened_at", "ended_at")}
    return UploadRow(**{**dict(row), **times, "in_place": bool(row["in_place"])})
