"""OpenSSH user certificates: what stands in one, and for whom it counts (PROTOCOL.certkeys of OpenSSH).

asyncssh has checked the signature of the certificate before anything here is asked, but not all that matters: it takes
signatures with SHA-1, and a certificate without principals for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.config.addresses import is_in
from gateway.config.keys import FIELDS, KeyLine, check_kind, fingerprint, strings

SUFFIX: Final = "-cert-v01@openssh.com"
USER: Final = 1

SIGNATURES: Final = frozenset(FIELDS) - {"ssh-rsa"} | {"rsa-sha2-256", "rsa-sha2-512"}
"""The algorithms of signatures that count, of logins and of certificates: those of RSA with SHA-2 only."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as it was read. `key` and `ca` are keys as they go over the wire."""

    key: bytes
    kind: str
    is_of_user: bool
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical: dict[str, bytes]
    ca: bytes
    algorithm: str
    """Of the CA's signature."""

    @property
    def shown(self) -> str:
        """For the audit; the name of a certificate is whatever its CA has written."""
        return f"certificate {self.key_id!a} of CA {fingerprint(self.ca)}"


class Reader:
    """A blob, read field by field (RFC 4251, section 5)."""

    def __init__(self, blob: bytes) -> None:
        self._rest = blob

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def string(self) -> bytes:
        return self._take(self.number(4))

    def _take(self, size: int) -> bytes:
        if len(self._rest) < size:
            raise ValueError("it ends in the middle of a field")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def is_certificate(blob: bytes) -> bool:
    """Whether a client has offered a certificate, and not a key alone."""
    return SUFFIX.encode() in blob[:64]


def read_certificate(blob: bytes) -> Certificate:
    """What stands in it, or ValueError."""
    reader = Reader(blob)
    kind = plain_kind(reader.string().decode("ascii"))
    if kind not in FIELDS:
        raise ValueError(f"certificates for keys of the kind {kind!a} are not taken")
    reader.string()  # The nonce.
    fields = [kind.encode(), *(reader.string() for _ in range(FIELDS[kind]))]
    key = b"".join(len(one).to_bytes(4, "big") + one for one in fields)
    reader.number(8)  # The serial number.
    is_of_user = reader.number(4) == USER
    key_id = reader.string().decode("utf-8")
    principals = tuple(name.decode("utf-8") for name in strings(reader.string()))
    valid_after, valid_before = reader.number(8), reader.number(8)
    critical = list(strings(reader.string()))
    reader.string()  # Extensions permit what there is none of here.
    reader.string()  # Reserved.
    ca = reader.string()
    algorithm = Reader(reader.string()).string().decode("ascii")
    options = {name.decode("ascii"): value for name, value in zip(critical[::2], critical[1::2], strict=True)}
    return Certificate(key, kind, is_of_user, key_id, principals, valid_after, valid_before, options, ca, algorithm)


def plain_kind(kind: str) -> str:
    """`sk-ssh-ed25519-cert-v01@openssh.com` → `sk-ssh-ed25519@openssh.com`; others lose their suffix."""
    name = kind.removesuffix(SUFFIX)
    return f"{name}@openssh.com" if name.startswith("sk-") else name


def why_not(
    certificate: Certificate, username: str, address: str | None, authorities: Iterable[KeyLine], now: datetime
) -> str | None:
    """Why the certificate lets this user not in, in words; None when it does."""
    authority = next((one for one in authorities if one.blob == certificate.ca), None)
    if authority is None:
        return "its CA may not issue for this user's tenant"
    if authority.expires is not None and now >= authority.expires:
        return "its CA's key has expired"
    if authority.allow_from and not is_in(address, authority.allow_from):
        return "its CA's key does not count from this address"
    if certificate.algorithm not in SIGNATURES:
        return f"its CA has signed it with {certificate.algorithm}; sign it with rsa-sha2-512"
    return why_not_for(certificate, username, now) or why_not_here(certificate, address)


def why_not_for(certificate: Certificate, username: str, now: datetime) -> str | None:
    """Kind, principals and time."""
    if not certificate.is_of_user:
        return "it is the certificate of a host"
    if not certificate.principals:
        return "it names no principals, and would be good for everybody; issue it with -n USERNAME"
    if username not in certificate.principals:
        return "the username is none of its principals"
    if now.timestamp() < certificate.valid_after:
        return "it is not valid yet"
    if now.timestamp() >= certificate.valid_before:
        return "it has expired"
    try:
        check_kind(certificate.kind, certificate.key)
    except ValueError as error:
        return str(error)
    return None


def why_not_here(certificate: Certificate, address: str | None) -> str | None:
    """Critical options: one that is not honoured refuses the certificate."""
    for name, value in certificate.critical.items():
        if name == "force-command":
            return "it forces a command, and no commands are run here; issue it without force-command"
        if name != "source-address":
            return f"its critical option {name!a} is not known here"
        try:
            sources = Reader(value).string().decode("ascii").split(",")
            if not is_in(address, sources):
                return "its source-address does not name this address"
        except ValueError:
            return "its source-address cannot be read"
    return None
