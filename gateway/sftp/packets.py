"""SFTP packets (draft-ietf-secsh-filexfer-02) as the session needs them: framing, WRITE and READ, short replies."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

VERSION, OPEN, CLOSE, READ, WRITE, OPENDIR = 2, 3, 4, 5, 6, 11
QUESTIONS = frozenset({READ, 7, 8, OPENDIR, 12, 16, 17, 19})
"""Requests that change nothing: READ, LSTAT, FSTAT, OPENDIR, READDIR, REALPATH, STAT, READLINK."""
STATUS, DATA, EXTENDED = 101, 103, 200
OK, EOF, FAILURE, BAD_MESSAGE, OP_UNSUPPORTED = 0, 1, 4, 5, 8

SFTP_VERSION = 3
# What asyncssh's handler announces as its limits, and takes at most.
READ_BYTES_MAX = 4 * 1024 * 1024
PACKET_BYTES_MAX = 4 * 1024 * 1024 + 1024
# pwritev takes 1,024 pieces; a client that sends a byte at a time must not cost a list entry for each of them.
PIECES_MAX = 256
OFFSET_MAX = 2**63 - 1
HANDLE_BYTES_MAX = 256
# Type, id, handle, offset and length of a WRITE or READ.
HEAD_BYTES_MAX = 1 + 4 + 4 + HANDLE_BYTES_MAX + 8 + 4

Pieces = list[memoryview]


class BadPacket(Exception):
    """The stream is not SFTP: there is no way to find the next packet in it."""


@dataclass(frozen=True, slots=True)
class Write:
    """A WRITE request. `pieces` are views of what came over the network: nothing is copied."""

    request: int
    handle: bytes
    offset: int
    length: int
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class Read:
    """A READ request."""

    request: int
    handle: bytes
    offset: int
    length: int


class PacketBuffer:
    """The bytes of a channel that have not been taken yet, cut into packets."""

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        self._expected: int | None = None
        self.bytes = 0

    def feed(self, data: bytes) -> None:
        self._pieces.append(memoryview(data))
        self.bytes += len(data)
        if len(self._pieces) > PIECES_MAX:
            self._pieces = deque([memoryview(b"".join(self._pieces))])

    @property
    def is_cut_off(self) -> bool:
        """A packet has begun, and more of it is to come: there is nothing to take."""
        return self._expected is not None and self.bytes < self._expected

    def take(self) -> Pieces | None:
        """The next whole packet without its length, or None; its type, id and handle are in the first piece."""
        if self._expected is None:
            if self.bytes < 4:
                return None
            self._expected = int.from_bytes(b"".join(self._cut(4)), "big")
            if not 5 <= self._expected <= PACKET_BYTES_MAX:
                raise BadPacket(f"a packet of {self._expected} bytes")
        if self.bytes < self._expected:
            return None
        pieces, self._expected = self._cut(self._expected), None
        if len(pieces) > 1 and len(pieces[0]) < HEAD_BYTES_MAX:
            pieces = [memoryview(b"".join(pieces))]
        return pieces

    def _cut(self, length: int) -> Pieces:
        pieces: Pieces = []
        self.bytes -= length
        while length:
            piece = self._pieces.popleft()
            if len(piece) > length:
                self._pieces.appendleft(piece[length:])
                piece = piece[:length]
            pieces.append(piece)
            length -= len(piece)
        return pieces


def read_write(pieces: Pieces) -> Write | None:
    """A WRITE packet, or None where it is malformed. Bytes after its data are ignored: rclone 1.60 sends some."""
    head = pieces[0]
    try:
        request, handle_length = struct.unpack_from(">II", head, 1)
        offset, length = struct.unpack_from(">QI", head, 9 + handle_length)
    except struct.error:
        return None
    start = 21 + handle_length
    body = [head[start:], *pieces[1:]]
    spare = sum(map(len, body)) - length
    if spare < 0:
        return None
    while spare:
        cut = min(spare, len(body[-1]))
        body[-1] = body[-1][: len(body[-1]) - cut]
        spare -= cut
        if not body[-1] and len(body) > 1:
            body.pop()
    return Write(request, bytes(head[9 : 9 + handle_length]), offset, length, body)


def read_read(packet: bytes) -> Read | None:
    """A READ packet, or None where it is malformed."""
    try:
        request, handle_length = struct.unpack_from(">II", packet, 1)
        offset, length = struct.unpack_from(">QI", packet, 9 + handle_length)
    except struct.error:
        return None
    # No file reaches so far, and the system takes no offset behind it.
    return Read(request, packet[9 : 9 + handle_length], min(offset, OFFSET_MAX - READ_BYTES_MAX), length)


def handle_of_close(packet: bytes) -> bytes | None:
    """The handle of a well-formed CLOSE packet."""
    handle = packet[9:]
    return handle if packet[5:9] == len(handle).to_bytes(4, "big") else None


def extension_of(packet: bytes) -> bytes:
    """The name of an EXTENDED request."""
    return packet[9 : 9 + int.from_bytes(packet[5:9], "big")]


def request_of(packet: bytes | memoryview) -> int:
    return int.from_bytes(packet[1:5], "big")


def status(request: int, code: int, message: str = "") -> bytes:
    """A STATUS reply, with its length."""
    text = message.encode()
    return struct.pack(">IBIII", 17 + len(text), STATUS, request, code, len(text)) + text + b"\0\0\0\0"


def data(request: int, content: bytes) -> bytes:
    """A DATA reply, with its length."""
    return struct.pack(">IBII", 9 + len(content), DATA, request, len(content)) + content


def version(extensions: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A VERSION reply, with its length."""
    payload = struct.pack(">BI", VERSION, SFTP_VERSION)
    payload += b"".join(len(text).to_bytes(4, "big") + text for pair in extensions for text in pair)
    return len(payload).to_bytes(4, "big") + payload
