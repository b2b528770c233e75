"""Public keys as they stand in a configuration: the line of a .pub file, with what it may say in front of the key."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from gateway.config.addresses import networks

RSA_BITS_MIN: Final = 3072
NEW_KEY: Final = "make a new one with: ssh-keygen -t ed25519"
NOT_A_KEY: Final = "this is not the line of a .pub file, as in 'ssh-ed25519 AAAA... name'"

FIELDS: Final = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
"""The kinds of keys that log in, and how many fields follow the kind in the key itself (RFC 4253, 5656, 8709;
PROTOCOL.u2f of OpenSSH)."""

# What may stand in front is one word, but for the blanks in quotes. A key always begins with the length of its kind.
LINE: Final = re.compile(r'(?:((?:[^\s"]|"(?:[^"\\]|\\.)*")+)\s+)??(\S+)\s+(AAAA\S*)(?:\s|$)')
# Text in quotes, in which \" is a quote, as OpenSSH reads it.
OPTION: Final = re.compile(r'([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?(?:,|$)')
OPTIONS: Final = ("from", "expiry-time")
TIME: Final = re.compile(r"(\d{8}|\d{12}|\d{14})Z?")


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A public key, and under which conditions it counts."""

    blob: bytes
    """The key as it goes over the wire."""
    allow_from: tuple[str, ...] = ()
    expires: datetime | None = None

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)


def fingerprint(blob: bytes) -> str:
    """As OpenSSH shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def check_public_key(line: str) -> str:
    """The same line, or ValueError: for validators."""
    parse_key(line)
    return line


@lru_cache(4096)
def parse_key(line: str) -> KeyLine:
    """The line `[options] type base64 [comment]`, or ValueError; nothing of the line is repeated but its options."""
    if "PRIVATE KEY" in line:
        raise ValueError("this is a private key; a user is given the line of the .pub file beside it")
    found = LINE.match(line.strip())
    if found is None:
        raise ValueError(NOT_A_KEY)
    options, kind, encoded = found.groups()
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        blob = b""
    # The key repeats its kind, behind the length of it in four bytes.
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind.encode()):
        raise ValueError(NOT_A_KEY)
    check_kind(kind, blob)
    return with_options(blob, options or "")


def check_kind(kind: str, blob: bytes) -> None:
    """ValueError unless it is a whole key of a kind, and of a size, that logs in."""
    if kind not in FIELDS:
        raise ValueError(f"keys of the kind {kind} are not taken ({', '.join(FIELDS)} are); {NEW_KEY}")
    fields = list(strings(blob))
    if len(fields) != FIELDS[kind] + 1:
        raise ValueError(NOT_A_KEY)
    if kind == "ssh-rsa" and (bits := int.from_bytes(fields[2], "big").bit_length()) < RSA_BITS_MIN:
        raise ValueError(f"this RSA key has {bits} bits, and {RSA_BITS_MIN} is the least; {NEW_KEY}")


def strings(blob: bytes) -> Iterator[bytes]:
    """The fields of a blob, each behind its length (RFC 4251, section 5), or ValueError."""
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < end or end < 4:
            raise ValueError(NOT_A_KEY)
        yield blob[4:end]
        blob = blob[end:]


def with_options(blob: bytes, options: str) -> KeyLine:
    """The key with `from="ADDRESS,..."` and `expiry-time="YYYYMMDD"`, as OpenSSH's authorized_keys has them."""
    given: dict[str, str] = {}
    place = 0
    while place < len(options):
        found = OPTION.match(options, place)
        if found is None:
            raise ValueError('what stands in front of this key cannot be read; it is like from="10.0.0.0/8"')
        name, value = found.groups()
        if name.lower() not in OPTIONS:
            raise ValueError(f"the option {name} in front of this key is not known; known are {', '.join(OPTIONS)}")
        if value is None or name.lower() in given:
            raise ValueError(f'the option {name} must stand there once, with a value, as in {name}="..."')
        given[name.lower()] = value
        place = found.end()
    addresses = tuple(text.strip() for text in given["from"].split(",")) if "from" in given else ()
    expires = expiry(given["expiry-time"]) if "expiry-time" in given else None
    return KeyLine(blob, networks(addresses), expires)


def expiry(text: str) -> datetime:
    """YYYYMMDD, or with HHMM or HHMMSS behind it, in UTC; from then on the key does not count."""
    found = TIME.fullmatch(text)
    if found is not None:
        with contextlib.suppress(ValueError):
            digits = found[1].ljust(14, "0")
            return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    raise ValueError(f'expiry-time="{text}" is no time; write YYYYMMDD, or YYYYMMDDHHMM, in UTC')
