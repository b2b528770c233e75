"""Other clients than OpenSSH's sftp: scp, paramiko, asyncssh."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path

import paramiko
import pytest

from tests.sftp.conftest import Running

SIZE = 1_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.csv"
    path.write_bytes(os.urandom(SIZE))
    return path


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
            assert sftp.listdir("/inbox/events") == ["b.csv"]
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
