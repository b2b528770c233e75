"""Turns: whose job begins next, so that a tenant with a thousand jobs does not keep the others from theirs.

Tenants take turns. A job may run for minutes, and whoever comes meanwhile must not wait for its end: where there are
several tenants, one more worker than configured is for those who have no job running. While more than one has had
work lately, none has all workers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from gateway.config import Settings

LATELY_SECONDS = 300.0
"""So long one worker is kept for a tenant who had work, although it may stand idle meanwhile."""


def spare_workers(settings: Settings) -> int:
    """How many workers more than configured there are, for tenants who have no job running."""
    return 1 if len(settings.tenants) > 1 else 0


class Turns:
    """The running jobs by tenant. Not for several threads at once: the caller has a lock."""

    def __init__(self, workers: int, spare: int = 0, now: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._spare = spare
        self._now = now
        self._running: Counter[str] = Counter()
        self._began_at: dict[str, float] = {}
        self._worked_at: dict[str, float] = {}

    def order(self, waiting: Sequence[str]) -> list[str]:
        """The tenants of `waiting` whose turn it may be: the one with the fewest running jobs, and longest without."""
        now = self._now()
        self._worked_at |= dict.fromkeys(waiting, now)
        lately = {tenant for tenant, at in self._worked_at.items() if now - at < LATELY_SECONDS}
        may = [tenant for tenant in waiting if self._may_begin(tenant, lately)]
        return sorted(may, key=lambda tenant: (self._running[tenant], self._began_at.get(tenant, 0.0)))

    def begin(self, tenant: str) -> None:
        self._running[tenant] += 1
        self._began_at[tenant] = self._worked_at[tenant] = self._now()

    def end(self, tenant: str) -> None:
        self._running[tenant] -= 1
        self._worked_at[tenant] = self._now()

    def _may_begin(self, tenant: str, lately: set[str]) -> bool:
        running = self._running.total()
        if not self._running[tenant]:
            return running < self._workers + self._spare
        alone = not (lately | {other for other, count in self._running.items() if count}) - {tenant}
        most = self._workers if alone else max(self._workers - 1, 1)
        return self._running[tenant] < most and running < self._workers
