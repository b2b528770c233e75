"""Bans in the ledger: the points of addresses and users, so that a restart forgets none of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Literal

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import audit
from gateway.ledger.audit import Event
from gateway.ledger.connection import Ledger

Kind = Literal["address", "user"]
Name = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """How an address or a user stands: one row of `bans`. `score` is as it was at `scored_at`."""

    kind: Kind
    subject: str
    score: float
    scored_at: datetime
    bans: int = 0
    banned_until: datetime | None = None
    known_at: datetime | None = None

    @property
    def name(self) -> Name:
        return self.kind, self.subject

    def is_banned(self, now: datetime) -> bool:
        return self.banned_until is not None and now < self.banned_until


def load(ledger: Ledger) -> dict[Name, Standing]:
    """All that there are."""
    return {standing.name: standing for standing in map(_standing, ledger.rows("SELECT * FROM bans"))}


def names(ledger: Ledger) -> set[Name]:
    """Who has points, or had bans."""
    return {(row["kind"], row["subject"]) for row in ledger.rows("SELECT kind, subject FROM bans")}


def save(ledger: Ledger, standings: Iterable[Standing], forgotten: Iterable[Name]) -> None:
    """Write those that have changed, and delete those that are over."""
    with ledger.transaction() as connection:
        connection.executemany("DELETE FROM bans WHERE kind = ? AND subject = ?", list(forgotten))
        connection.executemany(
            "INSERT OR REPLACE INTO bans (kind, subject, score, scored_at, bans, banned_until, known_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                tuple(clock.text(value) if isinstance(value, datetime) else value for value in astuple(standing))
                for standing in standings
            ],
        )


def in_force(ledger: Ledger, now: datetime) -> list[Standing]:
    """The bans that are not over, those that last longest first."""
    rows = ledger.rows("SELECT * FROM bans WHERE banned_until > ? ORDER BY banned_until DESC", (clock.text(now),))
    return [_standing(row) for row in rows]


def unban(ledger: Ledger, subjects: Iterable[str], operator: str) -> list[Standing]:
    """Forget the points and bans of an address or user, by any of its names. LedgerError when it has none."""
    wanted = list(dict.fromkeys(subjects))
    with ledger.transaction() as connection:
        found = [standing for standing in load(ledger).values() if standing.subject in wanted]
        if not found:
            raise LedgerError(f"'{wanted[0]}' is not banned and has no points; `gateway bans` lists who is")
        for standing in found:
            connection.execute("DELETE FROM bans WHERE kind = ? AND subject = ?", standing.name)
            audit.write(ledger, Event("unban", username=operator, subject=standing.subject, detail=standing.kind))
        return found


def _standing(row: sqlite3.Row) -> Standing:
    times = {name: clock.moment(row[name]) if row[name] else None for name in ("scored_at", "banned_until", "known_at")}
    return Standing(**{**dict(row), **times})
