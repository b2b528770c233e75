"""A transaction of the ledger is committed whole or not at all, and the next one is its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger import Ledger

TRANSITION = (
    "INSERT INTO transitions (at, kind, subject, new) VALUES ('2026-01-01T00:00:00.000000Z', 'job', ?, 'queued')"
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        yield ledger


def committed(ledger: Ledger) -> list[str]:
    """The subjects of the transitions, as another process sees them."""
    with closing(sqlite3.connect(ledger.path)) as other:
        return [row[0] for row in other.execute("SELECT subject FROM transitions ORDER BY id")]


def fail_to_commit(ledger: Ledger) -> None:
    """A reference to nothing, which is looked at when everything else is done."""
    with ledger.transaction() as connection:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute(TRANSITION, ("lost",))
        connection.execute(
            "INSERT INTO jobs (id, drop_id, tenant, feed, name, filename, status, status_since, uploaded_on, "
            "file_size) VALUES ('j', 'no drop', 't', 'f', 'n', 'n', 'queued', '2026-01-01T00:00:00.000000Z', "
            "'2026-01-01T00:00:00.000000Z', 1)"
        )


def test_what_comes_after_a_commit_that_failed_is_committed(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        fail_to_commit(ledger)
    with ledger.transaction() as connection:
        connection.execute(TRANSITION, ("kept",))
    assert committed(ledger) == ["kept"]


def test_an_error_in_the_block_undoes_it(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.transaction() as connection:
        connection.execute(TRANSITION, (str(1 // 0),))
    assert committed(ledger) == []
    with ledger.transaction() as connection:
        connection.execute(TRANSITION, ("kept",))
    assert committed(ledger) == ["kept"]


def test_who_has_no_transaction_reads_what_is_committed_and_waits_for_nobody(ledger: Ledger) -> None:
    with ThreadPoolExecutor(1) as other, ledger.transaction() as connection:
        connection.execute(TRANSITION, ("mine",))
        # With the lock it would wait for the end of this block, which waits for it.
        assert other.submit(ledger.rows, "SELECT subject FROM transitions").result(30) == []
        assert [row["subject"] for row in ledger.rows("SELECT subject FROM transitions")] == ["mine"]
    found = ledger.row("SELECT subject FROM transitions")
    assert found is not None
    assert found["subject"] == "mine"


def test_a_row_that_was_read_keeps_no_reader_in_the_past(ledger: Ledger) -> None:
    for subject in ("first", "second"):
        with ledger.transaction() as connection:
            connection.execute(TRANSITION, (subject,))
        assert ledger.row("SELECT subject FROM transitions ORDER BY id") is not None
        assert len(ledger.rows("SELECT subject FROM transitions")) == len(committed(ledger))


def test_a_reader_cannot_write(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        ledger.rows("DELETE FROM transitions")
