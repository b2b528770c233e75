"""Jobs and drops in the ledger: guarded transitions, an append-only history, views that ops can read."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import Ledger, drops, earlier, holds, jobs, landings, visible
from gateway.ledger.drops import DropRow
from gateway.ledger.jobs import Ending
from gateway.ledger.landings import Landing
from gateway.ledger.transitions import history

NOW = clock.now()


@pytest.fixture(autouse=True)
def the_time_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module may have been read long before, and what began then would be stuck by now."""
    monkeypatch.setattr(f"{__name__}.NOW", clock.now())


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


def landed(ledger: Ledger, path: str = "a.csv", inode: int = 1) -> DropRow:
    return landings.record_landing(
        ledger, Landing("acme", "profiles", path, bytes=10, inode=inode, landed_at=NOW, settles_at=NOW)
    )


def claimed(ledger: Ledger, path: str = "a.csv", sha256: str = "5a") -> str:
    """The queued job of a claimed drop."""
    drop = landed(ledger, path)
    with ledger.transaction():
        job_id = jobs.create(ledger, drop, "ann@acme.example", NOW)
        drops.claim(ledger, drop.id, NOW)
    drops.set_sha256(ledger, drop.id, sha256)
    return job_id


def completed(ledger: Ledger, path: str = "a.csv", sha256: str = "5a") -> str:
    job_id = claimed(ledger, path, sha256)
    begin(ledger, job_id)
    jobs.stage(ledger, job_id, "{}", NOW)
    jobs.finish(ledger, job_id, ending(), NOW)
    return job_id


def begin(ledger: Ledger, job_id: str) -> None:
    (begun,) = jobs.begin_next(ledger, NOW)
    assert begun.id == job_id


def ending(**columns: object) -> Ending:
    plain: dict[str, object] = {"total_rows": 3, "accepted_rows": 2, "rejected_rows": 1} | columns
    return Ending("completed", NOW, NOW, 0.5, "clevertap-profiles", "c0", **plain)  # type: ignore[arg-type]  # Counts, by name.


@pytest.mark.rule("U38")
def test_a_job_goes_through_its_statuses_and_ends(ledger: Ledger) -> None:
    job_id = claimed(ledger)
    begin(ledger, job_id)
    jobs.begin_processing(ledger, job_id, NOW)
    jobs.stage(ledger, job_id, "{}", NOW)
    jobs.finish(ledger, job_id, ending(), NOW)
    job = jobs.get(ledger, job_id)
    assert (job.status, job.accepted_rows, job.rejected_rows, job.elapsed_time) == ("completed", 2, 1, 0.5)
    told = [entry.new for entry in history(ledger, job.id) if entry.kind == "job"]
    assert told == ["queued", "validating", "processing", "pending_refresh", "completed"]
    assert drops.get(ledger, job.drop_id).state == "done"


def test_a_transition_from_another_status_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    job_id = claimed(ledger)
    for move in (
        partial(jobs.begin_processing, ledger, job_id, NOW),
        partial(jobs.stage, ledger, job_id, "{}", NOW),
        partial(jobs.finish, ledger, job_id, ending(), NOW),
        partial(jobs.requeue, ledger, job_id, NOW),
        partial(jobs.try_again, ledger, job_id, "no", NOW),
    ):
        with pytest.raises(LedgerError, match="is queued, not"):
            move()
    assert jobs.get(ledger, job_id).status == "queued"


def test_only_one_of_many_threads_begins_a_job(ledger: Ledger) -> None:
    claimed(ledger)
    begun: list[str] = []
    start = threading.Barrier(8)

    def begin_one() -> None:
        start.wait()
        begun.extend(job.id for job in jobs.begin_next(ledger, NOW))

    threads = [threading.Thread(target=begin_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 1


def test_a_drop_is_claimed_once(ledger: Ledger) -> None:
    drop_id = jobs.get(ledger, claimed(ledger)).drop_id
    with pytest.raises(LedgerError, match="is claimed, not landed or settling or held"):
        drops.claim(ledger, drop_id, NOW)


def test_counts_that_do_not_add_up_cannot_complete_a_job(ledger: Ledger) -> None:
    job_id = claimed(ledger)
    begin(ledger, job_id)
    jobs.stage(ledger, job_id, "{}", NOW)
    with pytest.raises(sqlite3.IntegrityError):
        jobs.finish(ledger, job_id, ending(total_rows=99), NOW)
    assert jobs.get(ledger, job_id).status == "pending_refresh"


def test_a_shutdown_does_not_count_as_a_try_and_an_interruption_does(ledger: Ledger) -> None:
    job_id = claimed(ledger)
    begin(ledger, job_id)
    jobs.return_to_queue(ledger, job_id, "the gateway stops", NOW)
    assert jobs.get(ledger, job_id).tries == 0
    begin(ledger, job_id)
    jobs.try_again(ledger, job_id, "its process ended", NOW)
    assert jobs.get(ledger, job_id).tries == 1


def test_a_requeued_job_keeps_its_id_and_its_drop(ledger: Ledger) -> None:
    job_id = completed(ledger)
    jobs.requeue(ledger, job_id, NOW)
    job = jobs.get(ledger, job_id)
    assert (job.status, job.tries, drops.get(ledger, job.drop_id).state) == ("queued", 0, "claimed")
    begin(ledger, job_id)


def test_transitions_cannot_be_changed_or_deleted(ledger: Ledger) -> None:
    landed(ledger)
    for statement in ("UPDATE transitions SET new = 'done'", "DELETE FROM transitions"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), ledger.transaction() as connection:
            connection.execute(statement)


def test_a_unique_beginning_of_an_id_finds_the_job(ledger: Ledger) -> None:
    one, two = completed(ledger, "a.csv"), completed(ledger, "b.csv")
    assert jobs.find(ledger, one).id == one
    assert one[:4] == two[:4], "made within a minute of each other"
    with pytest.raises(LedgerError, match="more than one job"):
        jobs.find(ledger, one[:4])
    with pytest.raises(LedgerError, match="no job"):
        jobs.find(ledger, "zzz")
    with pytest.raises(LedgerError, match="no job has an id"):
        jobs.find(ledger, "")


def test_jobs_are_listed_newest_first_and_filtered(ledger: Ledger) -> None:
    one, two = completed(ledger, "a.csv"), claimed(ledger, "b.csv")
    assert [job.id for job in jobs.select(ledger)] == [two, one]
    assert [job.id for job in jobs.select(ledger, status="completed", tenant="acme", feed="profiles")] == [one]
    assert [job.id for job in jobs.select(ledger, limit=1)] == [two]
    assert jobs.select(ledger, tenant="else") == []


def test_the_original_of_repeated_bytes_is_the_first_completed_job_under_that_contract(ledger: Ledger) -> None:
    one = completed(ledger, "a.csv")
    repeat = drops.get(ledger, jobs.get(ledger, claimed(ledger, "b.csv")).drop_id)
    assert earlier.original_of(ledger, repeat, "5a", "c0") == one
    assert earlier.original_of(ledger, repeat, "5a", "another contract") is None
    assert earlier.original_of(ledger, repeat, "other bytes", "c0") is None
    first = drops.get(ledger, jobs.get(ledger, one).drop_id)
    assert earlier.original_of(ledger, first, "5a", "c0") is None


def test_rejected_rows_find_the_newest_job_of_their_name(ledger: Ledger) -> None:
    completed(ledger, "2026/a.csv")
    second = completed(ledger, "2026/a.csv", sha256="5b")
    completed(ledger, "2026/ab.csv")
    later = NOW + timedelta(seconds=1)
    for name in ("2026/a.csv", "2026/a"):
        assert earlier.newest_named(ledger, "acme", "profiles", name, later, None) == second
    first = earlier.newest_named(ledger, "acme", "profiles", "2026/a", later, 1)
    assert first is not None
    assert first != second
    assert earlier.newest_named(ledger, "acme", "profiles", "2026", later, None) is None
    assert earlier.newest_named(ledger, "acme", "profiles", "2026/a", NOW, None) is None


def test_a_claimed_name_stays_visible_for_its_grace_and_under_its_new_name(ledger: Ledger) -> None:
    drop_id = jobs.get(ledger, completed(ledger)).drop_id

    def seen(path: str, seconds: float = 0) -> str | None:
        found = visible.find(ledger, ("acme", "profiles", path), NOW + timedelta(seconds=seconds), 300)
        return found.id if found else None

    assert seen("a.csv") == drop_id
    assert seen("a.csv", 301) is None
    visible.rename(ledger, drops.get(ledger, drop_id), "b.csv")
    assert (seen("a.csv"), seen("b.csv")) == (None, drop_id)
    newer = landed(ledger, "b.csv")
    assert seen("b.csv") == newer.id
    holds.withdraw(ledger, newer, "removed", None, NOW)
    visible.hide(ledger, ("acme", "profiles", "b.csv"))
    assert seen("b.csv") is None
    assert visible.claimed(ledger, "acme", "profiles", NOW, 300) == []


def test_a_rename_onto_an_unsettled_drop_supersedes_it(ledger: Ledger) -> None:
    temporary, target = landed(ledger, "a.new"), landed(ledger, "a.csv")
    renamed = landings.rename_landed(ledger, temporary.id, "profiles", "a.csv", "data", NOW, 2)
    assert (renamed.path, renamed.generation, renamed.state) == ("a.csv", 2, "settling")
    assert renamed.settles_at == NOW + timedelta(seconds=2)
    assert drops.get(ledger, target.id).state == "superseded"


def test_the_jobs_of_today_are_readable_with_the_sqlite3_program(ledger: Ledger) -> None:
    completed(ledger)
    shown = subprocess.run(
        ["sqlite3", "-header", ledger.path, "SELECT * FROM jobs_today"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert shown[0].startswith("since_utc|tenant|feed|file|status|rows|accepted|errors")
    assert "|acme|profiles|a.csv|completed|3|2|1|0|0.5|ann@acme.example||" in shown[1]


def test_a_job_that_waits_too_long_is_a_stuck_job(ledger: Ledger) -> None:
    job_id = claimed(ledger)
    assert ledger.rows("SELECT * FROM stuck_jobs") == []
    jobs.begin_next(ledger, clock.now() - timedelta(minutes=20))
    (stuck,) = ledger.rows("SELECT job, seconds FROM stuck_jobs")
    assert stuck["job"] == job_id
    assert 1190 < stuck["seconds"] < 1300
