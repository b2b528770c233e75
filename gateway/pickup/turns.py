"""Turns: whose job begins next, so that a tenant with a thousand jobs does not keep the others from theirs.

Tenants take turns. While more than one has had work lately, none has all workers: a job may run for minutes, and
whoever comes meanwhile must not wait for its end.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

LATELY_SECONDS = 300.0
"""So long one worker is kept for a tenant who had work, although it may stand idle meanwhile."""


class Turns:
    """The running jobs by tenant. Not for several threads at once: the caller has a lock."""

    def __init__(self, workers: int, now: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._now = now
        self._running: Counter[str] = Counter()
        self._began_at: dict[str, float] = {}
        self._worked_at: dict[str, float] = {}

    def order(self, waiting: Sequence[str]) -> list[str]:
        """The tenants of `waiting` whose turn it may be: the one with the fewest running jobs, and longest without."""
        now = self._now()
        self._worked_at |= dict.fromkeys(waiting, now)
        lately = {tenant for tenant, at in self._worked_at.items() if now - at < LATELY_SECONDS}
        may = [tenant for tenant in waiting if self._running[tenant] < self._most(tenant, lately)]
        return sorted(may, key=lambda tenant: (self._running[tenant], self._began_at.get(tenant, 0.0)))

    def begin(self, tenant: str) -> None:
        self._running[tenant] += 1
        self._began_at[tenant] = self._worked_at[tenant] = self._now()

    def end(self, tenant: str) -> None:
        self._running[tenant] -= 1
        self._worked_at[tenant] = self._now()

    def _most(self, tenant: str, lately: set[str]) -> int:
        """How many jobs the tenant may run at once."""
        alone = not (lately | {other for other, count in self._running.items() if count}) - {tenant}
        return self._workers if alone else max(self._workers - 1, 1)
