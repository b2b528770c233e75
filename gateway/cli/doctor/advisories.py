"""Known advisories against the versions that are installed: a table of a day, which needs no network.

It holds what concerns a gateway, and is no substitute for looking at the present state (`pip-audit`).
"""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from cryptography.hazmat.backends.openssl import backend

Version = tuple[int, ...]

TABLE_OF: Final = date(2026, 11, 24)


@dataclass(frozen=True, slots=True)
class Advisory:
    """One advisory, and which versions it is about: from `first` on, and before `fixed`."""

    package: str
    ids: str
    fixed: Version
    what: str
    first: Version = ()

    def concerns(self, installed: Version) -> bool:
        return self.first <= installed < self.fixed


ADVISORIES: Final = (
    Advisory("asyncssh", "CVE-2018-7749", (1, 12, 1), "requests are served before the login is over"),
    Advisory("asyncssh", "CVE-2023-46445, CVE-2023-46446", (2, 14, 1), "somebody in between injects messages"),
    Advisory("asyncssh", "CVE-2023-48795", (2, 14, 2), "Terrapin: somebody in between removes messages"),
    Advisory("paramiko", "CVE-2023-48795", (3, 4, 0), "Terrapin: somebody in between removes messages"),
    Advisory("cryptography", "CVE-2023-0286", (39, 0, 1), "its OpenSSL can be made to read memory that it should not"),
    Advisory("cryptography", "CVE-2023-49083", (41, 0, 6), "a PKCS #7 file ends the process"),
    Advisory("cryptography", "CVE-2023-50782", (42, 0, 0), "the time of RSA decryption tells of the key"),
    Advisory("cryptography", "CVE-2024-26130", (42, 0, 4), "a PKCS #12 file ends the process", first=(38,)),
    Advisory("cryptography", "CVE-2024-12797", (44, 0, 1), "its OpenSSL takes a TLS server for another", first=(42,)),
    Advisory("cryptography", "CVE-2026-26007", (46, 0, 5), "a key on a weak curve tells of the private one"),
    Advisory("jinja2", "CVE-2025-27516", (3, 1, 6), "a template gets out of its sandbox"),
    Advisory("OpenSSL", "CVE-2022-3602, CVE-2022-3786", (3, 0, 7), "a certificate overflows a buffer", first=(3,)),
    Advisory("OpenSSL", "CVE-2023-0286", (3, 0, 8), "memory can be read that should not be", first=(3,)),
)

LAST_DAYS: Final = {
    (3, 11): date(2027, 10, 31),
    (3, 12): date(2028, 10, 31),
    (3, 13): date(2029, 10, 31),
    (3, 14): date(2030, 10, 31),
}
"""Until when a Python gets security releases (PEP 664, 693, 719, 745), at the least."""


def installed() -> dict[str, str]:
    """The versions that run here. OpenSSL twice: cryptography has one of its own in it, for SSH; Python another."""
    found = {"Python": sys.version.split()[0]}
    for package in dict.fromkeys(advisory.package for advisory in ADVISORIES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found["OpenSSL of cryptography"] = backend.openssl_version_text()
    found["OpenSSL of Python"] = ssl.OPENSSL_VERSION
    return found


def shown(entry: tuple[str, str]) -> str:
    """A version beside the name of what it is of, without what OpenSSL says around it."""
    name, text = entry
    return f"{name} {'.'.join(map(str, numbers(text)))}"


def numbers(text: str) -> Version:
    """The numbers of a version, in whatever words it stands."""
    found = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def concerning(versions: dict[str, str], advisories: Iterable[Advisory]) -> Iterator[tuple[str, Advisory]]:
    """What is concerned, with its version, and by which advisory."""
    for name, text in versions.items():
        for advisory in advisories:
            # Both of OpenSSL are looked at.
            if name.split()[0] == advisory.package and advisory.concerns(numbers(text)):
                yield shown((name, text)), advisory
