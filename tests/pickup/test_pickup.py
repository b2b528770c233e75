"""The whole pickup, with real worker processes: from a landing to a published result, also when workers die."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway import clock
from gateway.engine import Answer, Engine, EngineStopped, Task
from gateway.ledger import Ledger, drops, jobs, uploads
from gateway.pickup.claim import original_path, work_dir
from gateway.pickup.describe import describe
from gateway.pickup.landing import land
from gateway.pickup.scan import Scan
from gateway.pipeline.drop import Drop, Outcome
from tests.pickup.conftest import Site
from tests.waiting import until

PROFILES = b"identity,Name\nann,Ann\nbob,Bob\n"


class FatalEngine(Engine):
    """Its worker is killed in the middle of the first `deaths` jobs."""

    def __init__(self, deaths: int) -> None:
        super().__init__(1)
        self.deaths = deaths

    def run(self, tasks: Sequence[Task], on_answer: Callable[[int], None], *, patient: bool = False) -> list[Answer]:
        if self.deaths:
            self.deaths -= 1
            (worker,) = self.worker_pids()
            # Stopped first, so that it has the job and cannot end it before it is killed.
            os.kill(worker, signal.SIGSTOP)
            threading.Timer(0.1, os.kill, (worker, signal.SIGKILL)).start()
        return super().run(tasks, on_answer)


class StoppedEngine(Engine):
    """Its worker is stopped in the middle of every job; `began` is set when it has one."""

    def __init__(self) -> None:
        super().__init__(1)
        self.began = threading.Event()

    def run(self, tasks: Sequence[Task], on_answer: Callable[[int], None], *, patient: bool = False) -> list[Answer]:
        os.kill(self.worker_pids()[0], signal.SIGSTOP)
        self.began.set()
        return super().run(tasks, on_answer)


class MeetingEngine(Engine):
    """Its first two jobs wait for each other before they run, unless one of them is kept away."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.meeting = threading.Barrier(2)

    def run(self, tasks: Sequence[Task], on_answer: Callable[[int], None], *, patient: bool = False) -> list[Answer]:
        with suppress(threading.BrokenBarrierError):
            self.meeting.wait(0.5)
        return super().run(tasks, on_answer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_reaches_every_process_ends_no_worker(site: Site, number: int) -> None:
    engine = Engine(1)
    with site.picking_up(engine):
        site.upload("first.csv")
        site.ended(1)
        (worker,) = engine.worker_pids()
        os.kill(worker, number)
        site.upload("second.csv", PROFILES + b"cal,Cal\n")
        assert [job.tries for job in site.ended(2)] == [1, 1]
        assert engine.worker_pids() == [worker]


def test_a_landed_drop_becomes_a_published_result(site: Any) -> None:
    with site.picking_up() as pickup:
        drop_id = site.upload("2026/a.csv")
        pickup.wake()
        (job,) = site.ended()
    assert (job.status, job.total_rows, job.accepted_rows, job.tries) == ("completed", 2, 2, 1)
    assert site.drop(drop_id).state == "done"
    assert site.report("2026/a.csv")["job_id"] == job.id
    assert site.transitions(job.id) == ["queued", "validating", "processing", "pending_refresh", "completed"]
    assert not (work_dir(site.settings, job.id) / "out").exists()
    assert original_path(site.settings, job.id).read_bytes() == PROFILES


def test_a_file_that_a_local_program_moves_in_is_noticed_by_the_watch(make_site: Any, tmp_path: Path) -> None:
    site = make_site(scan_seconds=3600)
    with site.picking_up():
        site.upload("a.csv", b"identity\nzoe\n")
        site.ended()
        (tmp_path / "b.csv").write_bytes(PROFILES)
        subprocess.run(["mv", tmp_path / "b.csv", site.inbox], check=True)
        job = site.ended(2)[1]
    assert (job.filename, job.status, job.uploaded_by) == ("b.csv", "completed", None)


def test_generations_of_one_name_are_processed_in_order_and_both_published(site: Any) -> None:
    with site.picking_up() as pickup:
        first = site.upload("a.csv")
        pickup.claim_now(first)
        site.upload("a.csv", b"identity,Name\ncid,Cid\n")
        pickup.wake()
        one, two = site.ended(2)
    assert (one.drop_id, one.accepted_rows, two.accepted_rows) == (first, 2, 1)
    assert one.end_time <= two.start_time
    assert site.report("a.csv")["job_id"] == one.id
    assert site.report("a.csv.g2")["job_id"] == two.id


def test_a_job_waits_while_an_earlier_generation_is_unfinished(site: Any) -> None:
    for content in (b"identity\n1\n", b"identity\n2\n"):
        site.upload("a.csv", content)
        Scan(site.live, site.ledger).claim_settled()
    one, _two = site.jobs()
    (begun,) = jobs.begin_next(site.ledger, clock.now())
    assert begun.id == one.id
    assert jobs.begin_next(site.ledger, clock.now()) == []


def test_a_job_whose_worker_is_killed_is_tried_again_and_completed(site: Any) -> None:
    with site.picking_up(FatalEngine(deaths=1)):
        site.upload("a.csv")
        (job,) = site.ended()
    assert (job.status, job.tries, job.accepted_rows) == ("completed", 2, 2)
    assert site.transitions(job.id)[:4] == ["queued", "validating", "queued", "validating"]


def test_after_three_deaths_the_job_fails_and_the_report_says_that_it_is_our_fault(site: Any) -> None:
    with site.picking_up(FatalEngine(deaths=3)):
        site.upload("bad.csv")
        (job,) = site.ended()
        assert (job.status, job.tries, job.accepted_rows) == ("failed", 3, 0)
        assert "cut short 3 times" in job.reason_for_failure[0]
        assert site.report("bad.csv")["status"] == "failed"
        site.upload("good.csv")
        assert site.ended(2)[1].status == "completed"


def test_a_worker_that_dies_idle_costs_no_job_a_try(site: Any) -> None:
    engine = Engine(1)
    with site.picking_up(engine):
        os.kill(engine.worker_pids()[0], signal.SIGKILL)
        os.waitid(os.P_PID, engine.worker_pids()[0], os.WEXITED | os.WNOWAIT)
        site.upload("a.csv")
        (job,) = site.ended()
    assert (job.status, job.tries) == ("completed", 1)


def test_one_workers_death_leaves_the_other_ones_job_alone(site: Any, tmp_path: Path) -> None:
    site.upload("a.csv")
    with site.picking_up(Engine(1)):
        (job,) = site.ended()
    engine = Engine(2)
    engine.start()
    drop = described(site, job.id)
    answers: list[str] = []

    def run(number: int) -> None:
        staging = tmp_path / str(number)
        staging.mkdir()
        (answer,) = engine.run([Task(drop, staging)], lambda left: None)
        answers.append(answer.status if isinstance(answer, Outcome) else type(answer).__name__)

    victim, other = engine.worker_pids()
    for worker in (victim, other):
        os.kill(worker, signal.SIGSTOP)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    os.kill(victim, signal.SIGKILL)
    os.kill(other, signal.SIGCONT)
    for thread in threads:
        thread.join()
    engine.stop()
    assert sorted(answers) == ["WorkerDied", "completed"]


def test_stopping_drains_and_a_job_that_does_not_end_returns_to_the_queue(site: Any) -> None:
    engine = StoppedEngine()
    with site.picking_up(engine) as pickup:
        site.upload("a.csv")
        pickup.wake()
        assert engine.began.wait(20)
        pickup.stop(drain_seconds=0.1)
    (job,) = site.jobs()
    assert (job.status, job.tries) == ("queued", 0)
    with site.picking_up():
        assert site.ended()[0].status == "completed"


def test_a_stopped_engine_takes_no_job(site: Any, tmp_path: Path) -> None:
    engine = Engine(1)
    engine.start()
    engine.stop()
    site.upload("a.csv")
    with site.picking_up():
        (job,) = site.ended()
    (answer,) = engine.run([Task(described(site, job.id), tmp_path)], lambda left: None)
    assert isinstance(answer, EngineStopped)


def test_a_requeue_by_another_process_is_noticed_and_replaces_the_outcome(make_site: Any) -> None:
    site = make_site(scan_seconds=3600)
    with site.picking_up():
        site.upload("a.csv")
        (first,) = site.ended()
        until(lambda: not (work_dir(site.settings, first.id) / "out").exists())
        other = Ledger(site.settings.ledger_path)
        jobs.requeue(other, first.id, clock.now())
        other.close()
        (again,) = site.ended()
    assert (again.id, again.status, again.tries) == (first.id, "completed", 1)
    assert again.end_time > first.end_time
    assert site.transitions(first.id).count("completed") == 2
    assert site.drop(first.drop_id).state == "done"


@pytest.mark.rule("U44")
def test_a_requeued_job_takes_back_what_it_had_published(site: Any) -> None:
    with site.picking_up():
        site.upload("a.csv")
        (job,) = site.ended()
    assert any(".accepted." in path.name for path in site.outbox.iterdir())
    site.root.joinpath("tenants", "acme.toml").write_text("")
    site.live.refresh()
    jobs.requeue(site.ledger, job.id, clock.now())
    with site.picking_up():
        (again,) = site.ended()
    assert (again.status, again.accepted_rows) == ("failed", 0)
    assert not any(".accepted." in path.name for path in site.outbox.iterdir())


def test_same_bytes_again_are_told_to_the_pipeline_as_a_repeat_of_the_first_job(site: Any) -> None:
    with site.picking_up():
        site.upload("a.csv")
        site.upload("b.csv")
        one, two = site.ended(2)
    assert (one.duplicate_of, two.duplicate_of, two.accepted_rows) == (None, one.id, 0)


def test_same_bytes_at_the_same_time_are_processed_once(make_site: Any) -> None:
    site = make_site(workers=2)
    for name in ("a.csv", "b.csv"):
        site.upload(name)
    with site.picking_up(MeetingEngine(2)):
        one, two = site.ended(2)
    assert sorted((one.accepted_rows, two.accepted_rows)) == [0, 2]
    assert {one.duplicate_of, two.duplicate_of} == {None, one.id if one.accepted_rows else two.id}


def test_a_feed_that_processes_repeats_gets_them_as_new(site: Any) -> None:
    with site.picking_up():
        site.upload("a.csv", feed="repeats")
        site.upload("b.csv", feed="repeats")
        found = site.ended(2)
    assert [(job.duplicate_of, job.accepted_rows) for job in found] == [(None, 2), (None, 2)]


def test_a_drop_of_rejected_rows_names_the_job_that_it_repairs(site: Any) -> None:
    with site.picking_up():
        site.upload("a.csv")
        (first,) = site.ended()
        site.upload("a.csv.rejected.csv", b"identity,Name\nzoe,Zoe\n")
        _, repair = site.ended(2)
    assert repair.repairs == first.id


def test_a_repaired_job_says_by_whom_it_was_repaired_and_how_far(site: Any) -> None:
    with site.picking_up():
        site.upload("a.csv", b"identity,Phone\n1,no\n2,no\n3,no\n4,4\n")
        site.ended()
        site.upload("a.csv.rejected.csv", b"identity,Phone\n1,11\n2,no\n3,33\n")
        first, repair = site.ended(2)
        assert (first.repaired_by, first.repaired_rows, first.rejected_rows) == ("ann@acme.example", 2, 3)
        jobs.requeue(site.ledger, repair.id, clock.now())
        until(lambda: site.transitions(repair.id).count("completed") == 2)
        site.upload("a.csv.rejected.csv", b"identity,Phone\n2,22\n")
        first, *_ = site.ended(3)
    assert (first.repaired_rows, first.rejected_rows) == (3, 3)
    assert site.report("a.csv.rejected.csv.g2")["repairs"] == first.id


def test_only_a_rename_from_a_temporary_name_proves_that_a_file_is_whole(site: Any) -> None:
    renamed = site.spool("a.csv.part")
    uploads.close_upload(site.ledger, renamed, len(PROFILES))
    uploads.reopen(site.ledger, renamed, "renamed to a.csv")
    land(site.settings, site.ledger, upload_id=renamed, tenant="acme", feed="profiles", path="a.csv", username="ann")
    site.upload("b.csv")
    Scan(site.live, site.ledger).claim_settled()
    assert [described(site, job.id).completion_proof for job in site.jobs()] == [True, False]


def test_a_feed_that_is_gone_fails_its_drop_with_a_report_on_our_side(site: Any) -> None:
    site.upload("a.csv")
    site.root.joinpath("tenants", "acme.toml").write_text("")
    site.live.refresh()
    with site.picking_up():
        (job,) = site.ended()
    assert job.status == "failed"
    assert "no longer configured" in job.reason_for_failure[0]
    assert site.report("a.csv")["status"] == "failed"


def test_a_broken_contract_fails_the_drop_with_a_report_on_our_side(site: Any) -> None:
    (site.root / "contracts").mkdir()
    (site.root / "contracts" / "clevertap-profiles.toml").write_text("nonsense = ")
    site.upload("a.csv")
    with site.picking_up():
        (job,) = site.ended()
    assert job.status == "failed"
    assert "clevertap-profiles" in job.reason_for_failure[0]


def test_what_a_killed_gateway_left_behind_is_taken_up_at_start(site: Any) -> None:
    names = ["queued.csv", "validating.csv"]
    for name in names:
        site.upload(name, b"identity,Name\n%s,Ann\n" % name.encode())
    Scan(site.live, site.ledger).claim_settled()
    jobs.begin_next(site.ledger, clock.now())
    site.upload("landed.csv", b"identity,Name\nlanded,Ann\n")
    with site.picking_up():
        found = site.ended(3)
    assert {job.filename: job.status for job in found} == dict.fromkeys([*names, "landed.csv"], "completed")


def test_a_claimed_file_that_still_stands_in_the_inbox_is_processed_once(site: Any) -> None:
    drop_id = site.upload("a.csv")
    with site.ledger.transaction():
        jobs.create(site.ledger, site.drop(drop_id), None, clock.now())
        drops.claim(site.ledger, drop_id, clock.now())
    with site.picking_up():
        (job,) = site.ended()
    assert (job.status, job.drop_id) == ("completed", drop_id)
    assert not (site.inbox / "a.csv").exists()


def described(site: Any, job_id: str) -> Drop:
    """The drop of an ended job, as its passage describes it."""
    job = jobs.get(site.ledger, job_id)
    row = site.drop(job.drop_id)
    return describe(site.settings, site.ledger, job, row, str(row.sha256)).drop
