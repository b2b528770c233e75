"""The worker threads of the event loop: tenants take turns, however many sessions each of them has.

Each request that touches a disk or the ledger runs in one of them. In one line for all, a tenant with a thousand
sessions would be before everybody else a thousand times; and many at once would be many who wait for the ledger.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from gateway.ledger.turn_lock import TENANT

P = ParamSpec("P")
R = TypeVar("R")

LATELY_SECONDS = 10.0
SHARED_MAX = 2
"""So many calls of a tenant run at once, while another tenant has had some lately."""


@dataclass(frozen=True, slots=True)
class Call:
    """What waits for a thread, and for whom."""

    tenant: str
    run: Callable[[], None]


class FairThreads(ThreadPoolExecutor):
    """A pool of threads in which the tenants' calls wait in lines of their own; each line in turn gives one."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._lines: dict[str, deque[Call]] = {}
        self._running: Counter[str] = Counter()
        self._came_at: dict[str, float] = {}
        self._guard = threading.Lock()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:  # Whoever awaits the call gets it, as from any executor.
                    future.set_exception(error)

        call = Call(TENANT.get(), run)
        with self._guard:
            self._came_at[call.tenant] = time.monotonic()
            self._lines.setdefault(call.tenant, deque()).append(call)
        super().submit(self._work)
        return future

    def _work(self) -> None:
        """Calls, while there is one whose turn it is; also those that had to wait for their tenant's others."""
        while (call := self._next()) is not None:
            call.run()
            with self._guard:
                self._running[call.tenant] -= 1

    def _next(self) -> Call | None:
        """The first of the line whose turn it is; that line goes to the end."""
        with self._guard:
            tenant = next((tenant for tenant in self._lines if self._may_run(tenant)), None)
            if tenant is None:
                return None
            line = self._lines.pop(tenant)
            call = line.popleft()
            if line:
                self._lines[tenant] = line
            self._running[tenant] += 1
            return call

    def _may_run(self, tenant: str) -> bool:
        """The gateway itself may always; a tenant that is alone may have all threads."""
        if not tenant or self._running[tenant] < SHARED_MAX:
            return True
        since = time.monotonic() - LATELY_SECONDS
        return not any(at > since for other, at in self._came_at.items() if other not in ("", tenant))
