"""The sessions of a user share a bandwidth; others do not wait with them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.sftp.conftest import Running, kill, until

RATE = 200_000
PACKET_BYTES = 300_000
"""More than any packet of the clients here: each session may be ahead by one."""


@pytest.fixture
async def slow(root: Path) -> AsyncIterator[Running]:
    with (root / "gateway.toml").open("a") as file:
        file.write(f"[limits]\nupload_bytes_per_second_max_per_user = {RATE}\n")
        file.write(f"download_bytes_per_second_max_per_user = {RATE}\n")
    running = Running(root)
    await running.start()
    yield running
    await running.listener.stop(0)
    running.ledger.close()


def allowed(begun: float, sessions: int) -> float:
    """The most bytes that can have passed by now: the burst of a second, and a packet that each session began."""
    return RATE * (time.monotonic() - begun + 1) + sessions * PACKET_BYTES


async def test_the_uploads_of_a_user_share_the_limit_and_another_user_goes_on(slow: Running, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 20_000_000)
    (tmp_path / "small").write_bytes(b"x" * 1000)
    begun = time.monotonic()
    names = ("a.csv", "b.csv")
    processes = [
        await slow.begin(*slow.sftp_command(), given=f"put {tmp_path}/big inbox/events/{name}\n") for name in names
    ]

    def passed() -> int:
        return sum(path.stat().st_size for path in slow.spooled())

    for number in range(3):
        ended = await slow.sftp(f"put {tmp_path}/small inbox/events/{number}.csv", user="acme-two")
        assert (ended.code, ended.err) == (0, "")
        assert passed() <= allowed(begun, 2)
    await until(lambda: passed() > 2 * RATE)
    assert passed() <= allowed(begun, 2)
    assert [path for path, *_ in slow.drops()] == ["0.csv", "1.csv", "2.csv"]
    # What a client sends ahead stays below its window: the gateway does not read it.
    assert all(session._buffer.bytes < 2_000_000 for session in slow.listener._sessions)
    for process in processes:
        kill(process)
        await process.communicate()
    await until(lambda: not slow.listener._sessions)
    assert {state for path, state, _ in slow.uploads() if path in names} <= {"incomplete", "aborted"}


async def test_a_file_over_the_limit_of_a_second_arrives_whole(slow: Running, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1500
    (tmp_path / "a.csv").write_bytes(content)
    begun = time.monotonic()
    ended = await slow.sftp(f"put {tmp_path}/a.csv inbox/events/a.csv")
    assert (ended.code, ended.err) == (0, "")
    assert time.monotonic() - begun >= len(content) / RATE - 1
    assert slow.inbox("a.csv").read_bytes() == content


async def test_downloads_are_limited_as_well(slow: Running, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1500
    slow.tree("outbox", "events", "a").write_bytes(content)
    begun = time.monotonic()
    ended = await slow.sftp(f"get outbox/events/a {tmp_path}/a")
    assert (ended.code, ended.err) == (0, "")
    assert time.monotonic() - begun >= len(content) / RATE - 1
    assert (tmp_path / "a").read_bytes() == content
