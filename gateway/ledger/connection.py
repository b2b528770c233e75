"""The ledger's one writing connection of a process, and those that read: opening, migrating, transactions."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import uuid_utils

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger.turn_lock import TurnLock

BUSY_SECONDS = 30.0
IN_MEMORY = Path(":memory:")
"""The path of a ledger that is nowhere on the disk."""
FILE_MODE = 0o640
CACHE_KIB = 32 * 1024
CHECKPOINT_PAGES = 8192
"""Of 4 KiB each. Jobs change pages all over a large ledger, and many change the same ones: the more of them go from the
log into the file together, the less there is to write and to wait for."""
MIGRATIONS = 6
"""How many there are. A ledger says in its `user_version` how many it has had."""

MOVED = {"drop": ("drops", "state"), "job": ("jobs", "status")}
"""Where each kind of what moves from state to state is, and in which column it has its state."""


def new_id() -> str:
    """A UUIDv7: its text order is the order of creation."""
    return str(uuid_utils.uuid7())


def find_one(ledger: Ledger, noun: str, select: str, column: str, prefix: str) -> sqlite3.Row:
    """The one row whose id begins with `prefix`, or LedgerError that says whether none or several do."""
    condition = f"substr({column}, 1, ?) = ? LIMIT 2"
    found = ledger.rows(select.format(condition), (len(prefix), prefix.lower())) if prefix else []
    if len(found) != 1:
        many = f"more than one {noun}" if len(found) > 1 else f"no {noun}"
        raise LedgerError(f"{many} has an id that begins with '{prefix}'; `gateway {noun}s` lists them")
    return found[0]


def tenants_of(ledger: Ledger, source: str, condition: str) -> list[str]:
    """The tenants of the rows of `source`, a table with an index that begins with them, under the index's condition.

    From one to the next by the index: DISTINCT would read all rows of a tenant, and in a flood they are thousands.
    """
    # Only words of our own are put in.
    least = f"SELECT min(tenant) FROM {source} WHERE {condition}"  # noqa: S608
    sql = f"""
        WITH RECURSIVE found (reached) AS (
            {least} UNION ALL SELECT ({least} AND tenant > found.reached) FROM found WHERE found.reached IS NOT NULL
        ) SELECT reached FROM found WHERE reached IS NOT NULL
    """  # noqa: S608
    return [row["reached"] for row in ledger.rows(sql)]


def make_file(path: Path) -> None:
    """An empty file for a new ledger, not for others; SQLite gives what it makes beside it the same mode."""
    # One that is there is left alone: to open and close it would drop the locks that this process has on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE))


def connected(path: Path) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def version_of(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection) -> None:
    # Only where there is something to do: sqlite-utils brings numpy along, a tenth of a second at each start.
    import sqlite_utils

    from gateway.ledger.migrations import ledger_migrations

    ledger_migrations.apply(sqlite_utils.Database(connection))
    connection.execute(f"PRAGMA user_version = {MIGRATIONS}")


class Ledger:
    """The ledger of one data directory. Safe to use from any thread; one connection writes, under one lock.

    Writes happen inside `transaction()` only. Who has no transaction reads by a connection beside it and waits for
    nobody: the sessions of one tenant could keep the jobs of another waiting by their questions alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = TurnLock()
        self._readers: deque[sqlite3.Connection] = deque()
        """Those that nobody reads by right now."""
        try:
            if path != IN_MEMORY:
                make_file(path)
            self._connection = connected(path)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # NORMAL could lose a commit that was acknowledged to a client when power fails.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._is_lazy = False
            self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            self._connection.execute("PRAGMA foreign_keys = ON")
            if version_of(self._connection) < MIGRATIONS:
                # Two processes that start together must not both apply a migration: ours is IMMEDIATE,
                # and sqlite-utils' own transactions nest inside it as savepoints.
                with self.transaction():
                    migrate(self._connection)
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(f"{path}: the ledger cannot be opened: {error}") from error

    @contextmanager
    def transaction(self, *, lazily: bool = False) -> Iterator[sqlite3.Connection]:
        """One BEGIN IMMEDIATE … COMMIT; rolled back when the block raises. Nested use joins the outer one.

        A power cut can lose what is committed `lazily`, a kill cannot; the next commit of another kind keeps both.
        What is nested in a lazy one is as lazy.
        """
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._make_lazy(lazily)
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _make_lazy(self, lazily: bool) -> None:
        """Whether the next commit waits for the disk."""
        if lazily != self._is_lazy:
            self._connection.execute(f"PRAGMA synchronous = {'NORMAL' if lazily else 'FULL'}")
            self._is_lazy = lazily

    def _roll_back(self) -> None:
        """Also after a commit that failed: the next transaction would join the one that is left open.

        SQLite has rolled back by itself when the disk is full, and would complain of a second time.
        """
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def rows(self, sql: str, parameters: Any = ()) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._reading() as connection:
            return connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Any = ()) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        # Closed, as a cursor with rows left would keep its connection in the past.
        with self._reading() as connection, closing(connection.execute(sql, parameters)) as cursor:
            found: sqlite3.Row | None = cursor.fetchone()
            return found

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Inside a transaction the connection that sees what it has done; else one of those that only read."""
        if self._lock.is_mine() or self.path == IN_MEMORY:
            with self._lock:
                yield self._connection
            return
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = connected(self.path)
            connection.execute("PRAGMA query_only = ON")
        try:
            yield connection
        finally:
            self._readers.append(connection)

    def note_transition(
        self,
        kind: str,
        subject: str,
        old: str | None,
        new: str,
        reason: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Append one transition of an upload, a drop or a job. Belongs into the transaction that makes it.

        `at` is of one that is written later than it came about.
        """
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO transitions (at, kind, subject, old, new, reason) VALUES (?, ?, ?, ?, ?, ?)",
                (clock.text(at or clock.now()), kind, subject, old, new, reason),
            )

    def note_move(
        self,
        kind: str,
        subject: str,
        old: Sequence[str],
        new: str,
        reason: str | None = None,
        at: datetime | None = None,
    ) -> bool:
        """As `note_transition`, of a drop or a job that is in one of the states `old`; False when it is not.

        Belongs before the change itself: one statement reads the old state and writes it down.
        """
        table, state = MOVED[kind]
        marks = ", ".join("?" for _ in old)
        with self.transaction() as connection:
            # Only our own names and question marks are put in; every value is bound.
            noted = connection.execute(
                "INSERT INTO transitions (at, kind, subject, old, new, reason) "  # noqa: S608
                f"SELECT ?, ?, id, {state}, ?, ? FROM {table} WHERE id = ? AND {state} IN ({marks})",
                (clock.text(at or clock.now()), kind, new, reason, subject, *old),
            )
            return noted.rowcount == 1

    def data_version(self) -> int:
        """A number that changes whenever another connection has committed."""
        with self._lock:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            return version

    def change(self) -> tuple[int, int]:
        """A value that changes whenever anything in the ledger has changed, by this connection or another."""
        with self._lock:
            return self.data_version(), self._connection.total_changes

    def copy_to(self, path: Path) -> None:
        """A copy of the whole ledger at one moment, while others go on writing it."""
        make_file(path)
        target = sqlite3.connect(path)
        try:
            with self._lock:
                # All pages in one step: that is one read transaction, which no writer of a WAL disturbs.
                self._connection.backup(target, pages=-1)
        finally:
            target.close()

    def close(self) -> None:
        with self._lock:
            while self._readers:
                self._readers.pop().close()
            # The last one, which takes the write-ahead log into the file.
            self._connection.close()
