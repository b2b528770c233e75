"""Turning away: a connection gets one line instead of the server's version, and is closed (RFC 4253, section 4.2)."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import asyncssh

LINGER_SECONDS = 1.0
LINGERING_MAX = 64
lingering: set[socket.socket] = set()


def turn_away(connection: asyncssh.SSHServerConnection, sentence: str) -> None:
    """Say it and close. The socket stays open for a moment: what the client has sent meanwhile would make the close a
    reset, and a reset takes the line away before the client has read it. In a flood there is no time for that."""
    own = connection.get_extra_info("socket").dup()
    connection.abort()
    with contextlib.suppress(OSError):
        own.send(f"{sentence}\r\n".encode())
        own.shutdown(socket.SHUT_WR)
    if len(lingering) >= LINGERING_MAX:
        own.close()
        return
    lingering.add(own)
    asyncio.get_running_loop().call_later(LINGER_SECONDS, end, own)


def end(own: socket.socket) -> None:
    lingering.discard(own)
    own.close()
