"""Proofs that a file is whole: a rename from a temporary name, or a marker or a checksum beside it.

Without any, the last that is known is a clean close, which cut-off clients send as well (DESIGN.md, invariant 3).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from gateway.config import FeedSettings, Settings
from gateway.ledger import Ledger, drops
from gateway.ledger.drops import DropRow, Name
from gateway.pickup.folder import inbox, parent_of

SUFFIXES = {"done_marker": ".done", "sha256": ".sha256"}
CHECKSUM_BYTES_MAX = 64 * 1024
# As sha256sum writes it (`<hex>  <name>`, a `*` before the name of a binary file), or with --tag, or the digest alone.
CHECKSUM_LINES = (
    re.compile(r"\\?(?P<hex>[0-9a-fA-F]{64})(?:[ \t]+\*?(?P<name>.*))?"),
    re.compile(r"SHA256 \((?P<name>.*)\) = (?P<hex>[0-9a-fA-F]{64})"),
)


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a drop is whole, if anything does; `beside` is the drop of the marker or checksum."""

    kind: str | None = None
    beside: DropRow | None = None
    expected_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """What a drop must wait for, as the ledger names it, and why in words."""

    held_for: str
    reason: str


def kind_of(path: str, policy: FeedSettings | None) -> str:
    """What a file of that name is to its feed: data, or a proof for other data."""
    suffix = SUFFIXES.get(policy.complete_on) if policy else None
    return policy.complete_on if policy and suffix and path.removesuffix(suffix) not in (path, "") else "data"


def proved_path(proof: DropRow) -> str:
    """The path of the file that a marker or checksum is about."""
    return proof.path.removesuffix(SUFFIXES[proof.kind])


def names_with_proof(drop: DropRow) -> list[Name]:
    """The name of a drop and those that its proof may have, or that it may prove."""
    if drop.kind == "data":
        return [drop.name, *((drop.tenant, drop.feed, drop.path + suffix) for suffix in SUFFIXES.values())]
    return [drop.name, (drop.tenant, drop.feed, proved_path(drop))]


def find_proof(settings: Settings, ledger: Ledger, drop: DropRow, policy: FeedSettings | None) -> Proof | Missing:
    """What shows that a drop of data is whole, or what its feed still asks for.

    A drop about which an operator or the feed's policy has decided needs none.
    """
    renamed = drops.came_by_rename(ledger, drop)
    if policy is None or policy.complete_on == "close" or drop.decided is not None:
        return Proof("rename" if renamed else None)
    if policy.complete_on == "rename":
        return Proof("rename") if renamed else Missing("rename", not_renamed(drop))
    path = drop.path + SUFFIXES[policy.complete_on]
    beside = drops.newest(ledger, drop.tenant, drop.feed, path)
    if beside is None or not beside.in_inbox or beside.kind != policy.complete_on:
        return Missing(policy.complete_on, f"{path} has not come yet")
    if policy.complete_on == "done_marker":
        return Proof("done_marker", beside)
    expected = read_checksum(inbox(settings, drop.tenant, drop.feed), path, drop.path.rsplit("/", 1)[-1])
    if expected is None:
        return Missing("sha256", f"{path} holds no SHA-256 of {drop.path}: 64 hexadecimal digits are expected")
    return Proof("sha256", beside, expected)


def not_renamed(drop: DropRow) -> str:
    if drop.upload_id is None:
        return f"{drop.path} was put there by a local program, and its feed wants a rename over SFTP"
    return f"{drop.path} was uploaded under its final name, and its feed wants a rename from a temporary one"


def read_checksum(root: Path, path: str, name: str) -> str | None:
    """The SHA-256 of the file `name` that a checksum file says, in lower case; None when it says none."""
    with parent_of(root, path) as (folder, last):
        descriptor = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with open(descriptor, "rb") as file:
        return checksum_in(file.read(CHECKSUM_BYTES_MAX).decode("utf-8", "replace"), name)


def checksum_in(text: str, name: str) -> str | None:
    """Of several lines the one that names the file counts; a single line may name none, or another."""
    lines = [line.strip().lstrip("\ufeff") for line in text.splitlines()]
    found = [match for line in lines for pattern in CHECKSUM_LINES if (match := pattern.fullmatch(line))]
    named = [match for match in found if (match["name"] or "").replace("\\", "/").rsplit("/", 1)[-1] == name]
    chosen = named or (found if len(found) == 1 else [])
    return chosen[0]["hex"].lower() if chosen else None


def proof_wait(policy: FeedSettings | None) -> timedelta:
    """How long a file waits for its proof, and a proof for its file."""
    return timedelta(hours=(policy or FeedSettings(contract="none")).proof_hours)
