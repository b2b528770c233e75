"""The vestibule: where a connection waits until it is known whether its client has AES-GCM.

OpenSSH before 10 and paramiko have it, and prefer others that are much slower here. The client's choice counts, among
what is offered; and asyncssh offers what it has as soon as it has read the client's version. So what such a client
sends is held back until its own list is there: who has GCM is offered nothing else.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from gateway.sftp.crypto import STRICT

PREFERS_OTHERS = re.compile(rb"SSH-2\.0-(OpenSSH_[6-9]\.|paramiko_)")
WAIT_SECONDS = 1.0
"""A client may wait for our list before it sends its own: then it is offered all."""
HELD_BYTES_MAX = 64 * 1024
KEXINIT = b"\x14"
BEFORE_LISTS_BYTES = 4 + 1 + 1 + 16
"""Length of the packet, length of its padding, kind, cookie (RFC 4253, sections 6 and 7.1)."""
CIPHER_LISTS = slice(2, 4)
"""Behind those of key exchanges and host keys: one for each direction."""


class Vestibule(asyncio.Protocol):
    """Between the transport and asyncssh's connection, from the first byte to the client's list of ciphers."""

    def __init__(self, connection: Any, transport: asyncio.Transport) -> None:
        self._connection = connection
        self._transport = transport
        self._held = b""
        self._timer = asyncio.get_running_loop().call_later(WAIT_SECONDS, self._let_in)

    def data_received(self, data: bytes) -> None:
        self._held += data
        version, ended, packet = self._held.partition(b"\n")
        if ended and not PREFERS_OTHERS.match(version):
            self._let_in()
        elif (ciphers := ciphers_in(packet)) is not None or len(self._held) > HELD_BYTES_MAX:
            self._offer_for(ciphers or [])
            self._let_in()

    def eof_received(self) -> bool | None:
        self._let_in()
        self._connection.eof_received()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def _offer_for(self, ciphers: list[set[bytes]]) -> None:
        best = [cipher.encode() for cipher in STRICT.ciphers]
        if ciphers and all(one.intersection(best) for one in ciphers):
            # asyncssh has no public way to change it for one connection.
            self._connection._enc_algs = best

    def _let_in(self) -> None:
        """From here on the bytes go to asyncssh."""
        self._timer.cancel()
        if not self._transport.is_closing():
            self._transport.set_protocol(self._connection)
            self._connection.data_received(self._held)


def stand_before(connection: Any) -> None:
    """Let the connection's bytes come here first; call it when the connection is made."""
    transport: asyncio.Transport = connection._transport
    transport.set_protocol(Vestibule(connection, transport))


def ciphers_in(packet: bytes) -> list[set[bytes]] | None:
    """The ciphers that a client's KEXINIT names, for each direction; an empty list where it is something else, and
    None while it is not there whole."""
    ends = 4 + int.from_bytes(packet[:4], "big")
    if len(packet) < BEFORE_LISTS_BYTES or len(packet) < ends <= HELD_BYTES_MAX:
        return None
    if packet[5:6] != KEXINIT or ends > HELD_BYTES_MAX:
        return []
    lists, at = [], BEFORE_LISTS_BYTES
    for _ in range(CIPHER_LISTS.stop):
        start = at + 4
        at = start + int.from_bytes(packet[at:start], "big")
        lists.append(set(packet[start:at].split(b",")))
    return lists[CIPHER_LISTS]
