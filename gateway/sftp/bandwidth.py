"""Bandwidth: how fast the sessions of a user may move bytes of files, all together.

A session that has used up more than its user's share takes no further request until the line is free again; then the
client's window fills, and the client waits. Nothing else waits with it. Everything here runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.config import LimitSettings

NEVER = float("-inf")
BURST_SECONDS = 1.0
"""Who was silent may be ahead of the limit by this much."""


class Line:
    """One direction of one user: until when the bytes that have passed keep it busy. A limit of 0 is none."""

    def __init__(self, bytes_per_second_max: int) -> None:
        self._limit = bytes_per_second_max
        self.free_at = NEVER

    @property
    def is_free(self) -> bool:
        """It always is, without a limit."""
        return not self._limit

    def take(self, length: int, now: float) -> None:
        self.free_at = max(self.free_at, now - BURST_SECONDS) + length / self._limit


def line_alone(bytes_per_second_max: int, *name: str) -> Line:
    """One direction of a user, in one process."""
    return Line(bytes_per_second_max)


class Bandwidth:
    """The lines of all users. They outlive sessions, or a new session would begin afresh."""

    def __init__(self, line: Callable[..., Line] = line_alone) -> None:
        self._lines: dict[str, tuple[Line, Line]] = {}
        self._line = line

    def pace(self, username: str, limits: LimitSettings) -> Callable[[Callable[[], None]], Pace]:
        """What a session of the user is given; it calls that with what goes on when the line is free."""
        if username not in self._lines:
            up, down = limits.upload_bytes_per_second_max_per_user, limits.download_bytes_per_second_max_per_user
            self._lines[username] = self._line(up, "up", username), self._line(down, "down", username)
        return lambda go_on: Pace(*self._lines[username], go_on)


class Pace:
    """One session on the lines of its user."""

    def __init__(self, up: Line, down: Line, go_on: Callable[[], None]) -> None:
        self._up = up
        self._down = down
        self._go_on = go_on
        self._timer: asyncio.TimerHandle | None = None
        # A new session waits like those that are there: else each would bring its first bytes past the limit.
        self._until = max(up.free_at, down.free_at)

    def uploaded(self, length: int) -> None:
        self._take(self._up, length)

    def downloaded(self, length: int) -> None:
        self._take(self._down, length)

    def must_wait(self) -> bool:
        """Whether the session may not go on yet; it is told when it may."""
        # Asked for each packet, and most have no limit.
        if self._until == NEVER:
            return False
        loop = asyncio.get_running_loop()
        if self._until <= loop.time():
            return False
        if self._timer is None:
            self._timer = loop.call_at(self._until, self._wake)
        return True

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _take(self, line: Line, length: int) -> None:
        if line.is_free:
            return
        line.take(length, asyncio.get_running_loop().time())
        self._until = max(self._until, line.free_at)

    def _wake(self) -> None:
        self._timer = None
        self._go_on()
