"""Shares of the event loop: who floods it with packets waits while others have something to say.

All connections are served by one event loop, a connection at a time: a tenant with a hundred of them would have a
hundred times the part of one who has one. So the time that the packets of each tenant take is counted in short
windows. While more than one tenant has used the loop lately, one that has had its share of a window is not read from
until the next one begins: TCP then slows it down. Who is alone has no share to keep to.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import defaultdict
from typing import Any

from gateway.sftp.inlet import Inlet

WINDOW_SECONDS = 0.025
LATELY_SECONDS = 10.0
"""So long somebody counts who was heard from: his next packet, or his jobs, must not wait behind a hundred others."""
SPARE_SHARES = 0.5
"""What nobody has: the loop needs it for answers, and for those who log in."""


class LoopShares:
    """The connections that are logged in, by tenant, and what they take. Everything here runs on the event loop."""

    def __init__(self) -> None:
        self._transports: dict[str, set[asyncio.ReadTransport]] = defaultdict(set)
        self._used: dict[str, float] = defaultdict(float)
        self._heard_at: dict[str, float] = {}
        self._paused: set[str] = set()
        self._window_ends = 0.0

    def follow(self, connection: Any, tenant: str) -> None:
        """From now on, what the connection receives counts for the tenant."""
        # asyncssh has no public way to its transport.
        transport: asyncio.Transport = connection._transport
        self._open_of(tenant).add(transport)
        on_taken = functools.partial(self._count, tenant)
        transport.set_protocol(Inlet(connection, transport, on_taken))

    def _open_of(self, tenant: str) -> set[asyncio.ReadTransport]:
        self._transports[tenant] = {one for one in self._transports[tenant] if not one.is_closing()}
        return self._transports[tenant]

    def _count(self, tenant: str, seconds: float, now: float) -> None:
        if now >= self._window_ends and not self._paused:
            self._begin_window(now)
        self._used[tenant] += seconds
        self._heard_at[tenant] = now
        if tenant not in self._paused and self._used[tenant] > self._share_of(tenant):
            if not self._paused:
                asyncio.get_running_loop().call_later(max(self._window_ends - now, 0), self._go_on)
            self._paused.add(tenant)
            for transport in self._open_of(tenant):
                transport.pause_reading()

    def _begin_window(self, now: float) -> None:
        self._used.clear()
        self._window_ends = now + WINDOW_SECONDS

    def _share_of(self, tenant: str) -> float:
        """Seconds of a window."""
        since = self._heard_at[tenant] - LATELY_SECONDS
        others = sum(at > since for other, at in self._heard_at.items() if other != tenant)
        return WINDOW_SECONDS / (others + 1 + SPARE_SHARES) if others else float("inf")

    def _go_on(self) -> None:
        paused, self._paused = self._paused, set()
        self._begin_window(time.perf_counter())
        for tenant in paused:
            for transport in self._open_of(tenant):
                transport.resume_reading()
