"""A gateway in which something fails: `python -m tests.faults.faulty serve …` is `gateway serve` with faults in it.

Nothing fails until a test says so, in the folder that FAULTS names. Workers are spawned, and run this module as well,
under another name. Gateway and workers have their own faults each, so that neither imports what only the other needs:
hundreds of gateways are started so.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.faults.errors import ERRORS, OF_THE_CLIENT, TEMPORARY
from tests.faults.points import COMMITTED, CRASHES, Point

FOLDER = Path(os.environ["FAULTS"])
VICTIM = "gateway" if __name__ == "__main__" else "worker"
calls: Counter[str] = Counter()


def armed() -> list[str]:
    """The names of the points at which something is to fail, in their order."""
    try:
        return (FOLDER / "armed").read_text().splitlines()
    except FileNotFoundError:
        return []


def come_by(point: Point, caller: Any) -> None:
    """Fail here, if it is this point's turn. Each point that is armed fails once."""
    if point.inside and (caller.f_globals["__name__"], caller.f_code.co_name) != (point.module, point.inside):
        return
    names = armed()
    if point.name not in names:
        return
    calls[point.name] += 1
    if calls[point.name] < point.nth:
        return
    calls[point.name] = 0
    names.remove(point.name)
    (FOLDER / "armed.new").write_text("".join(f"{name}\n" for name in names))
    os.replace(FOLDER / "armed.new", FOLDER / "armed")
    if point.errno is not None:
        raise OSError(point.errno, os.strerror(point.errno))
    os.kill(os.getpid(), signal.SIGKILL)


def failing(function: Callable[..., Any], points: list[Point]) -> Callable[..., Any]:
    def fails(*arguments: Any, **keywords: Any) -> Any:
        caller = sys._getframe(1)
        for point in points:
            if point.when == "before":
                come_by(point, caller)
        result = function(*arguments, **keywords)
        for point in points:
            if point.when == "after":
                come_by(point, caller)
        return result

    return fails


def place(points: Iterable[Point]) -> None:
    """Put the points where they are; those of one function together, so that each knows who called it."""
    places: defaultdict[tuple[int, str], list[Point]] = defaultdict(list)
    owners: dict[int, Any] = {}
    for point in points:
        owner: Any = importlib.import_module(point.module)
        *path, name = point.function.split(".")
        for part in path:
            owner = getattr(owner, part)
        owners[id(owner)] = owner
        places[id(owner), name].append(point)
    for (owner_id, name), there in places.items():
        setattr(owners[owner_id], name, failing(getattr(owners[owner_id], name), there))


def setting(name: str) -> float:
    """A number that a test has set; 0 where it has not."""
    try:
        return float(json.loads((FOLDER / "settings.json").read_text()).get(name, 0))
    except FileNotFoundError:
        return 0


def move_the_clock() -> None:
    """`clock_seconds` is by how much the clock is off."""
    clock: Any = importlib.import_module("gateway.clock")
    true = clock.now
    clock.now = lambda: true() + timedelta(seconds=setting("clock_seconds"))


def lose_patience() -> None:
    """`busy_seconds` is how long the ledger's lock is waited for."""
    if seconds := setting("busy_seconds"):
        connection: Any = importlib.import_module("gateway.ledger.connection")
        connection.BUSY_SECONDS = seconds


def limit_memory() -> None:
    """`memory_bytes` is how much a worker may take beyond what it has when it is ready."""
    warm: Any = importlib.import_module("gateway.pipeline.warm")
    warm_up = warm.warm_up

    def warm_up_and_limit() -> None:
        warm_up()
        if more := int(setting("memory_bytes")):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + more
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    warm.warm_up = warm_up_and_limit


def contribute() -> None:
    """`contributes` is whether jobs leave something for the store."""
    process: Any = importlib.import_module("gateway.pipeline.process")
    undisturbed = process.process

    def processed(drop: Any, staging: Path, *arguments: Any) -> Any:
        outcome = undisturbed(drop, staging, *arguments)
        if setting("contributes"):
            from tests.contributions import people_and_visits

            return people_and_visits(drop, staging, outcome)
        return outcome

    process.process = processed


place(point for point in (*CRASHES, *COMMITTED, *ERRORS, OF_THE_CLIENT, TEMPORARY) if point.victim == VICTIM)
move_the_clock()
if VICTIM == "worker":
    limit_memory()
    contribute()
else:
    lose_patience()
    from gateway.cli import gateway

    gateway(prog_name="gateway")
