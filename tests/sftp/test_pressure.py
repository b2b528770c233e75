"""Back pressure: a tenant whose queue is long is let on one upload at a time, as long as others have work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import clock
from gateway.ledger import Ledger, drops, jobs, landings, uploads
from gateway.ledger.landings import Landing
from gateway.sftp import pressure
from gateway.sftp.pressure import BackPressure

LONG = 3


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(pressure, "QUEUE_LONG", LONG)
    # Nobody is let on by the clock here.
    monkeypatch.setattr(pressure, "PAUSE_SECONDS", 600.0)
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


def land(ledger: Ledger, tenant: str, path: str) -> None:
    now = clock.now()
    drop = landings.record_landing(ledger, Landing(tenant, "people", path, 10, 1, landed_at=now, settles_at=now))
    with ledger.transaction():
        jobs.create(ledger, drop, "ann@acme.example", now)
        drops.claim(ledger, drop.id, now)


def queue(ledger: Ledger, tenant: str, count: int) -> None:
    for number in range(count):
        land(ledger, tenant, f"{number}.csv")


async def goes_on(held: asyncio.Future[None]) -> bool:
    done, _ = await asyncio.wait([held], timeout=0.5)
    return bool(done)


@pytest.mark.parametrize(("flood", "other"), [("acme", "rival"), ("rival", "acme")])
async def test_a_long_queue_waits_beside_another_tenants_drop_and_the_other_does_not(
    ledger: Ledger, flood: str, other: str
) -> None:
    queue(ledger, flood, LONG)
    queue(ledger, other, 1)
    held = BackPressure(ledger)
    slow = asyncio.ensure_future(held.hold_back(flood))
    await asyncio.wait_for(held.hold_back(other), 30)
    assert not await goes_on(slow)
    held.release()
    await asyncio.wait_for(slow, 30)
    await asyncio.wait_for(held.hold_back(flood), 30)


async def test_an_upload_of_another_tenant_that_is_under_way_counts(ledger: Ledger) -> None:
    queue(ledger, "acme", LONG)
    uploads.open_upload(
        ledger, tenant="rival", username="bob", feed="people", path="b.csv", address=None, client=None
    )  # fmt: skip
    held = BackPressure(ledger)
    slow = asyncio.ensure_future(held.hold_back("acme"))
    assert not await goes_on(slow)
    held.release()
    await slow


async def test_who_is_alone_goes_on_however_long_the_queue(ledger: Ledger) -> None:
    queue(ledger, "acme", 2 * LONG)
    await asyncio.wait_for(BackPressure(ledger).hold_back("acme"), 30)


async def test_a_short_queue_does_not_wait(ledger: Ledger) -> None:
    queue(ledger, "acme", LONG - 1)
    queue(ledger, "rival", 1)
    await asyncio.wait_for(BackPressure(ledger).hold_back("acme"), 30)


async def test_after_a_pause_the_next_one_is_let_on(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    queue(ledger, "acme", LONG)
    queue(ledger, "rival", 1)
    monkeypatch.setattr(pressure, "PAUSE_SECONDS", 0.001)
    held = BackPressure(ledger)
    await asyncio.wait_for(asyncio.gather(*(held.hold_back("acme") for _ in range(5))), 30)


async def test_a_ledger_that_cannot_be_asked_fails_no_close(ledger: Ledger, tmp_path: Path) -> None:
    queue(ledger, "acme", LONG)
    with ledger.transaction() as connection:
        connection.execute("DROP INDEX jobs_queued")
    await asyncio.wait_for(BackPressure(ledger).hold_back("acme"), 30)
