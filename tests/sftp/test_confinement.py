"""What a user cannot do: leave the tenant's tree, make or follow links, write where only the gateway writes."""

from __future__ import annotations

import os
from pathlib import Path

import asyncssh
import pytest

from gateway.sftp.paths import Place, place_of
from tests.conftest import standing
from tests.sftp.conftest import Running, shown


async def test_the_root_shows_three_folders_and_a_folder_for_each_feed(server: Running) -> None:
    async with server.client() as client:
        assert await client.listdir("/") == ["inbox", "outbox", "samples"]
        for area in ("inbox", "outbox", "samples"):
            assert await client.listdir(f"/{area}") == ["events", "small"]
            assert server.tree(area, "events").is_dir()


@pytest.mark.rule("C4")
async def test_a_viewer_reads_results_and_samples_and_nothing_else(server: Running, tmp_path: Path) -> None:
    server.tree("outbox", "events", "a.report.json").write_bytes(b"{}")
    server.tree("samples", "events", "sample.csv").write_bytes(b"a\n")
    server.tree("outbox", "events", "folder").mkdir()
    server.inbox("secret.csv").write_bytes(b"secret")
    async with server.client("acme-view") as client:
        assert await client.listdir("/") == ["outbox", "samples"]
        assert await client.listdir("/outbox/events") == ["a.report.json", "folder"]
        await client.get("/samples/events/sample.csv", str(tmp_path / "sample.csv"))
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="a viewer cannot use the inbox"):
            await client.open("/inbox/events/a.csv", "wb")
        for refused in (
            client.open("/inbox/events/secret.csv", "rb"),
            client.stat("/inbox/events/secret.csv"),
            client.listdir("/inbox/events"),
            client.mkdir("/inbox/events/new"),
            client.remove("/inbox/events/secret.csv"),
            client.rename("/inbox/events/secret.csv", "/inbox/events/b.csv"),
            client.utime("/inbox/events/secret.csv", (1, 1)),
        ):
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await refused
        for removal in (client.remove("/outbox/events/a.report.json"), client.rmdir("/outbox/events/folder")):
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="a viewer only reads"):
                await removal
    assert server.drops() == []
    assert sorted(os.listdir(server.tree("outbox", "events"))) == ["a.report.json", "folder"]


@pytest.mark.rule("C4")
async def test_openssh_shows_a_viewer_the_sentence(server: Running, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n")
    ended = await server.sftp(f"put {tmp_path}/a.csv inbox/events/a.csv", user="acme-view")
    assert ended.code == 1
    assert "a viewer cannot use the inbox, only read /outbox and /samples" in ended.err


async def test_links_cannot_be_made(server: Running) -> None:
    async with server.client() as client:
        async with client.open("inbox/events/a.csv", "wb") as file:
            await file.write(b"a\n")
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="links cannot be made"):
            await client.symlink("/etc/passwd", "inbox/events/link")
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="links cannot be made"):
            await client.link("inbox/events/a.csv", "inbox/events/link")
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await client.readlink("inbox/events/a.csv")
    assert standing(server.inbox("")) == ["a.csv"]


@pytest.mark.parametrize("area", ["inbox", "outbox", "samples"])
async def test_links_that_are_there_are_not_followed_and_not_shown(server: Running, tmp_path: Path, area: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    folder = server.tree(area, "events")
    (folder / "file").symlink_to(outside / "secret")
    (folder / "folder").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    async with server.client() as client:
        assert await shown(client, f"/{area}/events") == []
        for name in ("file", "folder/secret", "pipe"):
            assert not await client.exists(f"/{area}/events/{name}")
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await client.open(f"/{area}/events/{name}", "rb")
        with pytest.raises(asyncssh.SFTPError):
            await client.open(f"/{area}/events/folder/new", "wb")
        with pytest.raises(asyncssh.SFTPError):
            await client.mkdir(f"/{area}/events/folder/new")
    assert os.listdir(outside) == ["secret"]


async def test_a_link_to_a_file_is_replaced_by_an_upload_and_not_written_through(
    server: Running, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    server.inbox("a.csv").symlink_to(outside)
    async with server.client() as client, client.open("inbox/events/a.csv", "wb") as file:
        await file.write(b"mine")
    assert outside.read_text() == "untouched"
    assert not server.inbox("a.csv").is_symlink()


@pytest.mark.parametrize(
    "path",
    ["/outbox/events/a", "/samples/events/a", "/a", "/inbox/a", "/inbox/events", "/inbox/other/a", "/etc/passwd"],
)
async def test_files_go_into_the_folder_of_a_feed_only(server: Running, path: str) -> None:
    async with server.client() as client:
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="files go into /inbox/events/, /inbox/small/"):
            await client.open(path, "wb")
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await client.mkdir(path)
        with pytest.raises((asyncssh.SFTPPermissionDenied, asyncssh.SFTPNoSuchFile)):
            await client.rmdir(path)


@pytest.mark.parametrize(
    "path", ["/inbox", "/inbox/events", "/outbox", "/outbox/events", "/outbox/events/a", "/samples/events/a"]
)
async def test_what_the_gateway_has_made_keeps_its_name_and_its_place(server: Running, path: str) -> None:
    for area in ("outbox", "samples"):
        server.tree(area, "events", "a").write_bytes(b"a\n")
    async with server.client() as client:
        for request in (
            client.rename(path, "/inbox/events/taken"),
            client.posix_rename(path, "/outbox/events/taken"),
            client.rename("/inbox/events/own", path),
            client.rmdir(path) if not path.endswith("/a") else client.mkdir(path),
            client.remove(path) if path != "/outbox/events/a" else client.open(path, "ab"),
        ):
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="nothing can be changed here"):
                await request
    assert [(server.tree(area, "events") / "a").read_bytes() for area in ("outbox", "samples")] == [b"a\n", b"a\n"]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (b"", Place()),
        (b".", Place()),
        (b"/../../etc", None),
        (b"/../..", Place()),
        (b"inbox/events/../../../../inbox/events/a", Place("inbox", "events", "a")),
        (b"//inbox//events//b/./c", Place("inbox", "events", "b/c")),
        (b"/inbox/events/..", Place("inbox")),
    ],
)
def test_dots_never_lead_out_of_the_root(path: bytes, place: Place | None) -> None:
    if place is None:
        with pytest.raises(FileNotFoundError):
            place_of(path)
    else:
        assert place_of(path) == place


async def test_one_tenant_sees_nothing_of_another(server: Running, root: Path) -> None:
    other = (root / "tenants" / "acme.toml").read_text().replace("acme-", "rival-")
    (root / "tenants" / "rival.toml").write_text(other)
    async with server.client() as client, client.open("inbox/events/a.csv", "wb") as file:
        await file.write(b"a\n")
    async with server.client("rival-up") as client:
        assert await shown(client, "/inbox/events") == []
        assert not await client.exists("/inbox/events/a.csv")
        assert not await client.exists("/../acme/inbox/events/a.csv")


async def test_space_is_told_without_the_reserve_and_fsync_works(server: Running) -> None:
    def spare() -> int:
        found = os.statvfs(server.root)
        return found.f_bavail * found.f_frsize - server.live.current.gateway.limits.disk_reserve_bytes

    async with server.client() as client:
        before = spare()
        told = await client.statvfs("/")
        assert (told.bfree * told.frsize) > (told.bavail * told.frsize) > 0
        # Others write to the disk meanwhile.
        assert abs(told.bavail * told.frsize - before) < 500_000_000
        async with client.open("inbox/events/a.csv", "wb") as file:
            await file.write(b"a\n")
            await file.fsync()


@pytest.mark.parametrize("command", ["id", "md5sum; id", "sh -c md5sum", "/usr/bin/md5sum", "md5sum 'a", "", None])
async def test_nothing_but_checksums_can_be_run(server: Running, command: str | None) -> None:
    async with server.connected() as connection:
        ended = await connection.run(command)
    assert (ended.exit_status, ended.stdout) == (1, "")
    assert str(ended.stderr).startswith("nothing can be run here but md5sum, sha1sum, sha256sum of files")


async def test_no_other_subsystem_and_no_forwarding(server: Running) -> None:
    async with server.connected() as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.create_process(subsystem="other")
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", server.port)


async def test_owners_and_modes_are_taken_as_done_wherever_the_user_may_look(server: Running) -> None:
    for area in ("inbox", "outbox", "samples"):
        server.tree(area, "events", "a").write_bytes(b"a\n")
    places = ("/", "/inbox", "/inbox/events", "/inbox/events/a", "/outbox/events/a", "/samples", "/samples/events/a")
    ended = await server.sftp(*(f"{change} {place}" for change in ("chmod 777", "chown 0") for place in places))
    assert (ended.code, ended.err) == (0, "")
    assert (await server.sftp("chmod 777 /samples/events/a", user="acme-view")).code == 0
    async with server.client() as client:
        async with client.open("/outbox/events/a", "rb") as file:
            await file.chmod(0o777)
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.chmod("/outbox/events/other", 0o777)
    for area in ("inbox", "outbox", "samples"):
        assert server.tree(area, "events", "a").stat().st_mode & 0o777 != 0o777


async def test_sizes_and_times_change_in_the_inbox_only(server: Running) -> None:
    for area in ("outbox", "samples"):
        server.tree(area, "events", "a").write_bytes(b"a\n")
        path = f"/{area}/events/a"
        async with server.client() as client, client.open(path, "rb") as file:
            for request in (client.truncate(path, 0), client.utime(path, (1, 1))):
                with pytest.raises(asyncssh.SFTPPermissionDenied, match="only files in /inbox/<feed>/ can be changed"):
                    await request
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="the handle is open for reading only"):
                await file.truncate(0)
        found = server.tree(area, "events", "a").stat()
        assert found.st_size == 2
        assert found.st_mtime > 1
