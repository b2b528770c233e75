"""SFTP requests (draft-ietf-secsh-filexfer-02): each kind as it should be, and then changed where it hurts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from scripts.fuzzing import names
from scripts.fuzzing.wire import mutated, string

OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR, REMOVE, MKDIR = range(3, 15)
RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK, LINK, EXTENDED = *range(15, 22), 200
STATUS, HANDLE, NAME = 101, 102, 104
NUMBERS = (0, 1, 2, 255, 4096, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
OFFSETS = (0, 0, 1, 4096, 2**24 - 1, 2**24, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
EXTENSIONS = (
    b"posix-rename@openssh.com", b"hardlink@openssh.com", b"fsync@openssh.com", b"lsetstat@openssh.com",
    b"limits@openssh.com", b"statvfs@openssh.com", b"fstatvfs@openssh.com", b"copy-data", b"ranges@asyncssh.com",
    b"expand-path@openssh.com", b"users-groups-by-id@openssh.com", b"home-directory", b"check-file", b"md5-hash",
    b"", b"\xff\xfe", b"e" * 10_000,
)  # fmt: skip


class Handles:
    """The handles that a session has been given, has closed, and never had."""

    def __init__(self, foreign: list[bytes]) -> None:
        self.open: list[bytes] = []
        self.others = [b"", b"\0", b"\0\0\0\0", b"\xff" * 4, b"h" * 256, b"h" * 300, b"\0" * 5000, *foreign]

    def any(self, pick: Random) -> bytes:
        return pick.choice(self.open if self.open and pick.random() < 0.7 else self.others)


def request(number: int, handles: Handles, pick: Random) -> bytes:
    """A packet with its length."""
    kind, body = body_of(handles, pick)
    if pick.random() < 0.35:
        body = mutated(body, pick) if pick.random() < 0.7 else lying(body, pick)
    if pick.random() < 0.03:
        kind = pick.randrange(256)
    number = pick.choice((number,) * 12 + (0, 2**32 - 1))
    return framed(struct.pack(">BI", kind, number) + body)


def body_of(handles: Handles, pick: Random) -> tuple[int, bytes]:
    """The kind of a request, and all that follows its id."""
    given = Given(pick, string(handles.any(pick)), string(names.path(pick)))
    kind = pick.choice(KINDS)
    return kind, b"".join(part(given) for part in BODIES.get(kind, (a_number,)))


@dataclass(frozen=True, slots=True)
class Given:
    """What the parts of one request are made of."""

    pick: Random
    handle: bytes
    path: bytes


def a_handle(given: Given) -> bytes:
    return given.handle


def a_path(given: Given) -> bytes:
    return given.path


def another_path(given: Given) -> bytes:
    return string(names.path(given.pick)) + given.pick.choice((b"", b"", b"\1", b"\0\0\0\0"))


def some_attributes(given: Given) -> bytes:
    return attributes(given.pick)


def open_flags(given: Given) -> bytes:
    return struct.pack(">I", given.pick.choice((0, 1, 2, 3, 10, 26, 6, 14, 42, 63, 2**32 - 1)))


def an_offset(given: Given) -> bytes:
    return struct.pack(">Q", given.pick.choice(OFFSETS))


def a_number(given: Given) -> bytes:
    return struct.pack(">I", given.pick.choice(NUMBERS))


def some_content(given: Given) -> bytes:
    return string(content(given.pick))


def an_extension(given: Given) -> bytes:
    two_paths, changes = given.path + string(names.path(given.pick)), given.path + attributes(given.pick)
    rest = given.pick.choice((b"", given.path, given.handle, two_paths, changes, given.handle * 2))
    return string(given.pick.choice(EXTENSIONS)) + rest


BODIES: dict[int, tuple[Callable[[Given], bytes], ...]] = {
    OPEN: (a_path, open_flags, some_attributes),
    CLOSE: (a_handle,),
    READ: (a_handle, an_offset, a_number),
    WRITE: (a_handle, an_offset, some_content),
    LSTAT: (a_path,),
    FSTAT: (a_handle,),
    SETSTAT: (a_path, some_attributes),
    FSETSTAT: (a_handle, some_attributes),
    OPENDIR: (a_path,),
    READDIR: (a_handle,),
    REMOVE: (a_path,),
    MKDIR: (a_path, some_attributes),
    RMDIR: (a_path,),
    REALPATH: (a_path,),
    STAT: (a_path,),
    RENAME: (a_path, another_path),
    READLINK: (a_path,),
    SYMLINK: (a_path, another_path),
    LINK: (a_path, another_path),
    EXTENDED: (an_extension,),
}
# Reads and writes are what most clients send most of; kinds without a body here are none of version 3, or replies.
KINDS = (*BODIES, READ, WRITE, WRITE, EXTENDED, 1, 2, 22, 23, 101, 104, 201, 255)


def attributes(pick: Random) -> bytes:
    """ATTRS with any of its flags, those that there are and those that there are not."""
    flags = pick.choice((0, 0, 1, 2, 4, 8, 9, 12, 15, 2**31, 2**31 | 15, 16, 0x80, pick.getrandbits(32)))
    body = b""
    if flags & 1:
        body += struct.pack(">Q", pick.choice(OFFSETS))
    if flags & 2:
        body += struct.pack(">II", pick.choice(NUMBERS), pick.choice(NUMBERS))
    if flags & 4:
        body += struct.pack(">I", pick.choice((0, 0o777, 0o4777, 0o120777, 0o40755, 2**32 - 1)))
    if flags & 8:
        body += struct.pack(">II", pick.choice(NUMBERS), pick.choice(NUMBERS))
    if flags & 2**31:
        count = pick.choice((0, 1, 3, 2**32 - 1))
        body += struct.pack(">I", count) + (string(b"name") + string(b"value")) * min(count, 3)
    return struct.pack(">I", flags) + body


def content(pick: Random) -> bytes:
    return pick.choice((b"", b"a", b"identity,type\n", b"x" * 4096, b"\0" * 70_000, b"y" * 300_000))


def lying(body: bytes, pick: Random) -> bytes:
    """The first length in it says something else."""
    lie = pick.choice((0, 1, len(body), len(body) + 1, 2**31 - 1, 2**31, 2**32 - 1))
    return struct.pack(">I", lie) + body[4:]


def framed(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload
