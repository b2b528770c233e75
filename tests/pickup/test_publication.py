"""Publication: jobs end together, and one that cannot be published keeps no other from its end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gateway.engine import LASTS, Answer, Engine, Task
from tests.pickup.conftest import Site
from tests.waiting import until


class LongEngine(Engine):
    """Its jobs last: what the ledger says of them before and after a look is in `seen`."""

    def __init__(self, site: Site) -> None:
        super().__init__(1)
        self.site = site
        self.seen: list[str] = []

    def run(self, tasks: Sequence[Task], on_answer: Callable[[int], None], *, patient: bool = False) -> list[Answer]:
        for word in ("processing", LASTS):
            tasks[0].on_progress(word)
            self.seen += [job.status for job in self.site.jobs()]
        return super().run([Task(task.drop, task.staging) for task in tasks], on_answer)


def test_an_outbox_that_cannot_be_written_keeps_no_other_job_from_its_end(site: Any) -> None:
    blocked = site.outbox.parent / "latest"
    blocked.rmdir()
    blocked.write_text("not a folder")
    with site.picking_up():
        site.upload("blocked.csv", feed="latest")
        others = [site.upload(f"{number}.csv", feed="repeats") for number in range(9)]
        until(lambda: {site.state(drop_id) for drop_id in others} == {"done"})
        until(lambda: [job.status for job in site.jobs() if job.feed == "latest"] == ["pending_refresh"])
        blocked.unlink()
        assert {job.status for job in site.ended(10)} == {"completed"}
    assert site.report("blocked.csv", "latest")["status"] == "completed"


def test_what_a_short_job_went_through_is_written_with_its_outcome_and_of_a_long_one_at_once(site: Any) -> None:
    engine = LongEngine(site)
    with site.picking_up(engine):
        site.upload("long.csv")
        (long,) = site.ended()
    assert engine.seen == ["validating", "processing"]
    with site.picking_up():
        site.upload("short.csv", feed="repeats")
        _, short = site.ended(2)
    passed = ["queued", "validating", "processing", "pending_refresh", "completed"]
    assert site.transitions(long.id) == site.transitions(short.id) == passed


def test_a_job_that_was_requeued_at_once_is_in_the_hands_of_its_new_run_only(site: Any) -> None:
    """What the first run still does when it has ended must not take the second one out of anybody's hands."""
    with site.picking_up() as pickup:
        site.upload("a.csv")
        (job,) = site.ended()
        again = replace(job, status="queued")
        with pickup._work:
            pickup._running[job.id] = again
        pickup._see_ended([job])
        assert pickup._running == {job.id: again}
        pickup._see_ended([again])
        assert pickup._running == {}


def test_the_digest_of_a_drop_that_is_held_is_known(site: Any) -> None:
    with site.picking_up():
        drop_id = site.upload("cut.csv", content=b'identity,Name\nann,"An')
        until(lambda: site.state(drop_id) == "held")
    (row,) = site.ledger.rows("SELECT sha256 FROM drops WHERE id = ?", (drop_id,))
    assert row["sha256"] == hashlib.sha256(b'identity,Name\nann,"An').hexdigest()
