"""What a client sees tells nothing of who there is: each refusal is the same, byte for byte, after the same work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import argon2
import asyncssh
import paramiko
import pytest
from paramiko.message import Message

from gateway.sftp.keyring import Keyring
from tests.sftp.conftest import PASSWORD, Running
from tests.sftp.logins import add, public, user

USERAUTH = range(50, 80)
HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=1024)


class Listening(paramiko.Transport):
    """Remembers each packet of the login that the server sends."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address)
        self.heard: list[bytes] = []
        read = self.packetizer.read_message

        def read_message() -> tuple[int, Message]:
            kind, message = read()
            if kind in USERAUTH:
                self.heard.append(bytes([kind]) + message.asbytes())
            return kind, message

        vars(self.packetizer)["read_message"] = read_message


def everything_fails(server: Running, name: str, stranger: paramiko.PKey) -> list[bytes]:
    """All ways in, none of which is open; what the server answers."""
    client = Listening(("127.0.0.1", server.port))
    known = paramiko.Ed25519Key.from_private_key_file(str(server.root / "client"))
    tries: list[tuple[Any, ...]] = [
        (client.auth_none,),
        (client.auth_publickey, stranger),
        (client.auth_publickey, known),
        (client.auth_password, "wrong", None, False),
        (client.auth_password, PASSWORD, None, False),
        (client.auth_interactive, lambda *_: [PASSWORD]),
    ]
    try:
        client.start_client(timeout=20)
        for way, *arguments in tries:
            with pytest.raises(paramiko.AuthenticationException):
                way(name, *arguments)
    finally:
        client.close()
    return client.heard


async def test_whoever_cannot_log_in_hears_the_same_whatever_the_reason(
    server: Running, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    verify = Keyring._verify

    def counted(self: Keyring, expected: str, password: str) -> bool:
        verified.append(password)
        return verify(self, expected, password)

    monkeypatch.setattr(Keyring, "_verify", counted)
    known = (root / "client.pub").read_text().strip()
    other = public(asyncssh.generate_private_key("ssh-ed25519"))
    right, wrong = (f'"{HASHER.hash(word)}"' for word in (PASSWORD, "something else"))
    add(
        root,
        user("key-only", other),
        user("password-only", password=wrong),
        user("both", other, password=right, login_with='"key_and_password"'),
        user("off", known, password=right, disabled="true"),
        user("old", known, password=right, expires="2020-01-01"),
        user("far", known, password=right, allow_from='["203.0.113.7"]'),
        user("old-key", f'expiry-time="20200101" {known}'),
        user("far-key", f'from="203.0.113.7" {known}'),
    )
    (root / "tenants" / "gone.toml").write_text("disabled = true\n" + user("left", known, password=right))
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(root / "stranger")
    stranger = paramiko.Ed25519Key.from_private_key_file(str(root / "stranger"))
    expected = await asyncio.to_thread(everything_fails, server, "nobody", stranger)
    # The answer to "none" names the methods; keyboard-interactive asks a question before it refuses.
    assert expected[0].endswith(b"publickey,keyboard-interactive,password\0")
    assert [packet[0] for packet in expected] == [51] * 5 + [60, 51]
    work = ["wrong", PASSWORD, PASSWORD]
    assert verified == work
    for name in ("key-only", "password-only", "both", "off", "old", "far", "old-key", "far-key", "left"):
        verified.clear()
        assert await asyncio.to_thread(everything_fails, server, name, stranger) == expected, name
        assert verified == work, name
