"""Another program holds the lock of the ledger: a put waits, and what has nothing to do with the ledger goes on."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.partner import PEOPLE, Partner, write
from tests.faults.site import Site
from tests.waiting import until

PUTS = 12


@contextlib.contextmanager
def locked(site: Site) -> Iterator[None]:
    """Nobody else can write into the ledger."""
    with contextlib.closing(sqlite3.connect(site.data / "ledger.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_puts_wait_for_the_lock_and_the_outbox_can_be_listed_meanwhile(shared_site: Site) -> None:
    partner = Partner(shared_site)
    partner.put("first.csv", b"identity,Name\nzoe,Zoe\n")
    shared_site.ended()
    begun = threading.Semaphore(0)

    def put(number: int) -> None:
        with partner.connected() as client:
            begun.release()
            write(client, f"{partner.folder}/{number}.csv", b"identity,Name\nann-%d,Ann\n" % number)

    with ThreadPoolExecutor(PUTS) as pool:
        with locked(shared_site):
            puts = [pool.submit(put, number) for number in range(PUTS)]
            for _ in puts:
                assert begun.acquire(timeout=60)
            with partner.connected() as client:
                assert "first.csv.report.json" in client.listdir(f"/outbox/{shared_site.feed}")
            assert not any(one.done() for one in puts)
        for one in puts:
            one.result()
    assert {job["status"] for job in shared_site.ended(PUTS + 1)} == {"completed"}


def test_who_waits_for_too_long_is_told_and_nothing_is_lost(site: Site) -> None:
    site.set_fault(busy_seconds=1)
    site.serve()
    partner = Partner(site)
    partner.put("first.csv", b"identity,Name\nzoe,Zoe\n")
    with locked(site), partner.connected() as client, pytest.raises(OSError, match="try again") as failure:
        write(client, f"{partner.folder}/a.csv", PEOPLE)
    assert "a.csv" in str(failure.value)
    partner.put("a.csv", PEOPLE)
    assert {job["status"] for job in site.ended(2)} == {"completed"}


def test_a_job_that_ends_while_the_ledger_is_locked_ends_once_it_is_free(site: Site) -> None:
    site.set_fault(busy_seconds=1)
    site.serve()
    partner = Partner(site)
    partner.put("a.csv", PEOPLE)
    with locked(site):
        until(lambda: "locked" in site.log(), site.log)
    (job,) = site.ended()
    assert (job["status"], job["total_rows"]) == ("completed", 5002)
