"""Users, keys and certificates for the tests of logins, and what the audit says of them."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path
from typing import Any

import asyncssh
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.ledger import audit
from gateway.ledger.audit import Event
from tests.sftp.conftest import Running, string, until

TOUCHED, UNTOUCHED = 1, 0
APPLICATION = b"ssh:"


def public(key: asyncssh.SSHKey) -> str:
    """The line of its .pub file, without a comment."""
    return " ".join(key.export_public_key().decode().split()[:2])


def user(name: str, *keys: str, **values: Any) -> str:
    """A user's table. Values are TOML already; keys are lines, which hold double quotes at most."""
    lines = [f"[users.{name}]", 'email = "a@b.example"', 'role = "creator"']
    lines += [
        f"keys = [{', '.join(repr(key) for key in keys)}]",
        *(f"{key} = {value}" for key, value in values.items()),
    ]
    return "\n".join(lines) + "\n"


def add(root: Path, *tables: str, tenant: str = "acme") -> None:
    """More tables for a tenant's file; a running gateway takes them at the next login."""
    with (root / "tenants" / f"{tenant}.toml").open("a") as file:
        file.write("".join(tables))


def head(root: Path, line: str, tenant: str = "acme") -> None:
    """One more key of the tenant itself."""
    path = root / "tenants" / f"{tenant}.toml"
    path.write_text(f"{line}\n{path.read_text()}")


async def logs_in(server: Running, user: str, *keys: Any, **options: Any) -> bool:
    """Whether a client gets in, and can list what is there."""
    try:
        async with (
            server.connected(user, client_keys=list(keys), **options) as connection,
            connection.start_sftp_client() as client,
        ):
            return "inbox" in await client.listdir("/")
    except asyncssh.PermissionDenied:
        return False


async def reasons(server: Running, user: str | None, count: int = 1) -> list[str]:
    """Why logins were refused, oldest first, when that many rows are written."""

    def rows() -> list[Event]:
        found = audit.select(server.ledger, action="login", limit=1000)
        return [event for event in found if event.result == "refused" and event.username == user]

    await until(lambda: len(rows()) >= count)
    return [str(event.detail) for event in reversed(rows())]


class Token(asyncssh.SSHKeyPair):
    """A FIDO key in software: it signs as PROTOCOL.u2f says, whether it was touched or not."""

    def __init__(self, kind: bytes, flags: int = TOUCHED) -> None:
        self._kind, self._flags = kind, flags
        self._key = (
            ed25519.Ed25519PrivateKey.generate() if b"ed25519" in kind else ec.generate_private_key(ec.SECP256R1())
        )
        blob = string(kind) + self._public() + string(APPLICATION)
        self.line = f"{kind.decode()} {base64.b64encode(blob).decode()}"
        super().__init__(kind, kind, (kind,), (kind,), blob, None)

    def _public(self) -> bytes:
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return string(self._key.public_key().public_bytes_raw())
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return string(b"nistp256") + string(point)

    def sign(self, data: bytes) -> bytes:
        counted = bytes([self._flags]) + (7).to_bytes(4, "big")
        signed = hashlib.sha256(APPLICATION).digest() + counted + hashlib.sha256(data).digest()
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            signature = self._key.sign(signed)
        else:
            numbers = decode_dss_signature(self._key.sign(signed, ec.ECDSA(hashes.SHA256())))
            signature = b"".join(string(number.to_bytes(33, "big")) for number in numbers)
        return string(self._kind) + string(signature) + counted


class Authority:
    """A CA, as `ssh-keygen` makes one."""

    def __init__(self, folder: Path, name: str = "ca", kind: str = "ed25519") -> None:
        self.path = folder / name
        self._folder = folder
        keygen("-t", kind, *(("-b", "3072") if kind == "rsa" else ()), "-N", "", "-f", self.path)
        self.line = self.path.with_suffix(".pub").read_text().strip()
        self._count = 0

    def issue(self, key: Path, *options: str, principals: str | None = "ann", sign_with: str | None = None) -> Path:
        """A copy of a key, with a certificate beside it; the path of the private key."""
        self._count += 1
        copy = self._folder / f"{self.path.name}-{self._count}"
        copy.write_bytes(key.read_bytes())
        copy.chmod(0o600)
        copy.with_suffix(".pub").write_bytes(key.with_suffix(".pub").read_bytes())
        named = ("-n", principals) if principals else ()
        keygen(
            *("-s", self.path, "-I", "a certificate", *named, *(("-t", sign_with) if sign_with else ()), *options),
            copy.with_suffix(".pub"),
        )
        return copy


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, capture_output=True, timeout=60)


def pair(private: Path) -> asyncssh.SSHKeyPair:
    """A key with its certificate, for asyncssh, which would offer the key alone as well."""
    both = (asyncssh.read_private_key(private), asyncssh.read_certificate(f"{private}-cert.pub"))
    return next(one for one in asyncssh.load_keypairs([both]) if one.has_cert)
