"""Which names a client may bring: each that is refused is refused in words, by every request that makes a name."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path

import asyncssh
import pytest

from gateway.pickup.scan import files_below
from tests.conftest import standing
from tests.sftp.conftest import Running

IMPOSSIBLE = {
    b"a\0b": "the name has a control character; leave it out",
    b"a\nb": "the name has a control character; leave it out",
    b"a\x1b[31m": "the name has a control character; leave it out",
    b"a\xc2\x85b": "the name has a control character; leave it out",
    b"\xff": "the name is not UTF-8; send names in UTF-8",
    b"\xed\xa0\x80": "the name is not UTF-8; send names in UTF-8",
    b"x" * 256: "a name may have 255 bytes; use a shorter one",
    b"a/" * 40 + b"a": "folders in a feed may be 16 deep; use fewer",
    b"a/" * 4000: "a path may have 2048 bytes, this one has 80",
    b"..": "nothing can be changed here; files go into /inbox/events/, /inbox/small/",
    b"../../a": "nothing can be changed here; files go into /inbox/events/, /inbox/small/",
    b"../Events/a": "nothing can be changed here; files go into /inbox/events/, /inbox/small/",
}
MISLEADING = {
    "a.csv.report.json": "results are called like this",
    "A.CSV.Errors.csv": "results are called like this",
    "a.csv.g2.status.json": "results are called like this",
    "a.accepted.parquet": "results are called like this",
    "a.\uff45rrors.csv": "results are called like this",
    "a\u202evsc.csv": "invisible character U+202E",
    "a\u200b.csv": "invisible character U+200B",
    "a\u2060.csv": "invisible character U+2060",
    "a.csv ": "ends with a space",
    "n" * 207 + ".csv": "has 211 bytes",
}


async def refusals(client: asyncssh.SFTPClient, name: bytes) -> set[str]:
    """What a client is told by the requests that would give a file or folder that name."""
    path = b"/inbox/events/" + name
    requests: tuple[Awaitable[object], ...] = (
        client.open(path, "wb"),
        client.mkdir(path),
        client.rename(b"/inbox/events/plain.csv", path),
        client.posix_rename(b"/inbox/events/plain.csv", path),
        client.rename(b"/inbox/events/folder", path),
    )
    told = set()
    for request in requests:
        with pytest.raises(asyncssh.SFTPPermissionDenied) as refused:
            await request
        told.add(refused.value.reason)
    return told


async def test_no_request_makes_a_name_that_cannot_be_or_misleads(server: Running) -> None:
    names = IMPOSSIBLE | {name.encode(): words for name, words in MISLEADING.items()}
    async with server.connected() as connection, connection.start_sftp_client(path_encoding=None) as client:
        async with client.open(b"/inbox/events/plain.csv", "wb") as file:
            await file.write(b"a\n")
        await client.mkdir(b"/inbox/events/folder")
        for name, words in names.items():
            (told,) = await refusals(client, name)
            assert words in told
    assert standing(server.inbox("")) == ["folder", "plain.csv"]
    assert [path for path, *_ in server.drops()] == ["plain.csv"]


async def test_openssh_shows_why_a_name_is_refused(server: Running, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n")
    ended = await server.sftp(
        f"put {tmp_path}/a.csv inbox/events/a.csv",
        "mkdir inbox/events/feed",
        f'-put {tmp_path}/a.csv "inbox/events/a\x1b[31m.csv"',
        "-mkdir inbox/events/Feed",
        "-rename inbox/events/a.csv inbox/events/FEED",
        "-rename inbox/events/a.csv inbox/events/b.csv.report.html",
        f"-put {tmp_path}/a.csv inbox/events/A.csv",
    )
    told = ended.err
    assert told.count("the name has a control character; leave it out") == 1
    assert "/inbox/events/Feed: 'feed' is there already and differs in case" in told
    assert "/inbox/events/FEED: 'feed' is there already and differs in case" in told
    assert "/inbox/events/b.csv.report.html: the gateway's own results are called like this" in told
    assert "/inbox/events/A.csv: 'a.csv' is there already and differs in case" in told
    assert standing(server.inbox("")) == ["a.csv", "feed"]


async def test_rejected_rows_may_come_back_under_the_name_that_we_gave_them(server: Running) -> None:
    async with server.client() as client, client.open("/inbox/events/a.csv.rejected.csv", "wb") as file:
        await file.write(b"a\n")
    assert [path for path, *_ in server.drops()] == ["a.csv.rejected.csv"]


async def test_a_twin_of_a_name_that_is_there_is_refused_and_named(server: Running) -> None:
    async with server.client() as client:
        await client.mkdir("/inbox/events/feed")
        await client.mkdir("/inbox/events/other")
        for name in ("a.csv", "caf\u00e9.csv", "feed/DEEP.csv", "other/DEEP.csv"):
            async with client.open(f"/inbox/events/{name}", "wb") as file:
                await file.write(b"a\n")
        for twin in ("A.csv", "caf\u0065\u0301.csv", "\uff41.csv", "Feed", "feed/deep.csv"):
            for request in (
                client.open(f"/inbox/events/{twin}", "wb"),
                client.mkdir(f"/inbox/events/{twin}"),
                # Whose own name is the twin's, but in another folder.
                client.rename("/inbox/events/other/DEEP.csv", f"/inbox/events/{twin}"),
                client.rename("/inbox/events/other", f"/inbox/events/{twin}"),
            ):
                with pytest.raises(asyncssh.SFTPPermissionDenied, match="is there already and differs in case"):
                    await request
        # The same name again, and another case of it for the same file, are no twins.
        async with client.open("/inbox/events/a.csv", "wb") as file:
            await file.write(b"b\n")
        await client.rename("/inbox/events/a.csv", "/inbox/events/A.csv")
    landed = sorted(path for path, _, state, _ in server.drops() if state == "landed")
    assert landed == ["A.csv", "caf\u00e9.csv", "feed/DEEP.csv", "other/DEEP.csv"]


async def test_below_the_twin_of_a_folder_there_is_nothing(server: Running) -> None:
    async with server.client() as client:
        await client.mkdir("/inbox/events/feed")
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.open("/inbox/events/Feed/a.csv", "wb")
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.mkdir("/inbox/events/Feed/deeper")
    assert standing(server.inbox("")) == ["feed"]


@pytest.mark.parametrize("user", ["acme-up", "acme-two"])
async def test_a_twin_of_an_upload_under_way_is_refused(server: Running, user: str) -> None:
    async with server.client() as client, server.client(user) as other:
        file = await client.open("/inbox/events/a.csv", "wb")
        with pytest.raises(asyncssh.SFTPError, match=r"'a\.csv' is there already"):
            await other.open("/inbox/events/A.csv", "wb")
        await file.close()


async def test_the_deepest_file_of_the_longest_path_is_seen_by_the_scan(server: Running) -> None:
    folder = "/inbox/events"
    async with server.client() as client:
        for number in range(16):
            folder += f"/{number:0125d}"
            await client.mkdir(folder)
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="folders in a feed may be 16 deep; use fewer"):
            await client.mkdir(f"{folder}/x")
        await client.mkdir("/inbox/events/x")
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="folders in a feed may be 16 deep; use fewer"):
            await client.rename("/inbox/events/x", f"{folder}/x")
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="a path may have 2048 bytes"):
            await client.open(f"{folder}/{'n' * 40}", "wb")
        async with client.open(f"{folder}/a.csv", "wb") as file:
            await file.write(b"a\n")
    ((path, _),) = files_below(server.inbox(""))
    assert f"/inbox/events/{path}" == f"{folder}/a.csv"
    server.claim()
    assert server.drops() == [(path, 1, "claimed", 2)]
