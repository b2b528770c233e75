"""Rehearsing: the store is asked what it would make of a dry run, before its report is published.

One thread does it, by the storekeeper, between the commits: a dry run waits for none, and none waits for it. Where the
store cannot be asked, a dry run is tried a few times more, and then its report says so: it is not held.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from gateway import clock
from gateway.errors import StoreError
from gateway.ledger import Ledger, drops, jobs
from gateway.ledger.jobs import JobRow
from gateway.pickup.describe import describe
from gateway.pickup.publication import Decided
from gateway.pipeline.drop import Outcome
from gateway.storekeeper import Storekeeper

log = structlog.get_logger()

TRIES_MAX = 4
PAUSE_SECONDS = 0.5
"""The pause after a failure, which doubles."""


@dataclass(order=True, slots=True)
class Waiting:
    """A dry run, and when its turn is (by the monotonic clock)."""

    due: float
    number: int
    one: Decided = field(compare=False)
    failures: int = field(default=0, compare=False)


class Rehearser:
    """Takes decided dry runs, and hands them on to `publish`; `let_go` hears of those that it gives up."""

    def __init__(
        self,
        ledger: Ledger,
        keeper: Storekeeper | None,
        publish: Callable[[Decided], None],
        let_go: Callable[[list[JobRow]], None],
    ) -> None:
        self._ledger = ledger
        self._keeper = keeper
        self._publish = publish
        self._let_go = let_go
        self._news = threading.Condition()
        self._waiting: list[Waiting] = []
        self._count = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._rehearse_on, name="rehearser", daemon=True)

    def start(self) -> None:
        if self._keeper is not None:
            self._thread.start()

    def take(self, one: Decided) -> None:
        """From any thread; returns at once. What the store need not be asked about is published as it is."""
        if one.outcome.contributed is None or not one.outcome.contributed.rows:
            self._publish(one)
        elif self._keeper is None:
            self._begin_anew(one, "there is no store any more")
        else:
            with self._news:
                self._count += 1
                heapq.heappush(self._waiting, Waiting(time.monotonic(), self._count, one))
                self._news.notify_all()

    def begin_to_stop(self) -> None:
        """Begin no other; those that wait stay staged for the next start."""
        with self._news:
            self._stopping = True
            self._news.notify_all()

    def stop(self) -> None:
        """Return when the thread has ended. The storekeeper is stopped: it answers nobody any more."""
        self.begin_to_stop()
        if self._thread.is_alive():
            self._thread.join()

    def _next(self) -> Waiting | None:
        """The one whose turn it is; None when the gateway stops."""
        with self._news:
            while not self._stopping:
                pause = self._waiting[0].due - time.monotonic() if self._waiting else None
                if pause is not None and pause <= 0:
                    return heapq.heappop(self._waiting)
                self._news.wait(pause)
        return None

    def _rehearse_on(self) -> None:
        while (waiting := self._next()) is not None:
            try:
                self._rehearse(waiting.one, without_store=waiting.failures >= TRIES_MAX)
            except Exception as error:  # Whatever it is, the thread is needed by the other dry runs.
                self._fail(waiting, error)

    def _rehearse(self, one: Decided, *, without_store: bool) -> None:
        outcome = self._asked(one, without_store=without_store)
        # From here on only publication is left, also after a kill.
        jobs.note_rehearsed(self._ledger, one.job.id, outcome.to_json())
        self._publish(replace(one, outcome=outcome))

    def _asked(self, one: Decided, *, without_store: bool) -> Outcome:
        if self._keeper is None:
            raise LookupError("there is no store; nobody is asked")
        # Its digest was not known yet when it was taken up.
        row = drops.get(self._ledger, one.drop.id)
        drop = describe(one.settings, self._ledger, one.job, row, row.sha256 or "").drop
        return self._keeper.rehearse(drop, one.staging, one.outcome, without_store=without_store)

    def _fail(self, waiting: Waiting, error: Exception) -> None:
        """It is tried again, at last without the store; where that fails too, its job is run again."""
        known = {"job": waiting.one.job.id, "tenant": waiting.one.job.tenant}
        told = str(error) if isinstance(error, StoreError) else repr(error)
        if self._stopping:
            return
        log.error("the store could not be asked about a dry run", error=told, **known)
        waiting.failures += 1
        if waiting.failures > TRIES_MAX:
            self._begin_anew(waiting.one, f"its report could not be finished: {told}")
            return
        pause = PAUSE_SECONDS * 2 ** (waiting.failures - 1) if waiting.failures < TRIES_MAX else 0
        waiting.due = time.monotonic() + pause
        with self._news:
            heapq.heappush(self._waiting, waiting)

    def _begin_anew(self, one: Decided, reason: str) -> None:
        """Each try counts, and the last one ends it."""
        try:
            jobs.try_again(self._ledger, one.job.id, reason, clock.now())
        except Exception:  # The ledger is locked, perhaps; the scan takes it up again.
            log.exception("a dry run could not be begun anew", job=one.job.id)
        self._let_go([one.job])
