"""A user of one tenant tries to see, touch or tell the things of another: nothing of it is there for him."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from tests.sftp.conftest import PASSWORD, Raw, Running, acme, shown, string, until
from tests.sftp.test_escapes import REQUESTS

SECRET = b"what only the rival may see\n"
CLOSE, READ, FSTAT, FSETSTAT, READDIR, WRITE = 4, 5, 8, 10, 12, 6


@pytest.fixture
def root(root: Path) -> Path:
    """A second tenant with users and a feed of its own, and with one that both have."""
    text = (
        acme((root / "client.pub").read_text().strip()).replace("acme", "rival").replace("feeds.small", "feeds.secret")
    )
    (root / "tenants" / "rival.toml").write_text(text)
    return root


def rivals(server: Running, *parts: str) -> Path:
    return server.live.current.tenant_dir("rival").joinpath(*parts)


def state(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """What is there, and how it is: a touch would show."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_nlink, content)
    return found


@pytest.fixture
async def planted(server: Running) -> list[str]:
    """Every way in which a user of acme may think of a rival's files."""
    async with server.client("rival-up") as client:
        async with client.open("/inbox/secret/hidden.csv.part", "wb") as file:
            await file.write(SECRET)
        async with client.open("/inbox/events/hidden.csv", "wb") as file:
            await file.write(SECRET)
    rivals(server, "outbox", "secret", "hidden.csv.report.json").write_bytes(SECRET)
    upload_id = str(server.ledger.rows("SELECT id FROM uploads ORDER BY id")[0]["id"])
    disk = rivals(server)
    return [
        "/inbox/secret/hidden.csv.part",
        "/inbox/events/hidden.csv",
        "/outbox/secret/hidden.csv.report.json",
        "/rival/inbox/secret/hidden.csv.part",
        "/../rival/inbox/secret/hidden.csv.part",
        "/inbox/../../rival/inbox/events/hidden.csv",
        "/inbox/events/../../../rival/inbox/events/hidden.csv",
        "/inbox/events/..\\..\\..\\rival\\inbox\\events\\hidden.csv",
        f"{disk}/inbox/events/hidden.csv",
        f"/inbox/events/{disk}/inbox/events/hidden.csv",
        f"/spool/uploads/{upload_id}",
        f"/inbox/events/{upload_id}",
        f"/inbox/events/../../../../spool/uploads/{upload_id}",
        "~rival-up/inbox/secret/hidden.csv.part",
    ]


WRITING = ("write", "mkdir")


@pytest.mark.parametrize("request_name", REQUESTS)
async def test_no_request_reaches_what_another_tenant_has(
    server: Running, planted: list[str], request_name: str
) -> None:
    server.inbox("own.csv").write_text("mine")
    before = state(rivals(server))
    async with server.client() as client:
        for way in planted:
            # A name that could be new in the own inbox may be made there: that it is free tells nothing.
            if way.startswith("/inbox/events/") and request_name in (*WRITING, "rename to", "posix rename to"):
                continue
            with pytest.raises(asyncssh.SFTPError) as refused:
                await REQUESTS[request_name](client, way)
            assert SECRET.decode().strip() not in refused.value.reason
    assert state(rivals(server)) == before
    assert server.inbox("own.csv").read_text() == "mine"


@pytest.mark.parametrize("request_name", [name for name in REQUESTS if name not in ("write", "mkdir")])
async def test_the_answer_does_not_tell_whether_another_tenant_has_the_name(
    server: Running, planted: list[str], request_name: str
) -> None:
    there = {
        "/inbox/secret/hidden.csv.part",
        "/outbox/secret/hidden.csv.report.json",
        "/inbox/secret",
        "/outbox/secret",
    }
    async with server.client() as client:
        for way in there:
            not_there = way.replace("secret", "nosuch").replace("hidden", "absent")
            answers = []
            for path in (way, not_there):
                with pytest.raises(asyncssh.SFTPError) as refused:
                    await REQUESTS[request_name](client, path)
                answers.append((refused.value.code, refused.value.reason.replace(path, "PATH")))
            assert answers[0] == answers[1]


async def test_the_feeds_and_names_of_another_tenant_are_not_listed(server: Running, planted: list[str]) -> None:
    async with server.client() as client:
        assert await client.listdir("/inbox") == ["events", "small"]
        assert await shown(client, "/inbox/events") == []
        assert await client.realpath("/inbox/../../rival") == "/rival"
        assert not await client.exists("/inbox/events/hidden.csv")


async def test_another_tenants_handles_and_those_of_another_session_are_none(
    server: Running, planted: list[str]
) -> None:
    async with raw_of(server, "rival-up") as theirs, server.raw() as other, server.raw() as mine:
        handles = [await theirs.open("/inbox/secret/more.csv"), await other.open("/inbox/events/mine.csv")]
        theirs.write(handles[0], 0, SECRET)
        assert (await theirs.status())[1] == 0
        for handle in handles:
            for kind, rest in (
                (READ, struct.pack(">QI", 0, 100)),
                (WRITE, struct.pack(">Q", 0) + string(b"overwritten")),
                (FSTAT, b""),
                (FSETSTAT, struct.pack(">IQ", 1, 0)),
                (READDIR, b""),
                (CLOSE, b""),
            ):
                mine.send(kind, string(handle) + rest)
                assert (await mine.status())[1] != 0
        theirs.close(handles[0])
        assert (await theirs.status())[1] == 0
    (landed,) = server.ledger.rows("SELECT bytes FROM drops WHERE path = 'more.csv' AND tenant = 'rival'")
    assert landed["bytes"] == len(SECRET)


async def test_checksums_are_of_the_own_files_only(server: Running, planted: list[str]) -> None:
    async with server.connected() as connection:
        for way in planted:
            for program in ("md5sum", "sha1sum", "sha256sum"):
                done = await connection.run(f"{program} -- '{way}'")
                assert (done.exit_status, done.stdout) == (1, "")


async def test_the_same_name_and_the_same_bytes_are_two_drops(server: Running, planted: list[str]) -> None:
    async with server.client() as client, client.open("/inbox/events/hidden.csv", "wb") as file:
        await file.write(SECRET)
    rows = server.ledger.rows("SELECT tenant, generation FROM drops WHERE path = 'hidden.csv' ORDER BY tenant")
    assert [tuple(row) for row in rows] == [("acme", 1), ("rival", 1)]


async def test_a_partial_upload_is_neither_seen_nor_resumed_by_another_tenant(server: Running) -> None:
    async with raw_of(server, "rival-up") as theirs:
        handle = await theirs.open("/inbox/events/cut.csv")
        theirs.write(handle, 0, SECRET)
        assert (await theirs.status())[1] == 0
    await until(lambda: ("cut.csv", "incomplete", len(SECRET) - 1) in server.uploads())
    async with server.client() as client:
        assert not await client.exists("/inbox/events/cut.csv")
        async with client.open("/inbox/events/cut.csv", "ab") as file:
            await file.write(b"mine")
        assert await client.getsize("/inbox/events/cut.csv") == 4
    assert ("cut.csv", "incomplete", len(SECRET) - 1) in server.uploads()


async def test_a_username_of_another_tenant_is_refused_like_one_that_there_is_not(server: Running) -> None:
    said = []
    for user in ("rival-word", "nobody-at-all"):
        with pytest.raises(asyncssh.PermissionDenied) as refused:
            async with server.connected(user, client_keys=None, password=f"not {PASSWORD}"):
                pass
        said.append(refused.value.reason.replace(user, "USER"))
    assert said[0] == said[1]


@asynccontextmanager
async def raw_of(server: Running, user: str) -> AsyncIterator[Raw]:
    """A raw SFTP session of a user, after INIT."""
    async with server.connected(user) as connection:
        raw = Raw(await connection.create_process(subsystem="sftp", encoding=None))
        raw.process.stdin.write(struct.pack(">IBI", 5, 1, 3))
        await raw.receive()
        yield raw
