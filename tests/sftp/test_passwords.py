"""Passwords, alone, beside a key and by keyboard-interactive; each try is counted, however it comes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import argon2
import asyncssh
import paramiko
import pytest

from gateway.ledger import audit
from tests.sftp.conftest import PASSWORD, Running, until
from tests.sftp.logins import add, logs_in, reasons, user

HASH = argon2.PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)
GUARDED = "[defender]\nallow = []\nthreshold = 10\n[limits]\ntries_max = 20\n"


@pytest.fixture
def both(root: Path) -> None:
    """`ann` and `bob`, who need a key and a password."""
    key = (root / "client.pub").read_text().strip()
    asked = {"password": f'"{HASH}"', "login_with": '"key_and_password"'}
    add(root, user("ann", key, **asked), user("bob", key, **asked))


@contextmanager
def transport(server: Running) -> Iterator[paramiko.Transport]:
    """A connection of paramiko's, before the login."""
    opened = paramiko.Transport(("127.0.0.1", server.port))
    try:
        opened.start_client(timeout=20)
        yield opened
    finally:
        opened.close()


def key_of(server: Running) -> paramiko.PKey:
    return paramiko.Ed25519Key.from_private_key_file(str(server.root / "client"))


@pytest.mark.usefixtures("both")
async def test_a_key_and_then_the_password_log_in_with_openssh(server: Running, root: Path) -> None:
    answers = root / "answers"
    answers.write_text(f"#!/bin/sh\necho '{PASSWORD}'\n")
    answers.chmod(0o700)
    command = [part for part in server.sftp_command(user="ann") if part not in ("-b", "-")]
    asking = ["env", f"SSH_ASKPASS={answers}", "SSH_ASKPASS_REQUIRE=force", *command]
    ended = await server.run(*asking, given="ls\n")
    assert (ended.code, "inbox" in ended.out) == (0, True), ended.err
    (event,) = await until(lambda: audit.select(server.ledger, action="login"))
    key = asyncssh.read_public_key(root / "client.pub")
    assert (event.result, event.fingerprint, event.detail) == ("ok", key.get_fingerprint(), "key and password")
    # In a batch nobody is asked for a password, and the key alone does not do.
    assert (await server.sftp("ls", user="ann")).code != 0
    assert (await reasons(server, "ann"))[0].startswith("no password came after the key SHA256:")


@pytest.mark.usefixtures("both")
async def test_a_key_and_then_the_password_log_in_with_paramiko_and_nothing_less(server: Running) -> None:
    def tries() -> None:
        with transport(server) as client:
            # The password first is as a wrong one.
            with pytest.raises(paramiko.AuthenticationException):
                client.auth_password("ann", PASSWORD, fallback=False)
            assert client.auth_publickey("ann", key_of(server)) == ["keyboard-interactive", "password"]
            assert not client.is_authenticated()
            # What was proven for one user is worth nothing for another.
            with pytest.raises(paramiko.AuthenticationException):
                client.auth_password("bob", PASSWORD, fallback=False)
            with pytest.raises(paramiko.AuthenticationException):
                client.auth_password("ann", PASSWORD, fallback=False)
            assert client.auth_publickey("ann", key_of(server)) == ["keyboard-interactive", "password"]
            with pytest.raises(paramiko.AuthenticationException):
                client.auth_password("ann", "wrong", fallback=False)
            assert client.auth_interactive("ann", lambda *_: [PASSWORD]) == []
            assert client.is_authenticated()

    await asyncio.to_thread(tries)
    first = "this user needs a key as well, and none has been proven before the password"
    assert await reasons(server, "ann", 3) == [first, first, "wrong password"]
    assert await reasons(server, "bob") == [first]


@pytest.mark.usefixtures("both")
async def test_a_key_that_is_only_shown_is_no_half_of_a_login(server: Running, root: Path) -> None:
    known = asyncssh.read_public_key(root / "client.pub")

    class Borrowed(asyncssh.SSHKeyPair):
        """The public half of somebody's key."""

        def sign(self, data: bytes) -> bytes:
            raise ValueError("the private half is somebody else's")

    kind = b"ssh-ed25519"
    borrowed = Borrowed(kind, kind, (kind,), (kind,), known.public_data, None)
    assert not await logs_in(server, "ann", borrowed, password=PASSWORD)
    assert (await reasons(server, "ann"))[0].startswith("this user needs a key as well, and none has been proven")


@pytest.mark.usefixtures("both")
async def test_who_needs_both_and_has_no_password_to_give_here_is_refused(root: Path) -> None:
    settings = root / "gateway.toml"
    settings.write_text(settings.read_text().replace("passwords = true", "passwords = false"))
    server = Running(root)
    await server.start()
    assert not await logs_in(server, "ann", asyncssh.read_private_key(root / "client"), password=PASSWORD)
    assert "gateway.toml says sftp.passwords = false" in (await reasons(server, "ann"))[0]
    await server.listener.stop(0)
    server.ledger.close()


async def test_keyboard_interactive_is_a_password(server: Running, root: Path) -> None:
    asked: dict[str, Any] = {"preferred_auth": "keyboard-interactive"}
    assert await logs_in(server, "acme-word", password=PASSWORD, **asked)
    assert not await logs_in(server, "acme-word", password="wrong", **asked)
    assert await reasons(server, "acme-word") == ["wrong password"]


async def test_passwords_are_off_and_so_is_keyboard_interactive_unless_the_gateway_is_told(root: Path) -> None:
    settings = root / "gateway.toml"
    settings.write_text(settings.read_text().replace("passwords = true\n", ""))
    server = Running(root)
    await server.start()
    assert await asyncssh.get_server_auth_methods("127.0.0.1", server.port, "acme-word", config=None) == ["publickey"]
    for method in ("password", "keyboard-interactive"):
        assert not await logs_in(server, "acme-word", password=PASSWORD, preferred_auth=method)
    await server.listener.stop(0)
    server.ledger.close()


async def test_keyboard_interactive_is_no_way_round_the_counting_of_tries(server: Running) -> None:
    def tries() -> list[str]:
        ends: list[str] = []
        with transport(server) as client:
            for answers in ([], ["wrong", "wrong"], ["wrong"], ["wrong"], ["wrong"], ["wrong"], [PASSWORD]):
                try:
                    client.auth_interactive("acme-word", lambda *_, given=answers: given)
                    ends.append("in")
                except paramiko.AuthenticationException:
                    ends.append("refused")
                except (paramiko.SSHException, EOFError, OSError):
                    ends.append("sent away")
        return ends

    ends = await asyncio.to_thread(tries)
    assert (ends[:5], "in" in ends, ends[-1]) == (["refused"] * 5, False, "sent away")
    said = await reasons(server, "acme-word", 6)
    assert said == ["no answer that could be a password"] * 2 + ["wrong password"] * 4


async def test_a_banned_user_cannot_log_in_by_keyboard_interactive_either(root: Path) -> None:
    with (root / "gateway.toml").open("a") as file:
        file.write(GUARDED)
    server = Running(root)
    await server.start()
    for number in range(5):
        assert not await logs_in(server, "acme-word", password="wrong", local_addr=(f"127.0.0.{10 + number}", 0))
    for method in ("password", "keyboard-interactive"):
        assert not await logs_in(server, "acme-word", password=PASSWORD, preferred_auth=method)
    assert (await reasons(server, "acme-word", 7))[-2:] == [
        "too many wrong passwords for this user; keys still work"
    ] * 2
    await server.listener.stop(0)
    server.ledger.close()


@pytest.mark.usefixtures("both")
async def test_who_has_no_key_cannot_get_the_password_of_a_user_refused_who_needs_both(root: Path) -> None:
    with (root / "gateway.toml").open("a") as file:
        file.write(GUARDED)
    server = Running(root)
    await server.start()
    for number in range(6):
        assert not await logs_in(server, "ann", password="wrong", local_addr=(f"127.0.0.{10 + number}", 0))
    assert await logs_in(server, "ann", asyncssh.read_private_key(root / "client"), password=PASSWORD)
    await server.listener.stop(0)
    server.ledger.close()


async def test_a_try_that_does_not_wait_for_its_answer_is_counted(server: Running, root: Path) -> None:
    """A request ends the one before it, so that it is never answered; it is not free for that."""
    add(root, user("slow", password=f'"{argon2.PasswordHasher().hash(PASSWORD)}"'))
    seen = threading.Event()

    def tries() -> None:
        with transport(server) as client:
            with pytest.raises(paramiko.AuthenticationException):
                client.auth_none("slow")
            for _ in range(3):
                request = paramiko.Message()
                request.add_byte(bytes([50]))
                for part in ("slow", "ssh-connection", "password"):
                    request.add_string(part)
                request.add_boolean(False)
                request.add_string("wrong")
                # Of paramiko's own: its public ways wait for the answer.
                own: Any = client
                own._send_message(request)
            # A client that closes while something for it is unread resets the connection, and tries may be lost.
            assert seen.wait(60)

    trying = asyncio.create_task(asyncio.to_thread(tries))
    try:
        assert set(await reasons(server, "slow", 2)) >= {"another try was begun before the answer"}
    finally:
        seen.set()
        await trying
