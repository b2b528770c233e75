"""The lock of the ledger's connection: whoever has waited for too long is next.

Python's own locks go to whoever asks first once they are free, which mostly is the thread that just had it: a busy
upload could keep a job from its next step for seconds. Strict turns would cost a switch of threads for each query.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

PATIENCE_SECONDS = 0.02


class TurnLock:
    """Reentrant. Free for whoever comes, until one has waited for PATIENCE_SECONDS: then it is his."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._owner: int | None = None
        self._depth = 0
        self._waiting: dict[int, float] = {}
        """Since when, by thread; the first has waited for longest."""

    def __enter__(self) -> None:
        me = threading.get_ident()
        if self._owner == me:
            self._depth += 1
            return
        with self._changed:
            if not self._may_take(me):
                self._waiting[me] = time.monotonic()
                # The time-out is for the one who becomes the next while nobody tells.
                while not self._may_take(me):
                    self._changed.wait(PATIENCE_SECONDS)
                del self._waiting[me]
            self._owner, self._depth = me, 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            with self._changed:
                self._owner = None
                if self._waiting:
                    self._changed.notify_all() if self._is_overdue() else self._changed.notify()

    def _may_take(self, me: int) -> bool:
        return self._owner is None and (not self._is_overdue() or next(iter(self._waiting)) == me)

    def _is_overdue(self) -> bool:
        first = next(iter(self._waiting.values()), None)
        return first is not None and time.monotonic() - first > PATIENCE_SECONDS
