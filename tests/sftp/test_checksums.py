"""Checksums by exec: what ssh and rclone are answered."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from gateway.ledger import drops
from gateway.sftp import checksums
from tests.sftp.conftest import Running, until

CONTENT = os.urandom(3_000_000)


async def drop(server: Running, name: str) -> None:
    async with server.client() as client, client.open(f"inbox/events/{name}", "wb") as file:
        await file.write(CONTENT)


async def ask(server: Running, command: str, user: str = "acme-up") -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr."""
    async with server.connected(user) as connection:
        ended = await connection.run(command)
    return ended.exit_status, str(ended.stdout), str(ended.stderr)


@pytest.mark.parametrize("program", ["md5sum", "sha1sum", "sha256sum"])
async def test_a_dropped_file_has_the_same_sum_before_and_after_the_claim(server: Running, program: str) -> None:
    await drop(server, "a.csv")
    expected = hashlib.new(program.removesuffix("sum"), CONTENT).hexdigest()
    for _ in range(2):
        assert await ask(server, f"{program} inbox/events/a.csv") == (0, f"{expected}  inbox/events/a.csv\n", "")
        server.scan.claim_settled()
    assert server.drops() == [("a.csv", 1, "claimed", len(CONTENT))]


async def test_the_sha256_of_a_claimed_file_is_the_ledgers_and_never_that_of_another_generation(
    server: Running,
) -> None:
    known = "ab" * 32
    await drop(server, "a.csv")
    server.claim()
    ((drop_id,),) = server.ledger.rows("SELECT id FROM drops")
    drops.set_sha256(server.ledger, drop_id, known)
    assert await ask(server, "sha256sum inbox/events/a.csv") == (0, f"{known}  inbox/events/a.csv\n", "")
    assert known not in (await ask(server, "sha1sum inbox/events/a.csv"))[1]
    await drop(server, "a.csv")
    expected = hashlib.sha256(CONTENT).hexdigest()
    for _ in range(2):
        assert await ask(server, "sha256sum inbox/events/a.csv") == (0, f"{expected}  inbox/events/a.csv\n", "")
        server.scan.claim_settled()


async def test_sha256sum_checks_what_ssh_brings(server: Running, root: Path) -> None:
    await drop(server, "a.csv")
    (root / "a.csv").write_bytes(CONTENT)
    ssh = ["ssh", *server.options(), "-p", str(server.port), "acme-up@127.0.0.1", "sha256sum -- inbox/events/a.csv"]
    ended = await server.run(*ssh)
    (root / "sums").write_text(ended.out.replace("inbox/events", str(root)))
    assert (await server.run("sha256sum", "--check", "--strict", str(root / "sums"))).code == 0


async def test_names_are_taken_apart_as_a_shell_would_and_nothing_is_expanded(server: Running) -> None:
    for name in ("it's \u00fc.csv", "$HOME", "back\\slash"):
        await drop(server, name)
    sum_ = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    command = r"md5sum inbox/events/it\'s\ ü.csv '/inbox/events/$HOME' /inbox/events/\$HOME 'inbox/events/back\slash'"
    code, out, err = await ask(server, command)
    assert (code, err) == (0, "")
    # As GNU md5sum says it: the backslash in front tells that those in the name are doubled.
    assert out.splitlines() == [
        f"{sum_}  inbox/events/it's ü.csv",
        f"{sum_}  /inbox/events/$HOME",
        f"{sum_}  /inbox/events/$HOME",
        f"\\{sum_}  inbox/events/back\\\\slash",
    ]


async def test_one_name_that_fails_leaves_the_others(server: Running) -> None:
    await drop(server, "a.csv")
    code, out, err = await ask(server, "md5sum inbox/events/none.csv inbox/events/a.csv /inbox")
    assert (code, out.count("\n")) == (1, 1)
    assert out.endswith("  inbox/events/a.csv\n")
    assert err.splitlines() == [
        "md5sum: inbox/events/none.csv: there is no such file or folder; list the folder above to see what there is",
        "md5sum: /inbox: this is a folder; name a file in it",
    ]


async def test_sums_see_what_sftp_sees_and_no_more(server: Running, tmp_path: Path) -> None:
    await drop(server, "a.csv")
    outside = tmp_path / "outside"
    outside.write_text("secret")
    server.tree("outbox", "events", "link").symlink_to(outside)
    for path in (
        "/etc/passwd",
        "../../../etc/passwd",
        str(outside),
        "/outbox/events/link",
        "inbox/events/../../../spool",
    ):
        code, out, err = await ask(server, f"sha256sum {path}")
        assert (code, out) == (1, "")
        assert "there is no such file" in err
    code, out, err = await ask(server, "sha256sum inbox/events/a.csv", user="acme-view")
    assert (code, out) == (1, "")
    assert "a viewer cannot use the inbox" in err


async def test_the_sum_of_nothing_tells_that_the_program_is_there(server: Running) -> None:
    assert await ask(server, "md5sum") == (0, "d41d8cd98f00b204e9800998ecf8427e  -\n", "")


async def test_a_client_that_leaves_ends_the_reading(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    await drop(server, "a.csv")
    reads = 0

    def endless(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal reads
        reads += 1
        return os.urandom(1000)

    monkeypatch.setattr(checksums, "os", type("Endless", (), {"pread": staticmethod(endless)}))
    async with server.connected() as connection:
        await connection.create_process("md5sum inbox/events/a.csv")
        await until(lambda: reads)
        connection.abort()
    await until(lambda: not server.listener._sessions)
