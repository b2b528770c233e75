"""Sweeping while the gateway serves: at start and every hour, in a thread of its own."""

from __future__ import annotations

import threading

import structlog

from gateway import clock
from gateway.config import LiveSettings
from gateway.ledger import Ledger
from gateway.locks import keeping
from gateway.retention.originals import finish_purges
from gateway.retention.pins import unpin_all
from gateway.retention.sweep import sweep

log = structlog.get_logger()

SWEEP_SECONDS = 3600.0
AGAIN_SECONDS = 60.0
"""After a sweep that could not be done: while a backup is taken, nothing may be removed."""


class Sweeping:
    """The thread. What it does not finish, the next start goes on with."""

    def __init__(self, live: LiveSettings, ledger: Ledger) -> None:
        self._live = live
        self._ledger = ledger
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sweep_on, name="sweep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _sweep_on(self) -> None:
        begun = False
        while not self._stopping.is_set():
            seconds = AGAIN_SECONDS
            try:
                with keeping(self._live.current.data_dir, wait=False) as had:
                    if had and not begun:
                        unpin_all(self._live.current)
                        finish_purges(self._live.current, self._ledger)
                        begun = True
                    if had:
                        sweep(self._live.current, self._ledger, clock.now(), self._stopping.is_set)
                        seconds = SWEEP_SECONDS
            except Exception:  # Whatever it is, the next sweep must come.
                log.exception("the sweep failed; the next one comes")
            self._stopping.wait(seconds)
