"""Who may log in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import paramiko
import pytest
import structlog

from gateway.errors import ConfigError
from tests.sftp.conftest import PASSWORD, Running, shown

NO_KEYS: dict[str, list[str]] = {"client_keys": []}


async def test_a_password_logs_in(server: Running) -> None:
    async with server.connected("acme-word", password=PASSWORD, **NO_KEYS) as connection:
        assert connection.get_extra_info("username") == "acme-word"
        async with connection.start_sftp_client() as client:
            assert "inbox" in await client.listdir("/")


@pytest.mark.parametrize(
    ("user", "password"), [("acme-word", "wrong"), ("acme-up", PASSWORD), ("nobody", PASSWORD), ("nobody", "nobody")]
)
async def test_a_wrong_password_an_unset_one_and_an_unknown_user_are_refused_alike(
    server: Running, user: str, password: str
) -> None:
    with structlog.testing.capture_logs() as logged, pytest.raises(asyncssh.PermissionDenied) as refused:
        async with server.connected(user, password=password, **NO_KEYS):
            pass
    assert str(refused.value) == f"Permission denied for user {user} on host 127.0.0.1"
    assert password not in str(logged)
    assert "nobody" not in str(logged)


async def test_a_key_of_somebody_else_is_refused(server: Running) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        async with server.connected(client_keys=[asyncssh.generate_private_key("ssh-ed25519")]):
            pass
    with pytest.raises(asyncssh.PermissionDenied):
        async with server.connected("nobody"):
            pass


async def test_paramiko_tries_one_key_after_the_other(server: Running, root: Path) -> None:
    def tries() -> bool:
        client = paramiko.Transport(("127.0.0.1", server.port))
        try:
            client.start_client(timeout=20)
            with pytest.raises(paramiko.AuthenticationException):
                client.auth_publickey("acme-up", paramiko.Ed25519Key.from_private_key_file(str(root / "host_key")))
            client.auth_publickey("acme-up", paramiko.Ed25519Key.from_private_key_file(str(root / "client")))
            return client.is_authenticated()
        finally:
            client.close()

    assert await asyncio.to_thread(tries)


async def test_changed_users_and_feeds_are_taken_without_a_restart(server: Running, root: Path) -> None:
    path = root / "tenants" / "acme.toml"
    key = (root / "client.pub").read_text().strip()
    async with server.client() as before:
        path.write_text(
            path.read_text()
            + f'[users.acme-new]\nemail = "new@acme.example"\nrole = "admin"\nkeys = ["{key}"]\n'
            + '[feeds.fresh]\ncontract = "userpilot-import"\n'
        )
        async with server.client("acme-new") as client, client.open("inbox/fresh/a.csv", "wb") as file:
            await file.write(b"a\n")
        assert await shown(before, "inbox/fresh") == ["a.csv"]
        path.write_text(path.read_text().replace("acme-new", "acme-newer"))
        with pytest.raises(asyncssh.PermissionDenied):
            async with server.client("acme-new"):
                pass


async def test_a_user_who_was_removed_can_do_no_more(server: Running, root: Path) -> None:
    path = root / "tenants" / "acme.toml"
    async with server.client("acme-two") as client:
        path.write_text(path.read_text().replace("acme-two", "acme-too"))
        async with server.client():
            pass
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="no longer configured"):
            await client.open("inbox/events/a.csv", "wb")


async def test_broken_settings_leave_logins_as_they_were(server: Running, root: Path) -> None:
    (root / "tenants" / "acme.toml").write_text("users = 1\n")
    async with server.client() as client:
        assert "inbox" in await client.listdir("/")


async def test_a_key_that_cannot_be_read_leaves_the_users_others(server: Running, root: Path) -> None:
    path = root / "tenants" / "acme.toml"
    path.write_text(path.read_text().replace('keys = ["', 'keys = ["ssh-ed25519 broken", "'))
    async with server.client() as client:
        assert "inbox" in await client.listdir("/")


async def test_a_host_key_that_is_missing_is_a_configuration_error(root: Path) -> None:
    (root / "host_key").unlink()
    server = Running(root)
    with pytest.raises(ConfigError, match="ssh-keygen"):
        await server.listener.start()
    server.ledger.close()


async def test_the_version_string_tells_no_versions(server: Running) -> None:
    async with server.connected() as connection:
        assert connection.get_extra_info("server_version") == "SSH-2.0-gateway"
