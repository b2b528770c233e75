"""The storekeeper: a process that resolves staged jobs against the store and commits them, one tenant at a time.

It is the only process of a gateway that writes to the store: who serves SFTP imports neither polars nor deltalake. One
that dies is replaced; what it had in hand is begun again, and the tables themselves say what of it was there already.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from gateway.engine import ALLOCATOR, READY, SPAWN, Crash, PipelineCrashed
from gateway.errors import StoreUnreachable, WorkerDied
from gateway.pipeline.drop import Drop, Outcome
from gateway.storekeeping import (
    Answer,
    Commit,
    Made,
    Make,
    Question,
    Rehearse,
    Rehearsed,
    Resolve,
    Resolved,
    Tend,
    Tended,
    Unavailable,
    keep,
)

A = TypeVar("A", Resolved, Made, Tended, Rehearsed)


class Storekeeper:
    """Our end of the process. From any thread; one question is answered after the other."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._url = url
        self._options = dict(options)
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._keeper: Keeper | None = None
        self._stopped = False

    def launch(self) -> None:
        """Start the process, which warms up meanwhile."""
        self._living()

    def resolve(self, commit: Commit, outcomes: Mapping[str, Outcome], drops: Mapping[str, Drop]) -> Resolved:
        """Decide the outcomes of a commit's jobs.

        Raises StoreUnreachable, WorkerDied when the process ended, and PipelineCrashed for a bug of ours.
        """
        return self._ask(Resolve(commit, outcomes, drops), Resolved)

    def make(self, commit: Commit) -> None:
        """Put a resolved commit into the store; what is there of it already stays. Raises as `resolve`."""
        self._ask(Make(commit), Made)

    def tend(self, tenant: str) -> None:
        """Compact and clear away what is due in a tenant's store. Raises as `resolve`."""
        self._ask(Tend(tenant), Tended)

    def rehearse(self, drop: Drop, staging: Path, outcome: Outcome, *, without_store: bool = False) -> Outcome:
        """The outcome of a dry run, with what the store would make of it, or without. Raises as `resolve`."""
        return self._ask(Rehearse(drop, staging, outcome, without_store), Rehearsed).outcome

    def stop(self) -> None:
        """End the process at once, also when it is at work."""
        with self._lock:
            self._stopped = True
            if self._keeper is not None:
                self._keeper.end()

    def pid(self) -> int | None:
        """The process's id, None when none runs."""
        with self._lock:
            return self._keeper.pid if self._keeper is not None and self._keeper.is_alive() else None

    def _ask(self, question: Question, kind: type[A]) -> A:
        with self._asking:
            answer = self._living().ask(question)
        if isinstance(answer, Unavailable):
            raise StoreUnreachable(answer.message, hint=answer.hint)
        if isinstance(answer, Crash):
            raise PipelineCrashed(answer.where)
        if not isinstance(answer, kind):
            raise WorkerDied("the storekeeper has answered another question")
        return answer

    def _living(self) -> Keeper:
        """The process, or a new one in its place when it has died."""
        with self._lock:
            if self._stopped:
                raise WorkerDied("the storekeeper was stopped")
            if self._keeper is None or not self._keeper.is_alive():
                self._keeper = Keeper(self._url, self._options)
            return self._keeper


class Keeper:
    """One process and our end of its pipe."""

    def __init__(self, url: str, options: dict[str, str]) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        os.environ |= {name: value for name, value in ALLOCATOR.items() if name not in os.environ}
        self._process = SPAWN.Process(target=keep, args=(theirs, url, options), name="gateway-store", daemon=True)
        self._process.start()
        # With their end closed here, the end of the process is the end of the pipe.
        theirs.close()
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def ask(self, question: Question) -> Answer:
        """WorkerDied when the process ends before it answers."""
        try:
            while not self._ready:
                self._ready = self._pipe.recv() == READY
            self._pipe.send(question)
            answer: Answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise WorkerDied(f"the storekeeper ended in the middle (exit code {self._process.exitcode})") from error
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.join()
