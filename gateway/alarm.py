"""The alarm: tells of each quarantined drop by the command that `on_quarantine` names.

At least once: it is noted in the ledger when the command has ended, so that a gateway that is killed before starts it
again. A command that fails is logged and not repeated; the drop stays in `gateway jobs` and `gateway doctor`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence

import structlog

from gateway import clock
from gateway.config import LiveSettings
from gateway.ledger import Ledger, jobs, quarantine
from gateway.ledger.quarantine import Quarantined

log = structlog.get_logger()

POLL_SECONDS = 0.5
COMMAND_SECONDS_MAX = 60.0
STOP_SECONDS = 2.0
SAID_CHARACTERS_MAX = 300


class Alarm:
    """One thread beside the slots, so that a command that hangs keeps no job waiting."""

    def __init__(self, live: LiveSettings, ledger: Ledger, seconds_max: float = COMMAND_SECONDS_MAX) -> None:
        self._live = live
        self._ledger = ledger
        self._seconds_max = seconds_max
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="alarm", daemon=True)

    def start(self) -> None:
        if waiting := quarantine.quarantined(self._ledger):
            log.error("drops are quarantined; `gateway jobs` lists them", count=len(waiting))
        self._thread.start()

    def stop(self) -> None:
        """A command that runs has a moment to end; else it is ended, and started again at the next start."""
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        change = None
        while not self._stopping.is_set():
            try:
                if change != (change := self._ledger.change()):
                    self._tell_all(self._live.current.gateway.pickup.on_quarantine)
            except Exception:  # Whatever it is, the next quarantine must be told.
                log.exception("the alarm failed; the next round tries again")
                change = None
            self._stopping.wait(POLL_SECONDS)

    def _tell_all(self, command: Sequence[str]) -> None:
        for one in quarantine.untold(self._ledger) if command else ():
            if self._stopping.is_set():
                return
            if self._tell(command, one):
                quarantine.note_told(self._ledger, one, clock.now())

    def _tell(self, command: Sequence[str], one: Quarantined) -> bool:
        """False when it is to be told again, as the gateway stops before the command's end."""
        facts = jobs.get(self._ledger, one.job_id).to_dict() | {"reason": one.reason}
        # Files instead of pipes: a command that does not read, or writes much, blocks nobody.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(json.dumps(facts).encode() + b"\n")
            given.seek(0)
            try:
                process = subprocess.Popen(
                    command, stdin=given, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
                )
            except OSError as error:
                log.error("quarantine command cannot be started", job=one.job_id, error=str(error))
                return True
            code = self._wait(process)
            if code:
                how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
                log.error("quarantine command failed", job=one.job_id, how=how, said=last_words(said.fileno()))
            return code is not None

    def _wait(self, process: subprocess.Popen[bytes]) -> int | None:
        """Its exit code; None when the gateway stops before its end. Its whole group ends with its time."""
        deadline = time.monotonic() + self._seconds_max
        while True:
            try:
                return process.wait(0.1)
            except subprocess.TimeoutExpired:
                late = time.monotonic() > deadline
                if not late and not self._stopping.is_set():
                    continue
            if not late:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(STOP_SECONDS)
            log.error("quarantine command is ended: it runs for too long", stopping=not late)
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            return code if late else None


def last_words(descriptor: int) -> str:
    """The end of what a command wrote."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, SAID_CHARACTERS_MAX, max(size - SAID_CHARACTERS_MAX, 0)).decode("utf-8", "replace")
