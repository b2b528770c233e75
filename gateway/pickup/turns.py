"""Turns: whose job begins next, so that a tenant with a thousand jobs does not keep the others from theirs.

Tenants take turns. While more than one has had work lately, none has all workers. Where there are several tenants, one
worker more than configured is patient: it gets what the others leave of the machine. It is for whoever waits, and the
only one for a tenant whose files mostly had to be refused lately: bombs and garbage cost nobody else a worker.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LATELY_SECONDS = 300.0
"""So long one worker is kept for a tenant who had work, although it may stand idle meanwhile."""
HALF_LIFE_SECONDS = 60.0
WASTED_SECONDS_MIN = 1.0
"""Less than this spent on refused files says nothing about who sent them."""


@dataclass(slots=True)
class Spent:
    """Worker seconds of a tenant, of which half are forgotten each minute."""

    at: float
    used: float = 0.0
    wasted: float = 0.0

    def add(self, now: float, seconds: float, refused: float) -> None:
        left = 0.5 ** ((now - self.at) / HALF_LIFE_SECONDS)
        self.used = self.used * left + seconds
        self.wasted = self.wasted * left + seconds * refused
        self.at = now


class Turns:
    """The running jobs by tenant. Not for several threads at once: the caller has a lock."""

    def __init__(self, workers: int, now: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._now = now
        self._running: Counter[str] = Counter()
        """Turns that are not over, in workers that are not patient."""
        self._began_at: dict[str, float] = {}
        self._worked_at: dict[str, float] = {}
        self._spent: dict[str, Spent] = {}

    def order(self, waiting: Sequence[str], *, patient: bool = False) -> list[str]:
        """The tenants of `waiting` whose turn it may be: the one with the fewest running jobs, and longest without.

        A patient worker asks for those whose files are refused first, and only while there are several tenants.
        """
        now = self._now()
        self._worked_at |= dict.fromkeys(waiting, now)
        lately = {tenant for tenant, at in self._worked_at.items() if now - at < LATELY_SECONDS}
        lately |= {tenant for tenant, count in self._running.items() if count}
        may = self._may_wait if patient else self._may_begin
        found = [tenant for tenant in waiting if may(tenant, lately - {tenant})]
        return sorted(
            found,
            key=lambda tenant: (
                patient and not self.wastes(tenant),
                self._running[tenant],
                self._began_at.get(tenant, 0.0),
            ),
        )

    def are_taken(self, *, patient: bool = False) -> bool:
        """Whether it is nobody's turn, whoever waits."""
        return not patient and self._running.total() >= self._workers

    def begin(self, tenant: str, *, patient: bool = False) -> None:
        self._running[tenant] += not patient
        self._began_at[tenant] = self._worked_at[tenant] = self._now()

    def end(self, tenant: str, *, patient: bool = False) -> None:
        """The tenant needs a worker no longer, or hardly."""
        self._running[tenant] -= not patient
        self._worked_at[tenant] = self._now()

    def spend(self, tenant: str, seconds: float, *, refused: float) -> None:
        """Jobs of the tenant had a worker for so long; `refused` is the share of them whose files were refused."""
        now = self._now()
        self._worked_at[tenant] = now
        self._spent.setdefault(tenant, Spent(now)).add(now, seconds, refused)

    def under_way(self, tenant: str) -> int:
        """How many workers have jobs of the tenant."""
        return self._running[tenant]

    def wastes(self, tenant: str) -> bool:
        """Whether most of what its jobs took lately went into files that had to be refused."""
        spent = self._spent.get(tenant)
        return spent is not None and spent.wasted > max(spent.used / 2, WASTED_SECONDS_MIN)

    def _may_begin(self, tenant: str, others: set[str]) -> bool:
        if self.are_taken():
            return False
        if others and self.wastes(tenant):
            return False
        # For those who only waste, nothing is kept.
        kept = 1 if any(not self.wastes(other) for other in others) else 0
        return self._running[tenant] < max(self._workers - kept, 1)

    def _may_wait(self, tenant: str, others: set[str]) -> bool:
        return bool(others)
