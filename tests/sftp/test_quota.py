"""How much of a feed may wait: every way to bring a file, a folder or bytes counts, and is refused in words."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from gateway.ledger import drops, uploads
from tests.conftest import standing
from tests.sftp.conftest import APPEND_FLAG, CREATE_FLAG, WRITE_FLAG, Running, string, until

FULL_OF_FILES = "/inbox/events/{}: 4 files and folders of this feed wait or are being uploaded, and 4 may"
FULL_OF_BYTES = "bytes of this feed wait or are being uploaded, and 100000 may; try again when they have been processed"
FSETSTAT = 10
Limited = Callable[..., Any]


@pytest.fixture
def limited(root: Path) -> Limited:
    """`limited(inbox_files_max=2)`: a listener whose feed `events` has these limits."""

    @asynccontextmanager
    async def call(**limits: int) -> AsyncIterator[Running]:
        path = root / "tenants" / "acme.toml"
        lines = "".join(f"{key} = {value}\n" for key, value in limits.items())
        path.write_text(path.read_text().replace("[feeds.events]\n", f"[feeds.events]\n{lines}"))
        running = Running(root)
        await running.start()
        try:
            yield running
        finally:
            await running.listener.stop(0)
            running.ledger.close()

    return call


async def put(client: asyncssh.SFTPClient, path: str, content: bytes = b"a\n") -> None:
    async with client.open(f"/inbox/{path}", "wb") as file:
        await file.write(content)


async def broken_off(server: Running, name: str, size: int = 10) -> None:
    """An upload that breaks off after some bytes."""
    async with server.raw() as raw:
        raw.write(await raw.open(f"/inbox/events/{name}"), 0, b"x" * size)
        assert (await raw.status())[1] == 0
    await until(lambda: server.uploads()[-1][1] == "incomplete")


async def test_an_inbox_takes_so_many_files_whatever_they_wait_for(limited: Limited, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n")
    async with limited(inbox_files_max=4) as server, server.client() as client:
        await put(client, "events/claimed.csv")
        server.claim()
        await put(client, "events/temporary.csv.part")
        await client.mkdir("/inbox/events/folder")
        await broken_off(server, "broken.csv")
        ended = await server.sftp(
            f"-put {tmp_path}/a.csv inbox/events/more.csv",
            "-mkdir inbox/events/more",
            f"put {tmp_path}/a.csv inbox/small/a.csv",
            "-rename inbox/small/a.csv inbox/events/moved.csv",
        )
        assert ended.code == 0
        for name in ("more.csv", "more", "moved.csv"):
            assert FULL_OF_FILES.format(name) in ended.err
        # What broke off may go on, or begin again; and there is room when a job has ended, or something is removed.
        await put(client, "events/broken.csv")
        (drop,) = drops.claimed(server.ledger)
        drops.finish(server.ledger, drop.id, "done", None)
        await put(client, "events/more.csv")
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="4 files and folders of this feed wait"):
            await client.mkdir("/inbox/events/again")
        await client.rmdir("/inbox/events/folder")
        await client.mkdir("/inbox/events/again")


async def test_uploads_under_way_count_together_and_so_do_those_that_broke_off(limited: Limited) -> None:
    async with limited(inbox_bytes_max=100_000) as server, server.client() as client:
        await broken_off(server, "broken.csv", 40_001)
        first = await client.open("/inbox/events/first.csv", "wb")
        await first.write(b"x" * 40_000)
        second = await client.open("/inbox/events/second.csv", "wb")
        await second.write(b"x" * 20_000)
        with pytest.raises(asyncssh.SFTPPermissionDenied, match=f"second.csv: 100000 {FULL_OF_BYTES}"):
            await second.write(b"x")
        # Written over, a file does not grow.
        await first.write(b"y" * 40_000, 0)
        with pytest.raises(asyncssh.SFTPFailure, match=FULL_OF_BYTES):
            await second.close()
        await first.close()
        await client.remove("/inbox/events/broken.csv")
        await put(client, "events/third.csv", b"x" * 40_000)
        assert [(path, size) for path, _, _, size in server.drops()] == [("first.csv", 40_000), ("third.csv", 40_000)]


async def test_holes_count_as_if_they_were_bytes(limited: Limited) -> None:
    async with limited(inbox_bytes_max=100_000) as server:
        async with server.raw() as raw:
            handle = await raw.open("/inbox/events/a.csv")
            raw.send(FSETSTAT, string(handle) + struct.pack(">IQ", 1, 100_001))
            assert FULL_OF_BYTES in (await raw.status())[2]
            raw.write(handle, 100_000, b"x")
            assert FULL_OF_BYTES in (await raw.status())[2]
        await until(lambda: server.uploads()[-1][1] == "aborted")
        assert server.spooled() == []
        async with server.client() as client:
            await put(client, "events/a.csv", b"x" * 50_000)
            with pytest.raises(asyncssh.SFTPPermissionDenied, match=FULL_OF_BYTES):
                await client.truncate("/inbox/events/a.csv", 60_000)


async def test_appending_to_a_file_counts_the_bytes_that_it_begins_with(limited: Limited) -> None:
    async with limited(inbox_bytes_max=100_000) as server:
        async with server.client() as client:
            await put(client, "events/a.csv", b"x" * 60_000)
        async with server.raw() as raw:
            path = string(b"/inbox/events/a.csv")
            raw.send(3, path + struct.pack(">II", WRITE_FLAG | CREATE_FLAG | APPEND_FLAG, 0))
            assert FULL_OF_BYTES in (await raw.status())[2]
    assert server.inbox("a.csv").stat().st_size == 60_000


async def test_a_file_that_comes_from_another_feed_brings_its_bytes(limited: Limited) -> None:
    async with limited(inbox_bytes_max=100_000) as server, server.client() as client:
        await put(client, "events/a.csv", b"x" * 60_000)
        await put(client, "small/b.csv.part", b"x" * 60_000)
        with pytest.raises(asyncssh.SFTPPermissionDenied, match=f"events/b.csv: 60000 {FULL_OF_BYTES}"):
            await client.rename("/inbox/small/b.csv.part", "/inbox/events/b.csv")
        assert standing(server.tree("inbox", "small")) == ["b.csv.part"]
        await client.rename("/inbox/small/b.csv.part", "/inbox/small/b.csv")
        assert [path for path, *_ in server.drops()] == ["a.csv", "b.csv"]


async def test_files_of_local_programs_count_and_an_upload_over_the_bytes_can_be_resumed(limited: Limited) -> None:
    async with limited(inbox_bytes_max=100_000) as server:
        server.inbox("local.csv").write_bytes(b"x" * 60_000)
        async with server.client() as client:
            with pytest.raises(asyncssh.SFTPFailure, match=FULL_OF_BYTES):
                await put(client, "events/a.csv", b"x" * 40_000 + b"y" * 20_000)
        assert uploads.open_uploads(server.ledger) == []
        server.inbox("local.csv").unlink()
        async with server.client() as client:
            await put(client, "events/a.csv", b"x" * 60_000)
