"""Every SFTP request that names a path, by every way out: none reads, makes, changes or removes a thing outside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import asyncssh
import pytest

from tests.sftp.conftest import Running

OWN = "/inbox/events/own.csv"

REQUESTS: dict[str, Callable[[asyncssh.SFTPClient, str], Awaitable[object]]] = {
    "read": lambda client, path: client.open(path, "rb"),
    "write": lambda client, path: client.open(path, "wb"),
    "list": lambda client, path: client.listdir(path),
    "stat": lambda client, path: client.stat(path),
    "lstat": lambda client, path: client.lstat(path),
    "times": lambda client, path: client.utime(path, (1, 1)),
    "truncate": lambda client, path: client.truncate(path, 0),
    "remove": lambda client, path: client.remove(path),
    "mkdir": lambda client, path: client.mkdir(path),
    "rmdir": lambda client, path: client.rmdir(path),
    "rename from": lambda client, path: client.rename(path, "/inbox/events/taken.csv"),
    "rename to": lambda client, path: client.rename(OWN, path),
    "posix rename to": lambda client, path: client.posix_rename(OWN, path),
    "readlink": lambda client, path: client.readlink(path),
    "symlink": lambda client, path: client.symlink(path, "/inbox/events/link"),
    "link": lambda client, path: client.link(path, "/inbox/events/link"),
}


@pytest.mark.parametrize("request_name", REQUESTS)
async def test_no_request_finds_a_way_out(server: Running, tmp_path: Path, request_name: str) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "secret").write_text("secret")
    server.inbox("own.csv").write_text("mine")
    server.inbox("folder").symlink_to(outside)
    server.inbox("real").mkdir()
    server.inbox("real/deep").symlink_to(outside / "deep")
    before = (outside / "deep" / "secret").stat()
    ways = (
        f"{outside}/deep/secret",
        f"/..{outside}/deep/secret",
        f"/inbox/events/../../../../../..{outside}/deep/secret",
        f"//{outside}/deep/secret",
        "/inbox/events/folder/deep/secret",
        "/inbox/events/folder/deep/secret/",
        "/inbox/events/real/deep/secret",
        "/inbox/events/real/deep/../deep/secret",
        "/inbox/events//real///deep//secret",
        "/inbox/events/./real/./deep/./secret/.",
        "/inbox/events/\\..\\..\\outside\\deep\\secret/x",
        f"/inbox/events/real/deep/{outside}/deep/secret",
        "/inbox/EVENTS/own.csv",
        "/INBOX/events/own.csv",
        "/inbox/events/../Events/own.csv",
        "/proc/self/root/etc/passwd",
        "/proc/self/cwd/../outside/deep/secret",
        "/dev/fd/0",
        "/inbox/events/a\0b",
        "/inbox\0/events/own.csv",
        "~/../outside/deep/secret",
    )
    async with server.client() as client:
        for way in ways:
            with pytest.raises(asyncssh.SFTPError):
                await REQUESTS[request_name](client, way)
    after = (outside / "deep" / "secret").stat()
    assert (after.st_mtime_ns, after.st_size, after.st_nlink) == (before.st_mtime_ns, before.st_size, 1)
    assert [path.name for path in outside.rglob("*")] == ["deep", "secret"]
    assert server.inbox("own.csv").read_text() == "mine"


async def test_a_folder_that_becomes_a_link_while_it_is_walked_leads_nowhere(server: Running, tmp_path: Path) -> None:
    """A local program swaps it again and again; a path that was looked at before it is opened would be followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text("secret")
    (outside / "only outside").touch()
    inbox = server.inbox("")
    (inbox / "real").mkdir()
    (inbox / "real" / "secret.csv").write_text("public")
    (inbox / "link").symlink_to(outside)
    stopping = threading.Event()

    def swap() -> None:
        while not stopping.is_set():
            for name in ("real", "link"):
                (inbox / name).rename(inbox / "way")
                (inbox / "way").rename(inbox / name)

    swapping = threading.Thread(target=swap)
    swapping.start()
    found: list[bytes] = []
    try:
        async with server.client() as client:
            for number in range(150):
                with suppress(asyncssh.SFTPError):
                    async with client.open("/inbox/events/way/secret.csv", "rb") as file:
                        found.append(await file.read())
                with suppress(asyncssh.SFTPError):
                    await client.mkdir(f"/inbox/events/way/folder{number}")
                with suppress(asyncssh.SFTPError):
                    assert "only outside" not in await client.listdir("/inbox/events/way")
                with suppress(asyncssh.SFTPError):
                    await client.remove("/inbox/events/way/nothing.csv")
    finally:
        stopping.set()
        await asyncio.to_thread(swapping.join)
    assert set(found) <= {b"public"}
    assert sorted(path.name for path in outside.iterdir()) == ["only outside", "secret.csv"]
    assert (outside / "secret.csv").read_text() == "secret"


async def test_a_file_is_not_renamed_into_or_out_of_what_is_not_the_inbox(server: Running) -> None:
    server.inbox("own.csv").write_text("mine")
    for area in ("outbox", "samples"):
        server.tree(area, "events", "theirs.csv").write_text("ours")
    async with server.client() as client:
        for area in ("outbox", "samples"):
            for old, new in ((OWN, f"/{area}/events/x.csv"), (f"/{area}/events/theirs.csv", "/inbox/events/x.csv")):
                for rename in (client.rename, client.posix_rename):
                    with pytest.raises(asyncssh.SFTPError):
                        await rename(old, new)
    assert server.inbox("own.csv").read_text() == "mine"
    for area in ("outbox", "samples"):
        assert [path.name for path in server.tree(area, "events").iterdir()] == ["theirs.csv"]


async def test_what_is_outside_cannot_be_told_by_realpath_or_statvfs(server: Running, tmp_path: Path) -> None:
    """Both answer from the text of the path alone: what is there and what is not have the same answer."""
    (tmp_path / "outside").mkdir()
    server.inbox("way").symlink_to(tmp_path / "outside")
    async with server.client() as client:
        for path in (f"{tmp_path}/outside", f"{tmp_path}/nothing", "/etc/passwd", "/etc/nothing"):
            assert await client.realpath(path) == path
            with pytest.raises(asyncssh.SFTPError) as refused:
                await client.statvfs(path)
            assert refused.value.code == asyncssh.FX_NO_SUCH_FILE
        assert await client.realpath("/inbox/events/way/../..") == "/inbox"
        assert await client.realpath("/../../..//./") == "/"
        own, linked = await client.statvfs("/inbox/events"), await client.statvfs("/inbox/events/way")
        assert (linked.bsize, linked.blocks, linked.files) == (own.bsize, own.blocks, own.files)
