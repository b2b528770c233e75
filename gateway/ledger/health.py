"""The health of a ledger, told without changing it: it is opened for reading, and no migration is applied."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gateway import clock
from gateway.ledger.connection import IN_MEMORY, Ledger
from gateway.ledger.drops import moment

DAMAGE_SHOWN = 5
WAL_RACE = ((3, 7, 0), (3, 51, 2))
"""The versions of SQLite, first and last, that can lose a commit when a WAL is reset (sqlite.org/wal.html)."""


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong with the file (`damage`), and the tables and views that differ from those of this version."""

    damage: tuple[str, ...]
    differing: tuple[str, ...]
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class StuckJob:
    """A job that has not moved for a quarter of an hour."""

    job_id: str
    tenant: str
    feed: str
    file: str
    status: str
    since: datetime


def examine(path: Path) -> Health:
    """The health of the ledger at `path`. OSError when it cannot be read at all."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            found = [row[0] for row in connection.execute(f"PRAGMA quick_check({DAMAGE_SHOWN})")]
            schema = schema_of(connection)
            expected = expected_schema()
            differing = {name for name in schema.keys() | expected.keys() if schema.get(name) != expected.get(name)}
            newest = None
            if "transitions" in schema:
                newest = connection.execute("SELECT max(at) FROM transitions").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from error
    return Health(tuple(one for one in found if one != "ok"), tuple(sorted(differing)), moment(newest))


def has_wal_race() -> bool:
    """Whether the SQLite of this process has the rare race."""
    first, last = WAL_RACE
    return first <= sqlite3.sqlite_version_info <= last


def sqlite_version() -> str:
    return sqlite3.sqlite_version


def stuck(ledger: Ledger) -> list[StuckJob]:
    """The jobs that wait or run without an end in sight, the oldest first."""
    return [
        StuckJob(row["job"], row["tenant"], row["feed"], row["file"], row["status"], clock.moment(row["since"]))
        for row in ledger.rows("SELECT * FROM stuck_jobs")
    ]


def held_counts(ledger: Ledger) -> Mapping[str, int]:
    """How many drops are held, by what they wait for."""
    found = ledger.rows("SELECT held_for, count(*) AS drops FROM held_drops GROUP BY held_for ORDER BY held_for")
    return {row["held_for"]: row["drops"] for row in found}


def expected_schema() -> dict[str, str]:
    """The schema of a ledger that this version makes."""
    fresh = Ledger(IN_MEMORY)
    try:
        found = fresh.rows("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
        return {row["name"]: row["sql"] for row in found}
    finally:
        fresh.close()


def schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall())
