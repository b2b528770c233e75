"""Back pressure: whoever uploads faster than his files are processed waits a little, while others have work.

A drop that only makes a long queue longer is of no use to its tenant yet, and what it costs to land, claim and queue
it is taken from the others. The file has landed before its session waits: nothing is at stake when the wait ends.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress

from gateway.ledger import Ledger, waiting

QUEUE_LONG = 64
"""Jobs of a tenant that wait: enough that no worker ever has to wait for its uploads."""
PAUSE_SECONDS = 0.125


class BackPressure:
    """One line for each tenant, in which those whose queue is long are let on one after the other."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lines: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._released = asyncio.Event()

    async def hold_back(self, tenant: str) -> None:
        """Returns at once, unless the tenant's queue is long and another one has something to be processed."""
        if self._released.is_set() or not await self._is_flooding(tenant):
            return
        await self._wait_in_line(tenant)

    def release(self) -> None:
        """Let all go on; from now on nobody waits."""
        self._released.set()

    async def _wait_in_line(self, tenant: str) -> None:
        async with self._lines[tenant]:
            await self._pause(PAUSE_SECONDS)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._released.wait(), seconds)

    async def _is_flooding(self, tenant: str) -> bool:
        # The file is in: that the ledger cannot be asked is no failure of the close.
        return await asyncio.to_thread(waiting.floods, self._ledger, tenant, QUEUE_LONG)
