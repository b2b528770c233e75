"""Batches: a worker gets several small drops at once, and each of them fares as if it were alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.engine import TOGETHER_SECONDS, Answer, Engine, Task
from gateway.ledger.jobs import SMALL_BYTES
from gateway.pickup.batch import TOGETHER_MAX
from gateway.pickup.describe import describe
from gateway.pickup.scan import Scan
from tests.pickup.conftest import Site

pytestmark = pytest.mark.timeout(60)


def rows(name: str) -> bytes:
    """A file like no other."""
    return f"identity,Name\n{name},Ann\n".encode()


class NotingEngine(Engine):
    """Notes which files each of its workers gets at once. Its worker comes no further than the file `stuck`."""

    def __init__(self, folder: Path, stuck: str = "") -> None:
        super().__init__(1)
        self.batches: list[list[str]] = []
        self.stuck = stuck
        self.pipe = folder / "pipe"

    def run(self, tasks: Sequence[Task], on_answer: Callable[[int], None], *, patient: bool = False) -> list[Answer]:
        names = [task.drop.name for task in tasks]
        self.batches.append(names)
        if self.stuck not in names or self.pipe.exists():
            return super().run(tasks, on_answer)
        os.mkfifo(self.pipe)
        at = names.index(self.stuck)
        stuck = replace(tasks[at], drop=replace(tasks[at].drop, path=self.pipe))

        def hear(left: int) -> None:
            on_answer(left)
            if left == len(tasks) - at:
                self.at_the_stuck()

        return super().run([*tasks[:at], stuck, *tasks[at + 1 :]], hear)

    def at_the_stuck(self) -> None:
        """All before it are judged."""


class DyingEngine(NotingEngine):
    """Its worker is killed there."""

    def at_the_stuck(self) -> None:
        os.kill(self.worker_pids()[0], signal.SIGKILL)


class SlowEngine(NotingEngine):
    """Its worker goes on when so much time is over that it begins no further file, and finds nothing it can read."""

    def at_the_stuck(self) -> None:
        threading.Timer(TOGETHER_SECONDS + 0.1, lambda: self.pipe.open("w").close()).start()


def queue(site: Site, names: Sequence[str], content: Callable[[str], bytes] = rows, feed: str = "profiles") -> None:
    """All of them before the first is begun."""
    for name in names:
        site.upload(name, content(name), feed)
    Scan(site.live, site.ledger).claim_settled()


def tries(site: Site) -> dict[str, int]:
    return {job.filename: job.tries for job in site.jobs()}


def test_small_drops_that_wait_are_begun_together_and_each_has_its_own_report(site: Any, tmp_path: Path) -> None:
    names = [f"{number:02}.csv" for number in range(TOGETHER_MAX + 3)]
    queue(site, names)
    engine = NotingEngine(tmp_path)
    with site.picking_up(engine):
        assert {job.status for job in site.ended(len(names))} == {"completed"}
    assert engine.batches[0] == names[:TOGETHER_MAX]
    assert [site.report(name)["accepted_rows"] for name in names] == [1] * len(names)
    passed = ["queued", "validating", "processing", "pending_refresh", "completed"]
    # On a machine that is very slow the last of a batch may have come back once.
    assert all(site.transitions(job.id)[-5:] == passed for job in site.jobs())


def test_a_drop_that_is_not_small_goes_alone_and_the_order_stays(site: Any, tmp_path: Path) -> None:
    large = b"identity,Name\n" + b"ann,%s\n" % (b"x" * SMALL_BYTES)
    names = ["a.csv", "b.csv", "large.csv", "c.csv", "d.csv"]
    queue(site, names, lambda name: large if name == "large.csv" else rows(name))
    engine = NotingEngine(tmp_path)
    with site.picking_up(engine):
        site.ended(5)
    assert engine.batches == [["a.csv", "b.csv"], ["large.csv"], ["c.csv", "d.csv"]]


def test_of_drops_with_the_same_bytes_in_one_batch_the_later_ones_are_duplicates(site: Any, tmp_path: Path) -> None:
    queue(site, ["a.csv", "b.csv", "c.csv", "d.csv"], lambda name: rows("same" if name != "b.csv" else name))
    engine = NotingEngine(tmp_path)
    with site.picking_up(engine):
        found = {job.filename: job for job in site.ended(4)}
    assert [found[name].duplicate_of for name in ("a.csv", "b.csv")] == [None, None]
    assert {found[name].duplicate_of for name in ("c.csv", "d.csv")} == {found["a.csv"].id}
    assert engine.batches == [["a.csv", "b.csv"], ["c.csv"], ["d.csv"]]


def test_when_a_worker_dies_only_the_drop_that_it_was_at_has_used_a_try(site: Any, tmp_path: Path) -> None:
    queue(site, ["a.csv", "b.csv", "c.csv", "d.csv"])
    with site.picking_up(DyingEngine(tmp_path, "c.csv")):
        found = site.ended(4)
    assert {job.status for job in found} == {"completed"}
    assert tries(site) == {"a.csv": 1, "b.csv": 1, "c.csv": 2, "d.csv": 1}
    again = next(job for job in found if job.filename == "a.csv")
    assert site.transitions(again.id).count("queued") == 2, "what it had judged might not have been durable"


def test_what_comes_behind_a_drop_that_takes_long_returns_to_the_queue(site: Any, tmp_path: Path) -> None:
    queue(site, ["a.csv", "slow.csv", "z.csv"])
    engine = SlowEngine(tmp_path, "slow.csv")
    with site.picking_up(engine):
        found = {job.filename: job for job in site.ended(3)}
    assert {job.status for job in found.values()} == {"completed"}
    assert tries(site) == {"a.csv": 1, "slow.csv": 2, "z.csv": 1}
    assert [site.transitions(found[name].id).count("queued") for name in ("a.csv", "z.csv")] == [1, 2]


def test_whoever_waits_for_a_worker_hears_that_the_engine_was_stopped(site: Any, tmp_path: Path) -> None:
    site.upload("a.csv")
    with site.picking_up():
        site.ended()
    engine = Engine(1)
    engine.start()
    os.kill(engine.worker_pids()[0], signal.SIGSTOP)
    answers: list[str] = []
    (job,) = site.jobs()
    row = site.drop(job.drop_id)
    task = Task(describe(site.settings, site.ledger, job, row, str(row.sha256)).drop, tmp_path)

    def run() -> None:
        answers.extend(type(answer).__name__ for answer in engine.run([task], lambda left: None))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    engine.stop()
    for thread in threads:
        thread.join()
    assert answers == ["EngineStopped", "EngineStopped"]
