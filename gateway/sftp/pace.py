"""The pace at which an address opens connections: each costs a key exchange, and those are the dearest we give away.

So many at once, then so many a second (a leaky bucket). It is what ssh-audit looks at for DHEat, CVE-2002-20001.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ADDRESSES_MAX: Final = 20_000
"""Beyond that, those that have been quiet for long enough to begin anew are forgotten, and in a flood all."""


@dataclass(slots=True)
class Bucket:
    """How many connections of an address count at a moment, in seconds; they run out of it at the pace that is kept."""

    count: float
    at: float


class Pace:
    """The buckets of all addresses. Everything here runs on the event loop."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def admits(self, address: str, now: float, *, at_once: float, per_second: float) -> bool:
        """Count a connection; False when the address has opened too many of late."""
        bucket = self._buckets.get(address)
        if bucket is None:
            self._make_room(now, at_once / per_second)
            bucket = self._buckets[address] = Bucket(0, now)
        bucket.count = max(0.0, bucket.count - (now - bucket.at) * per_second)
        bucket.at = now
        if bucket.count + 1 > at_once:
            return False
        bucket.count += 1
        return True

    def _make_room(self, now: float, empty_after: float) -> None:
        if len(self._buckets) >= ADDRESSES_MAX:
            self._buckets = {name: one for name, one in self._buckets.items() if now - one.at < empty_after}
        if len(self._buckets) >= ADDRESSES_MAX:
            self._buckets.clear()
