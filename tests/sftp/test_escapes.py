"""Every SFTP request that names a path, by every way out: none reads, makes, changes or removes a thing outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
        "/proc/self/root/etc/passwd",
        "/inbox/events/a\0b",
    )
    async with server.client() as client:
        for way in ways:
            with pytest.raises(asyncssh.SFTPError):
                await REQUESTS[request_name](client, way)
    after = (outside / "deep" / "secret").stat()
    assert (after.st_mtime_ns, after.st_size, after.st_nlink) == (before.st_mtime_ns, before.st_size, 1)
    assert [path.name for path in outside.rglob("*")] == ["deep", "secret"]
    assert server.inbox("own.csv").read_text() == "mine"
