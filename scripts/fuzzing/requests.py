"""SFTP requests (draft-ietf-secsh-filexfer-02): each kind as it should be, and then changed where it hurts."""

from __future__ import annotations

import struct
from random import Random

from scripts.fuzzing import names
from scripts.fuzzing.wire import mutated, string

OPEN, CLOSE, READ, WRITE, FSETSTAT, OPENDIR, REALPATH, EXTENDED = 3, 4, 5, 6, 10, 11, 16, 200
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
    handle = string(handles.any(pick))
    path = string(names.path(pick))
    match pick.randrange(18):
        case 0:
            return OPEN, path + struct.pack(">I", pick.choice((0, 1, 2, 3, 10, 26, 6, 14, 42, 63, 2**32 - 1))) + attributes(pick)
        case 1:
            return CLOSE, handle
        case 2 | 3:
            return READ, handle + struct.pack(">QI", pick.choice(OFFSETS), pick.choice(NUMBERS))
        case 4 | 5:
            return WRITE, handle + struct.pack(">Q", pick.choice(OFFSETS)) + string(content(pick))
        case 6:
            return pick.choice((7, 17)), path
        case 7:
            return 8, handle
        case 8:
            return 9, path + attributes(pick)
        case 9:
            return FSETSTAT, handle + attributes(pick)
        case 10:
            return OPENDIR, path
        case 11:
            return 12, handle
        case 12:
            return pick.choice((13, 15)), path
        case 13:
            return 14, path + attributes(pick)
        case 14:
            return pick.choice((REALPATH, 19)), path
        case 15:
            return pick.choice((18, 20, 21)), path + string(names.path(pick)) + pick.choice((b"", b"\1", b"\0\0\0\0"))
        case 16:
            rest = pick.choice((b"", path, handle, path + string(names.path(pick)), path + attributes(pick), handle * 2))
            return EXTENDED, string(pick.choice(EXTENSIONS)) + rest
        case _:
            return pick.choice((1, 2, 22, 23, 101, 102, 103, 104, 105, 201, 255)), struct.pack(">I", pick.choice(NUMBERS))


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
