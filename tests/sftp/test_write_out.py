"""Large uploads go to the disk while they come; nothing depends on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.sftp import write_out
from gateway.sftp.write_out import WriteOut
from tests.sftp.conftest import Running


def test_the_kernel_is_told_of_each_range_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(write_out, "STEP_BYTES", 100)
    monkeypatch.setattr(os, "posix_fadvise", lambda descriptor, begin, length, advice: told.append((begin, length)))
    one = WriteOut(3)
    for offset in range(0, 350, 50):
        one.written(offset, 50)
    write_out.THREADS.submit(int).result(30)
    assert told == [(0, 100), (100, 100), (200, 100)]


def test_a_descriptor_that_is_closed_does_no_harm(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    os.close(descriptor)
    write_out.start(descriptor, 0, 100)


async def test_an_upload_that_is_written_out_meanwhile_is_whole(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_out, "STEP_BYTES", 100_000)
    content = os.urandom(2_000_000)
    async with server.client() as client, client.open("/inbox/events/large.csv", "wb") as file:
        await file.write(content)
    assert server.inbox("large.csv").read_bytes() == content
