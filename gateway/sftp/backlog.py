"""What a channel keeps while its session has paused reading: in few large pieces, however small they came.

asyncssh keeps a list and takes from its front. A client that sends a byte at a time could make it so long that
taking it apart stops the event loop for minutes, and each byte would cost a hundred.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import asyncssh

PIECE_BYTES_MAX = 64 * 1024
Piece = tuple[bytes, asyncssh.DataType]


class Backlog(deque[Piece]):
    """What asyncssh's channel uses of a list, and no more."""

    def append(self, piece: Piece) -> None:
        """A small piece becomes a part of the one before it."""
        data, datatype = piece
        if self and self[-1][1] == datatype and len(self[-1][0]) + len(data) <= PIECE_BYTES_MAX:
            data = super().pop()[0] + data
        super().append((data, datatype))

    # asyncssh asks for the first one only.
    def pop(self, index: int = 0) -> Piece:
        """The piece that came first."""
        return self.popleft()


def give_backlog(channel: Any) -> None:
    """Before anything has come: the channel's own list, which is private, is replaced."""
    channel._recv_buf = Backlog(channel._recv_buf)
