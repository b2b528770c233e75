"""An address opens so many connections at once and then so many a second; who is over it is told so, others are not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.sftp import pace
from gateway.sftp.pace import Pace
from tests.sftp.conftest import Running

HASTY, OTHER = "127.0.0.5", "127.0.0.6"
TOO_FAST = b"Too many new connections from your address at once"


@pytest.fixture
async def paced(root: Path) -> AsyncIterator[Running]:
    with (root / "gateway.toml").open("a") as file:
        file.write("[defender]\nallow = []\nknown_factor = 50\nconnections_at_once = 3\nconnections_per_second = 2\n")
    running = Running(root)
    await running.start()
    yield running
    await running.listener.stop(0)
    running.ledger.close()


def first_line(paced: Running, source: str) -> bytes:
    with socket.create_connection(("127.0.0.1", paced.port), 20, (source, 0)) as client:
        return client.recv(200)


async def test_who_comes_too_fast_is_told_others_are_not_and_it_passes(paced: Running) -> None:
    answers = [await asyncio.to_thread(first_line, paced, HASTY) for _ in range(12)]
    assert [answer.startswith(b"SSH-2.0-") for answer in answers[:3]] == [True] * 3
    assert any(answer.startswith(TOO_FAST) for answer in answers)
    assert (await asyncio.to_thread(first_line, paced, OTHER)).startswith(b"SSH-2.0-")
    async with asyncio.timeout(20):
        while not (await asyncio.to_thread(first_line, paced, HASTY)).startswith(b"SSH-2.0-"):
            await asyncio.sleep(0.1)


async def test_an_address_from_which_a_key_logs_in_may_come_faster(paced: Running) -> None:
    assert (await paced.sftp("ls")).code == 0
    answers = [await asyncio.to_thread(first_line, paced, "127.0.0.1") for _ in range(30)]
    assert all(answer.startswith(b"SSH-2.0-") for answer in answers)


def test_a_pace_forgets_the_quiet_and_in_a_flood_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "ADDRESSES_MAX", 2)
    kept = Pace()

    def admits(address: str, now: float) -> bool:
        return kept.admits(address, now, at_once=1, per_second=1)

    assert [admits("a", 0), admits("b", 1.5), admits("c", 1.6)] == [True, True, True]
    assert admits("b", 1.7) is False, "b had not been quiet for long enough, so it is still kept in mind"
    assert [admits("d", 1.8), admits("b", 1.9)] == [True, True], "a flood of addresses is not kept in mind"
