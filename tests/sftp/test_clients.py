"""Clients that partners use, with all that they do of themselves: temporary names, times, looks after the upload."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import paramiko
import pytest
import structlog

from gateway.ledger.states import DRY_RUN_FOLDER
from tests.sftp.conftest import Running, until
from tests.sftp.partners import (
    Asyncssh,
    Curl,
    FastNode,
    Lftp,
    Node,
    Paramiko,
    Partner,
    Pscp,
    Psftp,
    Rclone,
    Scp,
    Sshfs,
    TemporaryLftp,
    done,
)

SIZE = 1_000_000
BIG = 50_000_000
PARTNERS = (
    *(Partner, Scp, Psftp, Pscp, Lftp, TemporaryLftp, Curl, Rclone, Sshfs),
    *(Paramiko, Asyncssh, Node, FastNode),
)
REPOSITORY = Path(__file__).parents[2]
INBOX, OUTBOX = "/inbox/events", "/outbox/events"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.csv"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def shorter(tmp_path: Path, source: Path) -> Path:
    path = tmp_path / "shorter.csv"
    path.write_bytes(os.urandom(SIZE // 2))
    return path


@pytest.fixture(autouse=True)
def log_is_quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What clients do in the ordinary way is nothing that an operator is warned of."""
    with structlog.testing.capture_logs() as logged:
        yield
    assert [entry for entry in logged if entry["log_level"] not in ("debug", "info")] == []
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


@pytest.fixture(params=PARTNERS, ids=lambda kind: kind.__name__)
async def partner(request: pytest.FixtureRequest, server: Running) -> AsyncIterator[Partner]:
    found: Partner = request.param(server)
    await found.start()
    yield found
    await found.stop()


async def files_of(partner: Partner) -> list[str]:
    """What a partner sees in the inbox, but for the folder for dry runs."""
    return [name for name in await partner.names(INBOX) if name != DRY_RUN_FOLDER]


async def landed(server: Running, *expected: tuple[str, int]) -> None:
    """Path and bytes of what waits for its claim. sshfs comes back from a close before it is answered."""

    def found() -> list[tuple[str, int]]:
        return [(path, size) for path, _, state, size in server.drops() if state == "landed"]

    await until(lambda: found() == list(expected) and not server.spooled())


async def test_a_partner_overwrites_looks_renames_and_removes(
    partner: Partner, server: Running, source: Path, shorter: Path, tmp_path: Path
) -> None:
    await partner.put(source, f"{INBOX}/a.csv")
    await landed(server, ("a.csv", SIZE))
    await partner.put(shorter, f"{INBOX}/a.csv")
    await landed(server, ("a.csv", SIZE // 2))
    await partner.rename(f"{INBOX}/a.csv", f"{INBOX}/b.csv")
    await partner.make_and_remove_folder(f"{INBOX}/folder")
    await partner.put(source, f"{INBOX}/c.csv")
    await landed(server, ("b.csv", SIZE // 2), ("c.csv", SIZE))
    await partner.remove(f"{INBOX}/c.csv")
    assert await files_of(partner) == ["b.csv"]
    await partner.get(f"{INBOX}/b.csv", tmp_path / "back.csv")
    assert (tmp_path / "back.csv").read_bytes() == shorter.read_bytes()
    await landed(server, ("b.csv", SIZE // 2))


async def test_a_claimed_name_is_still_the_partners(
    partner: Partner, server: Running, source: Path, shorter: Path, tmp_path: Path
) -> None:
    await partner.put(source, f"{INBOX}/a.csv")
    await landed(server, ("a.csv", SIZE))
    server.claim()
    assert await files_of(partner) == ["a.csv"]
    await partner.get(f"{INBOX}/a.csv", tmp_path / "back.csv")
    assert (tmp_path / "back.csv").read_bytes() == source.read_bytes()
    await partner.put(shorter, f"{INBOX}/a.csv")
    await landed(server, ("a.csv", SIZE // 2))
    assert server.drops() == [("a.csv", 1, "claimed", SIZE), ("a.csv", 2, "landed", SIZE // 2)]
    await partner.remove(f"{INBOX}/a.csv")
    assert await files_of(partner) == []
    assert server.drops() == [("a.csv", 1, "claimed", SIZE), ("a.csv", 2, "withdrawn", SIZE // 2)]


async def test_a_partner_fetches_a_report_and_removes_it(partner: Partner, server: Running, tmp_path: Path) -> None:
    server.tree("outbox", "events", "a.csv.report.json").write_text("{}")
    assert await partner.names(OUTBOX) == ["a.csv.report.json"]
    await partner.get(f"{OUTBOX}/a.csv.report.json", tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == "{}"
    await partner.remove(f"{OUTBOX}/a.csv.report.json")
    assert await partner.names(OUTBOX) == []


async def test_a_killed_upload_is_no_drop_and_the_next_try_is_one(
    partner: Partner, server: Running, tmp_path: Path
) -> None:
    big = tmp_path / "big.csv"
    big.write_bytes(os.urandom(BIG))
    process = await partner.begin(partner.putting(big, f"{INBOX}/a.csv"))
    await until(lambda: [path for path in server.spooled() if path.stat().st_size > SIZE])
    await partner.kill(process)
    await until(lambda: server.uploads()[0][1] != "open")
    ((_, state, size),) = server.uploads()
    assert (state, server.drops()) == ("incomplete", [])
    assert 0 < size < BIG
    await partner.resume(big, f"{INBOX}/a.csv")
    await landed(server, ("a.csv", BIG))
    assert server.inbox("a.csv").read_bytes() == big.read_bytes()
    assert len(server.uploads()) == (1 if partner.can_resume else 2)


@pytest.mark.parametrize("kind", [kind for kind in PARTNERS if kind.can_resume], ids=lambda kind: kind.__name__)
async def test_a_partner_goes_on_after_the_gateway_was_killed_in_the_middle(
    kind: type[Partner], root: Path, tmp_path: Path
) -> None:
    big = tmp_path / "big.csv"
    big.write_bytes(os.urandom(BIG))
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.sftp.listening", str(root), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    assert gateway.stdout is not None
    server = Running(root)
    server.know(int(await gateway.stdout.readline()))
    partner = kind(server)
    await partner.start()
    process = await partner.begin(partner.putting(big, f"{INBOX}/a.csv"))
    await until(lambda: [path for path in server.spooled() if path.stat().st_size > SIZE])
    gateway.kill()
    await gateway.communicate()
    await partner.kill(process)
    await server.start()
    ((_, state, size),) = server.uploads()
    assert (state, size > 0) == ("incomplete", True)
    await partner.resume(big, f"{INBOX}/a.csv")
    await landed(server, ("a.csv", BIG))
    assert server.inbox("a.csv").read_bytes() == big.read_bytes()
    assert len(server.uploads()) == 1
    await server.listener.stop(0)
    server.ledger.close()


async def test_an_upload_that_was_never_closed_is_not_taken_for_the_whole_file(
    partner: Partner, server: Running, source: Path
) -> None:
    """lftp and rclone would say that it is in, since it has the right size; OpenSSH would refuse to resume it."""
    async with server.connected() as connection:
        client = await connection.start_sftp_client()
        file = await client.open(f"{INBOX}/a.csv", "wb")
        await file.write(source.read_bytes())
        connection.abort()
    await until(lambda: server.uploads()[0][1] == "incomplete")
    await partner.resume(source, f"{INBOX}/a.csv")
    await landed(server, ("a.csv", SIZE))
    assert server.inbox("a.csv").read_bytes() == source.read_bytes()


async def test_rclone_checks_by_md5_sha1_and_bytes_before_and_after_the_claim(server: Running, tmp_path: Path) -> None:
    rclone = Rclone(server)
    await rclone.start()
    folder = tmp_path / "drops"
    folder.mkdir()
    for name in ("a.csv", "it's $1 (of) \u00fc.csv"):
        (folder / name).write_bytes(os.urandom(SIZE))
    await rclone.do(f"copy {folder} gw:{INBOX}")
    for claimed in (False, True):
        if claimed:
            server.claim()
        for options in ([], ["--download"]):
            command = [*rclone.base(), "check", *options, str(folder), f"gw:{INBOX}"]
            ended = await server.run(*rclone.at_home(command))
            assert "2 matching files" in ended.err
            assert "could not be checked" not in ended.err
        sums = await rclone.do(f"sha1sum gw:{INBOX}")
        assert hashlib.sha1((folder / "a.csv").read_bytes(), usedforsecurity=False).hexdigest() in sums
    (folder / "a.csv").unlink()
    await rclone.do(f"sync {folder} gw:{INBOX}")
    assert len(await files_of(rclone)) == 1


async def test_folders_are_copied_twice_without_a_complaint(server: Running, source: Path, shorter: Path) -> None:
    folder = source.parent / "drops"
    (folder / "inner").mkdir(parents=True)
    source.rename(folder / "a.csv")
    shorter.rename(folder / "inner" / "b.csv")
    psftp, lftp = Psftp(server), Lftp(server)
    await psftp.start()
    scp = ["scp", "-rp", *server.options(), "-P", str(server.port), str(folder), f"{lftp.at}:inbox/events/"]
    pscp = ["pscp", "-q", "-r", *psftp.options(), str(folder), f"{lftp.at}:inbox/events/"]
    for _ in range(2):
        done(await server.run(*scp))
        done(await server.run(*psftp.at_home(pscp)))
        done(await server.sftp(f"put -R {folder} inbox/events"))
        await lftp.do(f"mirror -R {folder} {INBOX}/drops")
        await landed(server, ("drops/a.csv", SIZE), ("drops/inner/b.csv", SIZE // 2))
        server.claim()
    assert {row[0] for row in server.drops()} == {"drops/a.csv", "drops/inner/b.csv"}


async def test_folders_of_results_are_removed_with_the_results(server: Running) -> None:
    folder = server.tree("outbox", "events", "2026")
    folder.mkdir()
    (folder / "a.csv.report.json").write_text("{}")
    rclone = Rclone(server)
    await rclone.start()
    await rclone.do(f"purge gw:{OUTBOX}/2026")
    assert not folder.exists()


@pytest.mark.parametrize(
    "save",
    [
        "sed -i s/ann/bob/ a.csv",
        "sed s/ann/bob/ a.csv > .goutputstream-1 && mv .goutputstream-1 a.csv",
        "sed s/ann/bob/ a.csv > a.csv.new && mv a.csv a.csv~ && mv a.csv.new a.csv && rm a.csv~",
        "cp a.csv a.csv~ && sed s/ann/bob/ a.csv~ > a.csv && rm a.csv~",
        "mv a.csv a.csv~ && sed s/ann/bob/ a.csv~ > a.csv && sync a.csv && rm a.csv~",
    ],
    ids=["sed", "hidden name", "renamed backup", "copied backup", "moved backup"],
)
async def test_what_editors_do_when_they_save_over_sshfs_ends_as_one_drop(server: Running, save: str) -> None:
    sshfs = Sshfs(server)
    await sshfs.start()
    folder = f"{sshfs.mount}{INBOX}"
    done(await server.run("sh", "-ec", f"cd {folder}\nprintf 'identity\\nann\\n' > a.csv\n{save}"))
    await until(lambda: [drop for drop in server.drops() if drop[2] == "landed"] and not server.spooled())
    (drop,) = [drop for drop in server.drops() if drop[2] == "landed"]
    assert (drop[0], drop[3]) == ("a.csv", 13)
    assert await files_of(sshfs) == ["a.csv"]
    assert server.inbox("a.csv").read_text() == "identity\nbob\n"
    assert {state for _, _, state, _ in server.drops()} <= {"landed", "withdrawn", "superseded"}
    await sshfs.stop()


def paramiko_round_trip(server: Running, source: Path) -> bytes:
    """Upload (paramiko checks the size by stat), rename, download, list, remove."""
    with paramiko.SSHClient() as ssh:
        ssh.load_host_keys(str(server.root / "known_hosts"))
        key = paramiko.Ed25519Key.from_private_key_file(str(server.root / "client"))
        ssh.connect("127.0.0.1", server.port, "acme-up", pkey=key, allow_agent=False, look_for_keys=False)
        with ssh.open_sftp() as sftp:
            attributes = sftp.put(str(source), "/inbox/events/a.csv")
            assert attributes.st_size == SIZE
            sftp.rename("/inbox/events/a.csv", "/inbox/events/b.csv")
            assert set(sftp.listdir("/inbox/events")) == {"b.csv", "dryrun"}
            back = io.BytesIO()
            sftp.getfo("/inbox/events/b.csv", back)
            with pytest.raises(PermissionError, match="links cannot be made"):
                sftp.symlink("/etc/passwd", "/inbox/events/link")
            return back.getvalue()


async def test_paramiko_uploads_renames_and_downloads(server: Running, source: Path) -> None:
    back = await asyncio.to_thread(paramiko_round_trip, server, source)
    assert back == source.read_bytes()
    assert server.drops() == [("b.csv", 1, "landed", SIZE)]


async def test_scp_uploads_overwrites_and_downloads(server: Running, source: Path, tmp_path: Path) -> None:
    scp = ["scp", *server.options(), "-P", str(server.port)]
    remote = "acme-up@127.0.0.1:inbox/events/a.csv"
    ended = await server.run(*scp, str(source), remote)
    assert ended.code == 0, ended
    shorter = tmp_path / "shorter.csv"
    shorter.write_bytes(source.read_bytes()[: SIZE // 2])
    ended = await server.run(*scp, "-p", str(shorter), remote)
    assert ended.code == 0, ended
    ended = await server.run(*scp, remote, str(tmp_path / "back.csv"))
    assert ended.code == 0, ended
    assert (tmp_path / "back.csv").read_bytes() == shorter.read_bytes()
    assert server.drops() == [("a.csv", 1, "landed", SIZE // 2)]


async def test_sftp_preserves_times_syncs_and_resumes_a_download(server: Running, source: Path, tmp_path: Path) -> None:
    os.utime(source, (1_700_000_000, 1_700_000_000))
    back = tmp_path / "back.csv"
    back.write_bytes(source.read_bytes()[:300_000])
    ended = await server.sftp(
        f"put -fp {source} inbox/events/a.csv", f"reget inbox/events/a.csv {back}", "df inbox/events"
    )
    assert ended.code == 0, ended
    assert back.read_bytes() == source.read_bytes()
    assert server.inbox("a.csv").stat().st_mtime == 1_700_000_000


async def test_asyncssh_uploads_in_parallel_and_downloads(server: Running, source: Path, tmp_path: Path) -> None:
    async with server.client() as client:
        await client.put(str(source), "inbox/events/a.csv", block_size=32768, max_requests=64)
        await client.get("inbox/events/a.csv", str(tmp_path / "back.csv"))
    assert (tmp_path / "back.csv").read_bytes() == source.read_bytes()
    assert server.drops() == [("a.csv", 1, "landed", SIZE)]
