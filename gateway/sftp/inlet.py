"""The inlet: how the bytes of a logged-in connection get from its socket to asyncssh, packet by packet.

asyncssh takes each packet from the front of all that has come, and copies the rest each time: of a large read with
many packets in it, most is copied many times. So it is given what it can take at once. Where a packet ends is read from
its length, which most ciphers leave in the clear. Were that ever wrong, the pieces would be cut in other places, and
the stream would be the same.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

READ_BYTES = 1024 * 1024
"""So much is read at once: then the requests that it brings are answered together."""
PIECE_BYTES = 64 * 1024
"""Small packets are given together, up to this; and a stream whose packets cannot be told apart, in such pieces."""
PACKET_BYTES_MAX = 264 * 1024
"""More than asyncssh takes; a longer length is none."""
LENGTH_BYTES = 4
TAG_BYTES = {"aes128-gcm@openssh.com": 16, "aes256-gcm@openssh.com": 16}
"""Of ciphers that need no MAC, and leave the length in the clear."""
MAC_BYTES = {"umac-128-etm@openssh.com": 16, "hmac-sha2-256-etm@openssh.com": 32, "hmac-sha2-512-etm@openssh.com": 64}
"""Of MACs that leave it in the clear."""

# Filled and emptied in one step of the event loop, which reads from one connection at a time: all share it.
ROOM = memoryview(bytearray(READ_BYTES))


class Inlet(asyncio.BufferedProtocol):
    """Between the transport and asyncssh's connection. `on_taken` hears how long the packets of a read took, and when
    that was over: seconds of time.perf_counter()."""

    def __init__(self, connection: Any, transport: asyncio.BaseTransport, on_taken: Callable[[float, float], None]):
        self._connection = connection
        self._transport = transport
        self._on_taken = on_taken
        self._socket = transport.get_extra_info("socket")
        self._frame = Frame(tag_bytes(connection.get_extra_info))

    def get_buffer(self, sizehint: int) -> memoryview:
        return ROOM

    def buffer_updated(self, nbytes: int) -> None:
        began = time.perf_counter()
        # asyncssh writes two packets for one, each by itself: those of one step go out together.
        self._hold_back(1)
        for start, end in self._frame.pieces(ROOM, nbytes):
            # What comes behind a packet that ended the connection is nobody's.
            if self._transport.is_closing():
                break
            self._connection.data_received(bytes(ROOM[start:end]))
        self._hold_back(0)
        ended = time.perf_counter()
        self._on_taken(ended - began, ended)

    def _hold_back(self, cork: int) -> None:
        if not self._transport.is_closing():
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, cork)

    def eof_received(self) -> bool | None:
        self._connection.eof_received()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()


class Frame:
    """Where the packets of one stream end. `tag` is what follows the length and as many bytes as it says, or None
    where lengths cannot be read."""

    def __init__(self, tag: int | None) -> None:
        self._tag = tag
        self._head = b""
        self._left = 0

    def pieces(self, read: memoryview, count: int) -> Iterator[tuple[int, int]]:
        """Cut the next `count` bytes of the stream: whole packets, but for the first and the last."""
        start, end = 0, self._left
        while start < count:
            while end < count and end - start < PIECE_BYTES:
                end += self._bytes_of_next(read[end:count])
            cut = min(end, count)
            yield start, cut
            start = cut
        self._left = end - count

    def _bytes_of_next(self, rest: memoryview) -> int:
        """How many bytes of what comes belong to the next packet; all, while its length is not there whole."""
        if self._tag is None:
            return PIECE_BYTES
        before = len(self._head)
        head = self._head + bytes(rest[: LENGTH_BYTES - before])
        if len(head) < LENGTH_BYTES:
            self._head = head
            return len(rest)
        self._head = b""
        length = LENGTH_BYTES + int.from_bytes(head, "big") + self._tag
        if length > PACKET_BYTES_MAX:
            self._tag = None
        return min(length, PACKET_BYTES_MAX) - before


def tag_bytes(info: Callable[[str], Any]) -> int | None:
    """By what was agreed on for the bytes from the client; `info` is the connection's get_extra_info."""
    return TAG_BYTES.get(info("recv_cipher"), MAC_BYTES.get(info("recv_mac")))
