"""The lock of the ledger's connection: tenants get equal parts of it, and whoever has waited for too long is next.

Python's own locks go to whoever asks first once they are free, which mostly is the thread that just had it: the
sessions of one tenant could keep the job of another from its next step for seconds.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType

TENANT: ContextVar[str] = ContextVar("tenant", default="")
"""For whom the running code works; empty for the gateway itself."""

PATIENCE_SECONDS = 0.1
COUNTED_SECONDS = 1.0
"""So long it is remembered who has had the lock for how long."""


@dataclass(frozen=True, slots=True)
class Waiter:
    """A thread that waits for the lock, and for whom."""

    tenant: str
    since: float = field(default_factory=time.monotonic)
    told: threading.Event = field(default_factory=threading.Event)
    """Set when it may be its turn."""


class TurnLock:
    """Reentrant. When several wait, it goes to a thread of the tenant who had it least of late."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._owner: int | None = None
        self._depth = 0
        self._taken = ("", 0.0)
        self._waiting: dict[int, Waiter] = {}
        """By thread; the first has waited for longest."""
        self._used: dict[str, float] = defaultdict(float)
        self._counted_since = 0.0

    def __enter__(self) -> None:
        me = threading.get_ident()
        if self._owner == me:
            self._depth += 1
            return
        tenant = TENANT.get()
        if self._takes(me, tenant):
            return
        waiter = Waiter(tenant)
        with self._guard:
            self._waiting[me] = waiter
        try:
            while not self._takes(me, tenant):
                # The time-out is for the one who becomes the next while nobody tells.
                waiter.told.wait(PATIENCE_SECONDS)
                waiter.told.clear()
        finally:
            with self._guard:
                del self._waiting[me]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            with self._guard:
                self._owner = None
                self._count()
                if self._waiting:
                    # Only the one whose turn it is: to wake all who wait, each time, would keep the machine busy.
                    self._waiting[self._chosen()[0]].told.set()

    def is_mine(self) -> bool:
        """Whether the calling thread has it."""
        return self._owner == threading.get_ident()

    def _takes(self, me: int, tenant: str) -> bool:
        """Take it, if that may be."""
        with self._guard:
            if not self._may_take(me, tenant):
                return False
            self._owner, self._depth = me, 1
            self._taken = tenant, time.monotonic()
            return True

    def _may_take(self, me: int, tenant: str) -> bool:
        if self._owner is not None or not self._waiting:
            return self._owner is None
        chosen, is_overdue = self._chosen()
        if chosen == me:
            return True
        other = self._waiting[chosen].tenant
        # Within a tenant, whoever runs already may go on: a switch of threads for each query costs more than it gives.
        return not is_overdue and (self._used[tenant] < self._used[other] or tenant == other)

    def _chosen(self) -> tuple[int, bool]:
        first, waiter = next(iter(self._waiting.items()))
        if time.monotonic() - waiter.since > PATIENCE_SECONDS:
            return first, True
        # Of equals the one who came first: that is their order here.
        return min(self._waiting, key=lambda thread: self._used[self._waiting[thread].tenant]), False

    def _count(self) -> None:
        tenant, since = self._taken
        now = time.monotonic()
        if now - self._counted_since > COUNTED_SECONDS:
            self._used.clear()
            self._counted_since = now
        self._used[tenant] += now - since
