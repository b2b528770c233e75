"""Uploads with OpenSSH's sftp: what lands, what stays for resume, and what never becomes a drop."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from errno import ENOSPC
from pathlib import Path

import asyncssh
import pytest

from gateway import clock
from gateway.ledger.uploads import UploadRow
from gateway.retention.sweep import sweep
from gateway.sftp.handles import OpenUpload
from gateway.sftp.uploads import Uploads
from tests.sftp.conftest import Running, kill, shown, until
from tests.sftp.partners import (
    Asyncssh,
    Curl,
    FastNode,
    Lftp,
    Node,
    Paramiko,
    Partner,
    Psftp,
    Rclone,
    Scp,
    TemporaryLftp,
)

BIG = 3_000_000
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.ndjson"
    path.write_bytes(os.urandom(BIG))
    return path


async def half_an_upload(server: Running, big: Path, name: str = "big.ndjson") -> int:
    """A put that is killed in the middle; how many bytes of it can be resumed."""
    process = await server.begin(*server.sftp_command("-l", "8000"), given=f"put {big} inbox/events/{name}\n")
    await until(lambda: [path for path in server.spooled() if path.stat().st_size > 300_000])
    kill(process)
    await process.communicate()
    await until(lambda: server.uploads()[-1][1] != "open")
    path, state, size = server.uploads()[-1]
    assert (path, state) == (name, "incomplete")
    assert 300_000 < size < BIG
    return size


async def test_a_put_lands_with_the_same_bytes_and_wakes_pickup(server: Running, big: Path) -> None:
    ended = await server.sftp(f"put {big} inbox/events/big.ndjson")
    assert ended.code == 0, ended
    assert server.drops() == [("big.ndjson", 1, "landed", BIG)]
    assert server.inbox("big.ndjson").read_bytes() == big.read_bytes()
    assert server.uploads() == [("big.ndjson", "closed", BIG)]
    assert server.spooled() == []
    assert server.pickup.woken == 1


async def test_the_ledger_knows_who_uploaded_with_what_and_from_where(server: Running, big: Path) -> None:
    await server.sftp(f"put {big} inbox/events/big.ndjson")
    row = server.ledger.row("SELECT tenant, username, address, client FROM uploads")
    assert row is not None
    assert tuple(row)[:3] == ("acme", "acme-up", "127.0.0.1")
    assert "OpenSSH" in row["client"]


async def test_a_killed_client_makes_no_drop_and_reput_completes_it_to_one(server: Running, big: Path) -> None:
    size = await half_an_upload(server, big)
    assert server.drops() == []
    assert not server.inbox("big.ndjson").exists()
    async with server.client() as client:
        assert (await client.stat("inbox/events/big.ndjson")).size == size
    ended = await server.sftp(f"reput {big} inbox/events/big.ndjson")
    assert ended.code == 0, ended
    assert server.drops() == [("big.ndjson", 1, "landed", BIG)]
    assert server.inbox("big.ndjson").read_bytes() == big.read_bytes()
    assert server.uploads() == [("big.ndjson", "closed", BIG)]


async def test_a_partial_upload_is_seen_by_its_own_user_only(server: Running, big: Path) -> None:
    await half_an_upload(server, big)
    async with server.client("acme-up") as mine, server.client("acme-two") as theirs:
        assert await shown(mine, "inbox/events") == ["big.ndjson"]
        assert await shown(theirs, "inbox/events") == []
        assert not await theirs.exists("inbox/events/big.ndjson")


async def test_a_new_upload_takes_the_place_of_a_partial_one(server: Running, big: Path) -> None:
    await half_an_upload(server, big)
    await server.sftp(f"put {big} inbox/events/big.ndjson")
    assert [state for _, state, _ in server.uploads()] == ["aborted", "closed"]
    assert server.spooled() == []
    assert server.inbox("big.ndjson").read_bytes() == big.read_bytes()


async def test_a_partial_upload_can_be_removed(server: Running, big: Path) -> None:
    await half_an_upload(server, big)
    assert (await server.sftp("rm inbox/events/big.ndjson")).code == 0
    assert server.spooled() == []
    assert server.uploads()[0][1] == "aborted"


async def test_a_partial_upload_cannot_be_renamed(server: Running, big: Path) -> None:
    await half_an_upload(server, big, "big.ndjson.filepart")
    ended = await server.sftp("rename inbox/events/big.ndjson.filepart inbox/events/big.ndjson")
    assert ended.code == 1
    assert "the upload is not complete" in ended.err
    assert server.drops() == []


@pytest.mark.parametrize("temporary", ["a.csv.filepart", "a.csv.part", ".a.csv", ".in.a.csv.", "a.csv.uploading"])
async def test_a_temporary_name_lands_when_it_is_renamed(server: Running, big: Path, temporary: str) -> None:
    ended = await server.sftp(f"put {big} inbox/events/{temporary}", "ls -la inbox/events")
    assert temporary in ended.out
    assert server.drops() == []
    ended = await server.sftp(f"rename inbox/events/{temporary} inbox/events/a.csv", "ls inbox/events")
    assert ended.code == 0, ended
    assert server.drops() == [("a.csv", 1, "landed", BIG)]
    assert server.inbox("a.csv").read_bytes() == big.read_bytes()
    assert not server.inbox(temporary).exists()
    assert server.spooled() == []


async def test_a_file_renamed_to_a_temporary_name_is_withdrawn_and_can_land_again(server: Running, big: Path) -> None:
    await server.sftp(f"put {big} inbox/events/a.csv", "rename inbox/events/a.csv inbox/events/a.csv.part")
    assert [drop[2] for drop in server.drops()] == ["withdrawn"]
    ended = await server.sftp("rename inbox/events/a.csv.part inbox/events/a.csv")
    assert ended.code == 0, ended
    assert [drop[:3] for drop in server.drops()] == [("a.csv", 1, "withdrawn"), ("a.csv", 2, "landed")]


async def test_uploading_again_before_it_settled_replaces_it(server: Running, big: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"second")
    await server.sftp(f"put {big} inbox/events/a.csv", f"put {other} inbox/events/a.csv")
    assert server.drops() == [("a.csv", 1, "landed", 6)]
    assert server.inbox("a.csv").read_bytes() == b"second"


async def test_concurrent_uploads_of_one_name_do_not_mix(server: Running) -> None:
    first, second = b"1" * 500_000, b"2" * 400_000
    async with (
        server.client("acme-up") as one,
        server.client("acme-two") as two,
        one.open("inbox/events/a.csv", "wb") as mine,
        two.open("inbox/events/a.csv", "wb") as theirs,
    ):
        for start in range(0, 400_000, 50_000):
            await mine.write(first[start : start + 50_000])
            await theirs.write(second[start : start + 50_000])
        await mine.write(first[400_000:])
    assert server.inbox("a.csv").read_bytes() in (first, second)
    assert [state for _, state, _ in server.uploads()] == ["closed", "closed"]


async def test_a_file_over_the_limit_is_refused_in_words_and_makes_no_drop(server: Running, big: Path) -> None:
    ended = await server.sftp(f"put {big} inbox/small/big.ndjson")
    assert ended.code == 1
    assert "may have 100000 bytes; split it" in ended.err
    assert server.drops() == []


async def test_a_file_in_a_folder_of_the_feed_lands(server: Running, big: Path) -> None:
    ended = await server.sftp("mkdir inbox/events/2026", f"put {big} inbox/events/2026/a.csv", "ls inbox/events/2026")
    assert ended.code == 0, ended
    assert server.drops() == [("2026/a.csv", 1, "landed", BIG)]
    ended = await server.sftp("rmdir inbox/events/2026")
    assert "not empty" in ended.err


async def test_many_files_at_once_land(server: Running, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.csv").write_text(f"row {number}\n")
    ended = await server.sftp(f"put {folder}/*.csv inbox/events/")
    assert ended.code == 0, ended
    assert [drop[0] for drop in server.drops()] == [f"{number:02}.csv" for number in range(30)]


async def test_an_upload_that_a_killed_gateway_left_open_can_be_resumed(root: Path, big: Path) -> None:
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.sftp.listening", str(root), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    assert gateway.stdout is not None
    port = int(await gateway.stdout.readline())
    server = Running(root)
    server.know(port)
    process = await server.begin(*server.sftp_command("-l", "8000"), given=f"put {big} inbox/events/a.csv\n")
    await until(lambda: [path for path in server.spooled() if path.stat().st_size > 300_000])
    gateway.kill()
    await gateway.communicate()
    await process.communicate()
    size = server.spooled()[0].stat().st_size
    assert server.uploads() == [("a.csv", "open", 0)]
    await server.start()
    assert server.uploads() == [("a.csv", "incomplete", size - 1)]
    ended = await server.sftp(f"reput {big} inbox/events/a.csv")
    assert ended.code == 0, ended
    assert server.inbox("a.csv").read_bytes() == big.read_bytes()
    await server.listener.stop(0)
    server.ledger.close()


async def test_a_stop_cuts_uploads_off_and_keeps_them_for_resume(root: Path, big: Path) -> None:
    server = Running(root)
    await server.start()
    process = await server.begin(*server.sftp_command("-l", "8000"), given=f"put {big} inbox/events/a.csv\n")
    await until(lambda: [path for path in server.spooled() if path.stat().st_size > 300_000])
    await server.listener.stop(0)
    assert server.uploads()[0][1] == "incomplete"
    assert server.drops() == []
    await process.communicate()
    server.ledger.close()


async def test_a_stop_waits_for_an_upload_that_ends_in_time(root: Path) -> None:
    server = Running(root)
    await server.start()
    async with server.client() as client:
        async with client.open("inbox/events/a.csv", "wb") as file:
            await file.write(b"begun")
            stopping = asyncio.create_task(server.listener.stop(30))
            await until(lambda: not server.listener.is_listening)
            await file.write(b" and ended")
        await stopping
    assert server.drops() == [("a.csv", 1, "landed", 15)]
    server.ledger.close()


async def test_a_landing_that_fails_fails_the_close_and_keeps_the_bytes(server: Running, big: Path) -> None:
    async with server.client() as client:
        file = await client.open("inbox/events/a.csv", "wb")
        await file.write(b"whole")
        # A folder of that name turns up while the file is being written: no rename can replace it.
        server.inbox("a.csv").mkdir()
        with pytest.raises(asyncssh.SFTPError):
            await file.close()
    assert server.drops() == []
    # All but the last byte: what has the size of the whole file would be taken for a file that is in.
    assert server.uploads() == [("a.csv", "incomplete", 4)]


def no_space_left(uploads: Uploads, handle: OpenUpload) -> None:
    """Storing on a disk that is full."""
    raise OSError(ENOSPC, os.strerror(ENOSPC))


# pscp, curl and sshfs are not here: they do not look at the answer to a close.
TELLING = (Partner, Scp, Psftp, Lftp, TemporaryLftp, Rclone, Paramiko, Asyncssh, Node, FastNode)


@pytest.mark.parametrize("kind", TELLING, ids=lambda kind: kind.__name__)
async def test_a_client_is_told_that_its_close_has_failed(
    kind: type[Partner], server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Uploads, "_store", no_space_left)
    (tmp_path / "a.csv").write_bytes(b"identity\nann\n")
    partner = kind(server)
    await partner.start()
    script = partner.putting(tmp_path / "a.csv", "/inbox/events/a.csv")
    ended = await server.run(*partner.at_home(partner.program(script)), given=script)
    assert ended.code != 0, ended
    assert server.drops() == []


async def test_curl_is_told_so_when_it_renames_afterwards(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Uploads, "_store", no_space_left)
    (tmp_path / "a.csv").write_bytes(b"identity\nann\n")
    curl = Curl(server)
    path = "/inbox/events/a.csv"
    script = f"-T {tmp_path}/a.csv @{path}.part -Q '-rename {path}.part {path}'\n"
    ended = await server.run(*curl.program(script))
    assert ended.code != 0, ended
    assert server.drops() == []


async def test_a_reput_of_an_upload_that_has_expired_begins_anew_and_lands_whole(server: Running, big: Path) -> None:
    await half_an_upload(server, big)
    later = clock.now() + timedelta(hours=73)
    assert sweep(server.live.current, server.ledger, later)["uploads"].count == 1
    assert server.spooled() == []
    ended = await server.sftp(f"reput {big} inbox/events/big.ndjson")
    if ended.code != 0:  # OpenSSH resumes only what is there; then it says so, and put does it.
        ended = await server.sftp(f"put {big} inbox/events/big.ndjson")
    assert ended.code == 0, ended
    assert server.drops() == [("big.ndjson", 1, "landed", BIG)]
    assert server.inbox("big.ndjson").read_bytes() == big.read_bytes()
    assert [state for _, state, _ in server.uploads()] == ["expired", "closed"]


async def test_an_upload_that_kept_its_temporary_name_expires_while_its_client_looks(
    server: Running, big: Path
) -> None:
    await server.sftp(f"put {big} inbox/events/big.ndjson.uploading")
    async with server.client() as client:
        assert await shown(client, "inbox/events") == ["big.ndjson.uploading"]
        sweep(server.live.current, server.ledger, clock.now() + timedelta(hours=73))
        assert await shown(client, "inbox/events") == []
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.rename("inbox/events/big.ndjson.uploading", "inbox/events/big.ndjson")
    assert server.uploads() == [("big.ndjson.uploading", "expired", BIG)]
    assert server.drops() == []


async def test_who_is_overtaken_by_another_session_of_his_own_is_told_so(
    server: Running, big: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await half_an_upload(server, big)
    resume = Uploads.resume

    def overtaken(uploads: Uploads, row: UploadRow, *, append: bool) -> OpenUpload:
        """Between the look at the name and this, another session has removed it."""
        uploads.discard(row)
        return resume(uploads, row, append=append)

    monkeypatch.setattr(Uploads, "resume", overtaken)
    async with server.client() as sftp:
        with pytest.raises(asyncssh.SFTPFailure, match="another session has changed this name in the same moment"):
            await sftp.open("inbox/events/big.ndjson", "ab")
    assert "sftp request failed" not in capsys.readouterr().out
