"""The engine: runs jobs in local worker processes, so that a drop that kills its worker kills nothing else.

Each worker has a pipe of its own and shares no lock and no queue with the others: a worker that is killed, idle
or at work, can neither block nor break another one. (A pool with a shared queue cannot promise that.) While a job
runs its worker is watched, and ended when it takes more memory or time than a drop may have.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path

from gateway.allowance import UNLIMITED, Allowance
from gateway.durable import together
from gateway.errors import DropRefused, GatewayError, WorkerDied
from gateway.pipeline.drop import Drop, Outcome, Suspect

SPAWN = get_context("spawn")
READY = "ready"
LASTS = "lasts"
"""What `on_progress` hears when the worker has been at it for a look and goes on: it is no job of a few moments."""
PATIENT_NICENESS = 15
START_TRIES = 3
"""So many workers may end while they warm up, one after the other, before the gateway gives up."""
# A worker fills some hundred megabytes in that time at most, and a look costs microseconds.
LOOK_SECONDS = 0.05
OOM_SCORE = "1000"
GARBAGE_OBJECTS = 100_000
# Polars' allocator keeps freed memory for some seconds: a job that takes it back from the system for each chunk
# spends a fifth of its time on page faults.
ALLOCATOR = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:5000,muzzy_decay_ms:5000"}

TOGETHER_SECONDS = 0.5
"""Of several jobs that a worker has got at once none begins later than this: they were not as short as they looked."""

Progress = Callable[[str], None]


class EngineStopped(WorkerDied):
    """The engine was stopped while the job ran."""


class PipelineCrashed(GatewayError):
    """The pipeline raised: a bug of ours. The message is the error's type and where it was raised.

    The error's own message is left out, because it may quote the partner's rows.
    """


@dataclass(frozen=True, slots=True)
class Crash:
    """What a worker sends when the pipeline raised."""

    where: str


def unheard(word: str) -> None:
    """Where nobody is to hear of progress."""


@dataclass(frozen=True, slots=True)
class Task:
    """One job for a worker; `on_progress` hears how it goes."""

    drop: Drop
    staging: Path
    on_progress: Progress = unheard


Answer = Outcome | Suspect | DropRefused | WorkerDied | PipelineCrashed | None
"""What became of a task. It took more memory or time than a job may (DropRefused), the worker ended before its outcome
was durable (WorkerDied), `Engine.stop` ended it (EngineStopped), or the pipeline raised (PipelineCrashed). None where
it is to be run again: the tasks before it took too long, or the worker ended at another one."""


class Engine:
    """`workers` warm processes, and perhaps a patient one, which gets what the others leave of the machine; each runs
    one job at a time, within the allowance. `run` may be called from any thread."""

    def __init__(self, workers: int, allowance: Allowance = UNLIMITED, *, patient: bool = False) -> None:
        self._size = workers
        self._allowance = allowance
        self.has_patient = patient
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._idle_patient: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._all: set[Worker] = set()
        self._first: Worker | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def launch(self) -> None:
        """Start the first worker, which warms up while the caller goes on."""
        self._first = self._new_worker(patient=False)

    def start(self) -> None:
        """Return when a job would find a warm worker; the others warm up after it. WorkerDied when none gets warm.

        One after the other, because they would only keep each other waiting, and the gateway that starts.
        """
        self._idle.put(self._warm(self._first or self._new_worker(patient=False), START_TRIES))
        others = [self._new_worker(patient=False) for _ in range(self._size - 1)]
        others += [self._new_worker(patient=True) for _ in range(self.has_patient)]
        threading.Thread(target=self._welcome, args=(others,), name="warming", daemon=True).start()

    def _warm(self, worker: Worker, tries: int) -> Worker:
        """The worker when it is ready, or another in its place: partners are logged in by now, and the one that was
        killed may have been the first that the machine could spare."""
        try:
            worker.wait_until_ready()
        except WorkerDied:
            if tries == 1:
                raise
            return self._warm(self._replace(worker), tries - 1)
        return worker

    def _welcome(self, workers: list[Worker]) -> None:
        """Give each its first job when it is warm. The first job of one that died replaces it."""
        for worker in workers:
            with suppress(WorkerDied):
                worker.wait_until_ready()
            self._idle_of(worker.patient).put(worker)

    def run(self, tasks: Sequence[Task], on_answer: Callable[[int], None], *, patient: bool = False) -> list[Answer]:
        """Run jobs in one worker, or in the patient one, one after the other; waits for an idle one.

        An answer for each task. `on_answer` hears, when one has been judged, how many of the tasks have not.
        """
        idle = self._idle_of(patient)
        worker = idle.get()
        answers: list[Answer] = []

        def take(answer: Answer) -> None:
            answers.append(answer)
            on_answer(len(tasks) - len(answers))

        try:
            if not worker.is_alive():
                worker = self._replace(worker)
            worker.run(tasks, take, self._allowance)
        except (DropRefused, WorkerDied) as ended:
            answers = ended_at(len(answers), len(tasks), ended)
            try:
                worker = self._replace(worker)
            except EngineStopped as stopped:
                # Whoever waits for this worker is to hear of it too.
                answers = [stopped for _ in tasks]
        except BaseException:
            idle.put(self._replace(worker))
            raise
        idle.put(worker)
        return [*answers, *(None for _ in tasks[len(answers) :])]

    def stop(self) -> None:
        """End every worker at once, also those at work."""
        with self._lock:
            self._stopped = True
            for worker in self._all:
                worker.end()

    def worker_pids(self) -> list[int]:
        """The process ids of the workers."""
        with self._lock:
            return sorted(worker.pid for worker in self._all)

    def _idle_of(self, patient: bool) -> queue.SimpleQueue[Worker]:
        return self._idle_patient if patient else self._idle

    def _new_worker(self, *, patient: bool) -> Worker:
        with self._lock:
            if self._stopped:
                raise EngineStopped("the engine was stopped")
            worker = Worker(patient=patient)
            self._all.add(worker)
            return worker

    def _replace(self, worker: Worker) -> Worker:
        """A new worker in the place of one that died, or that nobody can trust any more."""
        worker.end()
        with self._lock:
            self._all.discard(worker)
        return self._new_worker(patient=worker.patient)


def ended_at(judged: int, tasks: int, error: DropRefused | WorkerDied) -> list[Answer]:
    """The answers of a worker that ended when it had judged so many, which need not be durable.

    It ended at the next one; when it had judged all, nobody knows at which.
    """
    found: list[Answer] = [None] * judged
    return [*found, error] if judged < tasks else [error for _ in found]


class Worker:
    """One worker process and our end of its pipe."""

    def __init__(self, *, patient: bool) -> None:
        self.patient = patient
        self._pipe, theirs = SPAWN.Pipe()
        niceness = PATIENT_NICENESS if patient else 0
        self._process = SPAWN.Process(target=work, args=(theirs, niceness), name="gateway-worker", daemon=True)
        # A spawned process has the environment of this one.
        os.environ |= {name: value for name, value in ALLOCATOR.items() if name not in os.environ}
        self._process.start()
        # With their end closed here, the end of the process is the end of the pipe.
        theirs.close()
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def wait_until_ready(self) -> None:
        while not self._ready:
            self._ready = self._receive() == READY

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def run(self, tasks: Sequence[Task], take: Callable[[Answer], None], allowance: Allowance) -> None:
        """`take` gets the answers as they come; what they tell of is durable when this returns.

        Raises DropRefused for a job that takes more than the allowance; this worker is then still at it.
        """
        self.wait_until_ready()
        try:
            self._pipe.send([(task.drop, task.staging) for task in tasks])
        except OSError as error:
            raise WorkerDied("the worker process ended before the job began") from error
        for task in tasks:
            if (answer := self._answer(task.on_progress, allowance)) is None:
                return
            take(answer)
        # All are judged; what is left is to make them durable.
        self._answer(unheard, allowance)

    def _answer(self, on_progress: Progress, allowance: Allowance) -> Answer:
        """What came of the job that the worker is at; None when it begins no further one and all is durable."""
        began = time.monotonic()
        while True:
            while not self._pipe.poll(LOOK_SECONDS):
                allowance.check(self.pid, time.monotonic() - began)
                on_progress(LASTS)
            answer = self._receive()
            if isinstance(answer, Crash):
                return PipelineCrashed(answer.where)
            if not isinstance(answer, str):
                return answer
            on_progress(answer)

    def end(self) -> None:
        """Kill the process. Whoever waits for its answer finds the pipe at its end."""
        self._process.kill()
        self._process.join()

    def _receive(self) -> Outcome | Suspect | Crash | str | None:
        try:
            answer: Outcome | Suspect | Crash | str | None = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise WorkerDied(f"the worker process ended in the middle ({self._how_it_ended()})") from error
        return answer

    def _how_it_ended(self) -> str:
        code = self._process.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def work(pipe: Connection, niceness: int) -> None:
    """The main function of a worker process: jobs come in by the pipe, progress and outcomes go out."""
    os.nice(niceness)
    # A Ctrl-C in the gateway's terminal reaches every process, and so does the SIGTERM with which systemd stops a
    # service; the gateway drains, and decides about its workers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Should the machine itself run out of memory, the kernel is to end a worker, not the gateway.
    Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    threading.Thread(target=end_with_parent, name="parent-watch", daemon=True).start()
    # Nothing of what is imported becomes garbage, and to look for it costs a tenth of the time.
    gc.disable()
    # Only here: the gateway that starts this process does without polars.
    from gateway.pipeline.warm import warm_up

    warm_up()
    # What is loaded by now stays. To look for garbage in it, and often, took a fifteenth of a small job's time.
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)
    gc.enable()
    pipe.send(READY)
    while True:
        try:
            tasks = pipe.recv()
        except (EOFError, ConnectionError):
            return
        began = time.monotonic()
        with together():
            for place, (drop, staging) in enumerate(tasks):
                if place and time.monotonic() - began > TOGETHER_SECONDS:
                    break
                pipe.send(answer_of(drop, staging, pipe.send))
        pipe.send(None)


def answer_of(drop: Drop, staging: Path, progress: Progress) -> Outcome | Suspect | Crash:
    """The worker's answer."""
    # In a worker only: the gateway that starts this process does without polars.
    from gateway.pipeline.process import process

    try:
        return process(drop, staging, progress)
    except Exception as error:
        return Crash(where_it_was_raised(error))


def end_with_parent() -> None:
    """A worker without its gateway must not go on writing: another gateway may have the job by then."""
    gateway = parent_process()
    if gateway is not None:
        gateway.join()
        os._exit(1)


def where_it_was_raised(error: BaseException) -> str:
    """`KeyError in order.py:31 sort_rows`, for each error of the chain, the outermost first."""
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    places = "".join(f" in {Path(one.filename).name}:{one.lineno} {one.name}" for one in frame)
    cause = error.__cause__ or error.__context__
    return f"{type(error).__name__}{places}" + (f", from {where_it_was_raised(cause)}" if cause else "")
