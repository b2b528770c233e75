"""Proving who one is: what asyncssh's server side has no hook for, in a connection of our own.

asyncssh tells a server that a key is asked about, but neither that the signature of it was right nor with which
algorithm it was made; and it takes whoever has proven one thing. All of that is assumed about it, and looked at by
`check_connection` when the gateway starts.
"""

from __future__ import annotations

import inspect
from typing import Protocol

import asyncssh

from gateway.errors import ConfigError
from gateway.sftp.certificates import SIGNATURES, Reader


class Proven(Protocol):
    """Whom a connection asks."""

    def offer(self, blob: bytes) -> None:
        """A key or certificate is offered; asyncssh asks next whether it is known."""

    def refuse_key(self, username: str, why: str | None) -> None:
        """It is not taken; None: for the reason that was found when asyncssh asked."""

    def is_enough(self) -> bool:
        """What was asked about last has been proven: whether that is all that is needed."""


class ProvingConnection(asyncssh.SSHServerConnection):
    """A connection whose login may need several proofs, and in which every key that is refused is counted."""

    login: Proven

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """Asked for a key without a signature first by most clients, and then with one (RFC 4252, section 7)."""
        self.login.offer(key_data)
        if not await super().validate_public_key(username, key_data, b"", b""):
            self.login.refuse_key(username, None)
            return False
        if not msg:
            return True
        if (algorithm := algorithm_of(signature)) not in SIGNATURES:
            self.login.refuse_key(username, f"signed with {algorithm!a}, which is not taken")
            return False
        if not await super().validate_public_key(username, key_data, msg, signature):
            self.login.refuse_key(username, "the signature is wrong")
            return False
        return True

    def send_userauth_failure(self, partial_success: bool) -> None:
        super().send_userauth_failure(partial_success)
        # paramiko asks for the service again before each further key or password; asyncssh would hang up.
        self._next_service = b"ssh-userauth"

    async def send_userauth_success(self) -> None:
        """asyncssh comes here only when something was proven: a key by its signature, or a password."""
        if self.login.is_enough():
            await super().send_userauth_success()
        else:
            self.send_userauth_failure(partial_success=True)


def prove_in(connection: asyncssh.SSHServerConnection, login: Proven) -> None:
    """Make a connection one of these: asyncssh makes them itself, and has no way to name the class."""
    connection.__class__ = ProvingConnection
    vars(connection)["login"] = login


def algorithm_of(signature: bytes) -> str:
    """With which algorithm a signature says that it was made; what cannot be read is none that is taken."""
    try:
        return Reader(signature).string().decode("ascii")
    except ValueError:
        return ""


def check_connection() -> None:
    """Raises ConfigError when the installed asyncssh does not log in as this module needs it."""
    expected = {
        "validate_public_key": ["self", "username", "key_data", "msg", "signature"],
        "send_userauth_success": ["self"],
        "send_userauth_failure": ["self", "partial_success"],
    }
    for name, parameters in expected.items():
        found = inspect.signature(getattr(asyncssh.SSHServerConnection, name, print)).parameters
        if list(found) != parameters:
            raise ConfigError(
                f"asyncssh {asyncssh.__version__} does not fit this gateway: SSHServerConnection.{name} takes "
                f"{', '.join(found)}; install the version that the lock file names"
            )
