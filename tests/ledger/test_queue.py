"""The queue in the ledger: who waits, in which order, and that a long queue costs no more than a short one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway import clock
from gateway.ledger import Ledger, drops, jobs, landings
from gateway.ledger.landings import Landing

NOW = clock.now()
LATEST = NOW + timedelta(minutes=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


def land(ledger: Ledger, tenant: str, path: str, settles: float = 0) -> str:
    settles_at = NOW + timedelta(seconds=settles)
    landing = Landing(tenant, "people", path, bytes=10, inode=1, landed_at=NOW, settles_at=settles_at)
    return landings.record_landing(ledger, landing).id


def queue(ledger: Ledger, tenant: str, path: str) -> None:
    drop = drops.get(ledger, land(ledger, tenant, path))
    with ledger.transaction():
        jobs.create(ledger, drop, None, NOW)
        drops.claim(ledger, drop.id, NOW)


def steps(ledger: Ledger, sql: str) -> int:
    """How many hundreds of steps the ledger takes for a query."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    with ledger.transaction() as connection:
        connection.set_progress_handler(count, 100)
        connection.execute(sql).fetchall()
        connection.set_progress_handler(None, 0)
    return counted


def test_each_tenant_with_a_queued_job_waits_once(ledger: Ledger) -> None:
    assert jobs.waiting_tenants(ledger) == []
    for tenant, path in (("b", "1"), ("a", "1"), ("b", "2"), ("c", "1")):
        queue(ledger, tenant, path)
    (begun,) = jobs.begin_next(ledger, NOW, "c")
    assert begun == jobs.get(ledger, begun.id)
    assert jobs.waiting_tenants(ledger) == ["a", "b"]


def test_of_small_jobs_that_wait_each_worker_begins_its_part_at_once(ledger: Ledger) -> None:
    for number in range(9):
        queue(ledger, "acme", str(number))
    found = []
    while begun := jobs.begin_next(ledger, NOW, "acme", most=4, workers=2):
        found.append("".join(job.filename for job in begun))
        assert begun == [jobs.get(ledger, job.id) for job in begun]
    assert found == ["0123", "456", "7", "8"]


def test_a_job_that_was_tried_before_begins_alone(ledger: Ledger) -> None:
    for number in range(4):
        queue(ledger, "acme", str(number))
    (first, second) = jobs.begin_next(ledger, NOW, "acme", most=2)
    for job in (first, second):
        jobs.try_again(ledger, job.id, "its worker died", NOW)
    found = [[job.filename for job in jobs.begin_next(ledger, NOW, "acme", most=4)] for _ in range(3)]
    assert found == [["0"], ["1"], ["2", "3"]]


def test_drops_settle_in_the_order_of_their_times_and_then_as_they_landed(ledger: Ledger) -> None:
    order = [("late", -1.0), ("first", -3), ("second", -2), ("also second", -2), ("not yet", 5)]
    for path, settles in order:
        land(ledger, "acme", path, settles)
    found = drops.settled(ledger, NOW, LATEST, 10)
    assert [drop.path for drop in found] == ["first", "second", "also second", "late"]
    assert [drop.path for drop in drops.settled(ledger, NOW, LATEST, 2)] == ["first", "second"]


def test_a_drop_from_before_the_clock_was_set_back_goes_first(ledger: Ledger) -> None:
    land(ledger, "acme", "now", -1)
    land(ledger, "acme", "before", 3600)
    assert [drop.path for drop in drops.settled(ledger, NOW, LATEST, 1)] == ["before"]
    assert [drop.path for drop in drops.settled(ledger, NOW, LATEST, 5)] == ["before", "now"]


def test_each_tenant_has_an_equal_part_of_those_that_settle(ledger: Ledger) -> None:
    for number in range(9):
        land(ledger, "flood", str(number))
    land(ledger, "one", "1")
    assert [drop.tenant for drop in drops.settled(ledger, NOW, LATEST, 4)] == ["flood", "flood", "one"]


def test_who_waits_is_found_as_quickly_in_a_long_queue_as_in_a_short_one(ledger: Ledger) -> None:
    asked: list[str] = []
    with ledger.transaction() as connection:
        for number in range(2000):
            queue(ledger, "acme", str(number))
            land(ledger, "acme", f"unsettled {number}")
        connection.set_trace_callback(asked.append)
        assert jobs.waiting_tenants(ledger) == ["acme"]
        assert len(drops.settled(ledger, NOW, LATEST, 25)) == 25
        connection.set_trace_callback(None)
    assert asked
    assert max(steps(ledger, sql) for sql in asked) < 60
