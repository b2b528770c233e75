"""Sessions end when who is in by them may be so no longer, and what was being uploaded can be gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import argon2
import asyncssh
import pytest

from gateway import clock
from gateway.ledger import audit
from gateway.ledger.audit import Event
from tests.sftp.conftest import PASSWORD, Running, until
from tests.sftp.logins import Authority, add, head, pair, user


class Hearing(asyncssh.SSHClient):
    """Remembers with which words it was sent away."""

    said: Exception | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.said = exc


async def follow(server: Running) -> None:
    """What `serve` does each second."""
    server.live.refresh()
    server.listener.look_again()


async def ended(server: Running, change: Callable[[], object], name: str, *keys: Any, **options: Any) -> str:
    """The words that an open session gets when something is changed; its sentence is in the audit as well."""
    heard: list[Hearing] = []

    def client() -> Hearing:
        heard.append(Hearing())
        return heard[-1]

    async with (
        server.connected(name, client_keys=list(keys), client_factory=client, **options) as connection,
        connection.start_sftp_client() as sftp,
    ):
        await follow(server)
        assert "inbox" in await sftp.listdir("/")
        change()
        await follow(server)
        await asyncio.wait_for(connection.wait_closed(), 20)
    reason = str(heard[0].said).partition("you are logged out: ")[2].partition("; ask the gateway's operator")[0]

    def noted() -> list[Event]:
        return [one for one in audit.select(server.ledger, username=name) if one.detail == f"ended: {reason}"]

    assert await until(noted)
    return reason


def edit(root: Path, old: str, new: str, tenant: str = "acme") -> Callable[[], object]:
    """Replaces a text in a tenant's file."""
    path = root / "tenants" / f"{tenant}.toml"
    return lambda: path.write_text(path.read_text().replace(old, new))


ALLOWED = 'allow_from = ["127.0.0.1"]'
CHANGES = {
    "the user is disabled": (ALLOWED, f"disabled = true\n{ALLOWED}"),
    "the user has expired": (ALLOWED, f"expires = 2020-01-01\n{ALLOWED}"),
    "the address is not in allow_from of the user": (ALLOWED, 'allow_from = ["203.0.113.7"]'),
    "this user is no longer configured": ("[users.ann]", "[users.anna]"),
    "this key has expired": ("'ssh-ed25519", '\'expiry-time="20200101" ssh-ed25519'),
    "this key does not count from this address": ("'ssh-ed25519", '\'from="203.0.113.7" ssh-ed25519'),
    "this key is no longer configured": ("keys = ['", "keys = [] # ['"),
}


async def test_a_session_ends_with_a_sentence_when_its_user_or_key_may_log_in_no_longer(
    server: Running, root: Path
) -> None:
    path = root / "tenants" / "acme.toml"
    add(root, user("ann", (root / "client.pub").read_text().strip(), allow_from='["127.0.0.1"]'))
    before = path.read_text()
    key = asyncssh.read_private_key(root / "client")
    for reason, (old, new) in CHANGES.items():
        path.write_text(before)
        assert await ended(server, edit(root, old, new), "ann", key) == reason
        # Others of the same tenant go on.
        async with server.client() as client:
            assert "inbox" in await client.listdir("/")


async def test_the_sessions_of_a_tenant_end_when_it_is_disabled_or_removed(server: Running, root: Path) -> None:
    key = asyncssh.read_private_key(root / "client")
    beta = root / "tenants" / "beta.toml"
    beta.write_text(user("bert", (root / "client.pub").read_text().strip()))
    async with server.client() as other:
        assert (
            await ended(server, lambda: head(root, "disabled = true", "beta"), "bert", key) == "the tenant is disabled"
        )
        beta.write_text(user("bert", (root / "client.pub").read_text().strip()))
        assert await ended(server, beta.unlink, "bert", key) == "this user is no longer configured"
        assert "inbox" in await other.listdir("/")


async def test_a_session_by_password_ends_with_the_password_and_one_by_certificate_with_its_ca(
    server: Running, root: Path, tmp_path: Path
) -> None:
    ca = Authority(tmp_path)
    head(root, f'user_ca = ["{ca.line}"]')
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)
    add(root, user("ann", password=f'"{hashed}"'))
    change = edit(root, "password = ", "# password = ")
    assert await ended(server, change, "ann", password=PASSWORD) == "the password has changed"
    certificate = pair(ca.issue(root / "client"))
    change = edit(root, "user_ca = [", "user_ca = [] # [")
    assert await ended(server, change, "ann", certificate) == (
        "the certificate does not count: its CA may not issue for this user's tenant"
    )


async def test_time_alone_ends_a_session_whose_user_or_certificate_expires(
    server: Running, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = Authority(tmp_path)
    head(root, f'user_ca = ["{ca.line}"]')
    soon = (clock.now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    add(root, user("ann", (root / "client.pub").read_text().strip(), expires=soon), user("bob"))
    later = clock.now() + timedelta(hours=2)
    logins = {
        "ann": (asyncssh.read_private_key(root / "client"), "the user has expired"),
        "bob": (
            pair(ca.issue(root / "client", "-V", "-1m:+1h", principals="bob")),
            "the certificate does not count: it has expired",
        ),
    }
    for name, (key, reason) in logins.items():
        with monkeypatch.context() as patched:
            assert await ended(server, lambda: patched.setattr(clock, "now", lambda: later), name, key) == reason


async def test_an_open_upload_of_a_user_who_is_disabled_is_kept_and_gone_on_with_later(
    server: Running, root: Path
) -> None:
    path = root / "tenants" / "acme.toml"
    before, size = path.read_text(), 70_000
    # The last byte of a broken upload is not kept: a client goes on where it can see that one is missing.
    kept = size - 1
    async with server.connected() as connection, connection.start_sftp_client() as sftp:
        file = await sftp.open("inbox/events/a.csv", "wb")
        await file.write(b"a" * size)
        edit(root, "[users.acme-up]", "[users.acme-up]\ndisabled = true")()
        await follow(server)
        with pytest.raises((asyncssh.Error, OSError)):
            await file.write(b"b" * size)
        await asyncio.wait_for(connection.wait_closed(), 20)
    await until(lambda: server.uploads() == [("a.csv", "incomplete", kept)])
    assert server.drops() == []
    path.write_text(before)
    async with server.client() as sftp:
        assert (await sftp.stat("inbox/events/a.csv")).size == kept
        async with sftp.open("inbox/events/a.csv", "ab") as file:
            await file.write(b"\n")
    assert server.inbox("a.csv").read_bytes() == b"a" * kept + b"\n"


async def test_openssh_is_told_why_its_session_ends(server: Running, root: Path) -> None:
    command = [part for part in server.sftp_command("-v") if part not in ("-q", "-b", "-")]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    await until(lambda: server.listener._sessions)
    edit(root, "[users.acme-up]", "[users.acme-up]\ndisabled = true")()
    await follow(server)
    _, said = await asyncio.wait_for(process.communicate(b"ls\n"), 20)
    assert b"you are logged out: the user is disabled; ask the gateway's operator" in said
    assert process.returncode != 0
