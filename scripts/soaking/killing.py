"""The supervisor: ends the gateway at random moments and in random ways, and starts it again at once."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter

from scripts.gateways.process import DoesNotServe
from scripts.soaking.site import Site

WAYS = ("group", "group", "main", "main", "main", "worker", "worker", "start", "SIGTERM")
"""The whole process group, the main process, one worker, the main process while it starts; or it is asked to end."""
SECONDS_BETWEEN = (0.5, 5.0)
AT_ONCE_SHARE = 0.5
AT_ONCE_SECONDS_MAX = 2.0
"""So many blows wait for a client that is just told that its file is in: that is when it must be safe."""


class Supervisor(threading.Thread):
    """Kills until it is told to stop. `survived` counts by way; `serving` is set while the gateway accepts.

    Clients set `acknowledged` whenever they are told that a file is in.
    """

    def __init__(self, site: Site, seed: str, seconds: float) -> None:
        super().__init__(name="supervisor", daemon=True)
        self.site = site
        self.survived: Counter[str] = Counter()
        self.unclean_stops = 0
        self.failure: str | None = None
        self.serving = threading.Event()
        self.acknowledged = threading.Event()
        self.ended = threading.Event()
        self._pick = random.Random(f"{seed} kills")
        self._deadline = time.monotonic() + seconds

    def run(self) -> None:
        try:
            self.serving.set()
            while not self._is_over(self._pick.uniform(*SECONDS_BETWEEN)):
                way = self._pick.choice(WAYS)
                if self._pick.random() < AT_ONCE_SHARE:
                    self.acknowledged.clear()
                    self.acknowledged.wait(AT_ONCE_SECONDS_MAX)
                if self._strike(way):
                    self.survived[way] += 1
        except DoesNotServe as error:
            self.failure = str(error)
            self._deadline = 0
        finally:
            self.ended.set()

    def _is_over(self, seconds: float) -> bool:
        """Let the gateway serve for some seconds; whether the time is up."""
        until = time.monotonic() + seconds
        while (left := min(until, self._deadline) - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
            if not self.site.is_alive():
                raise DoesNotServe(f"the gateway ended by itself; its log is {self.site.log}")
        return time.monotonic() >= self._deadline

    def _strike(self, way: str) -> bool:
        """One blow, and the gateway serves again; False when there was nothing to hit."""
        if way == "worker":
            return self._strike_worker()
        self.serving.clear()
        if way == "SIGTERM":
            self.unclean_stops += not self.site.stop()
        else:
            self.site.kill(group=way == "group")
        if way == "start":
            self.site.begin()
            time.sleep(self._pick.uniform(0.1, 2.0))
            self.site.kill(group=False)
        self.site.start()
        self.serving.set()
        return True

    def _strike_worker(self) -> bool:
        workers = self.site.workers()
        if not workers:
            return False
        os.kill(self._pick.choice(workers), signal.SIGKILL)
        return True
