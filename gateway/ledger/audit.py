"""The audit: who did what, from where, when, and with what result. Append-only.

What changes something is written in the transaction that changes it, or before the answer; what only reads waits
in `AuditQueue` for a part of a second, so that nothing waits for the disk because of it.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

import structlog

from gateway import clock
from gateway.ledger.connection import Ledger

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.2
QUEUED_MAX = 5_000
"""Events that may wait to be written; the number of those beyond is written instead."""


@dataclass(frozen=True, slots=True)
class Event:
    """One row of `audit` that is to be written; the columns are explained where the table is made."""

    action: str
    result: str = "ok"
    tenant: str | None = None
    username: str | None = None
    address: str | None = None
    fingerprint: str | None = None
    client: str | None = None
    subject: str | None = None
    bytes: int | None = None
    detail: str | None = None
    at: datetime = field(default_factory=clock.now)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the time as the ledger writes it."""
        return asdict(self) | {"at": clock.text(self.at)}


COLUMNS = [one.name for one in fields(Event)]
# Only our own names of columns are put together; every value is bound.
INSERT = f"INSERT INTO audit ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)})"  # noqa: S608


def write(ledger: Ledger, *events: Event) -> None:
    """Append them, in the transaction that is under way or in one of their own."""
    with ledger.transaction() as connection:
        connection.executemany(INSERT, [tuple(event.to_dict()[name] for name in COLUMNS) for event in events])


def note(ledger: Ledger, event: Event) -> None:
    """Append what has been done already: a ledger that fails, on a full disk mostly, undoes nothing and is logged."""
    try:
        write(ledger, event)
    except Exception as error:
        log.error("audit cannot be written", action=event.action, error=type(error).__name__)


def query(
    *, username: str | None, tenant: str | None, action: str | None, since: datetime | None, limit: int
) -> tuple[str, list[Any]]:
    """The statement of `select`, and its parameters."""
    filters = {"username = ?": username, "tenant = ?": tenant, "action = ?": action}
    given: dict[str, Any] = {condition: value for condition, value in filters.items() if value is not None}
    if since is not None:
        given["at >= ?"] = clock.text(since)
    where = " AND ".join(given) or "1"
    # Only our own names of columns and conditions are put together; every value is bound.
    sql = f"SELECT {', '.join(COLUMNS)} FROM audit WHERE {where} ORDER BY at DESC, id DESC LIMIT ?"  # noqa: S608
    return sql, [*given.values(), limit]


def select(
    ledger: Ledger,
    *,
    username: str | None = None,
    tenant: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> list[Event]:
    """The events that match all filters, newest first."""
    rows = ledger.rows(*query(username=username, tenant=tenant, action=action, since=since, limit=limit))
    return [Event(**{**dict(row), "at": clock.moment(row["at"])}) for row in rows]


class AuditQueue:
    """The events that may be written a little later, and the thread that does it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: deque[Event] = deque()
        self._left_out = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="audit", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """When this returns, everything is written that came before."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._flush()

    def add(self, event: Event) -> None:
        """Never blocks."""
        if len(self._waiting) < QUEUED_MAX:
            self._waiting.append(event)
        else:
            self._left_out += 1

    def write(self, event: Event) -> None:
        """Blocks until it is written, as `note` does it."""
        note(self._ledger, event)

    def _write_on(self) -> None:
        while not self._stopping.wait(FLUSH_SECONDS):
            self._flush()

    def _flush(self) -> None:
        events = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if self._left_out:
            events.append(Event("left out", "failed", detail=f"{self._left_out} events came too fast to be written"))
        if not events:
            return
        try:
            write(self._ledger, *events)
            self._left_out = 0
        except Exception as error:
            # Tried again with the next ones; the queue's limit holds for both.
            self._waiting.extendleft(reversed([event for event in events if event.action != "left out"]))
            log.error("audit cannot be written", count=len(events), error=type(error).__name__)
