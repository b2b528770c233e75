"""What staged jobs bring goes into the store, together and once, before their results are published."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gateway import clock
from gateway.engine import PipelineCrashed
from gateway.ledger import commits, jobs
from gateway.pickup import committing
from gateway.pickup.pickup import Pickup
from gateway.pickup.waiting import NO_STORE
from gateway.pipeline.drop import Drop, Outcome
from gateway.store import TenantStore
from gateway.store.table import Table
from gateway.storekeeper import Storekeeper
from gateway.storekeeping import Commit, Resolved
from tests.pickup.conftest import PROFILES, SharedEngine, Site
from tests.waiting import until

EVENTS = b"identity,evtName,ts\nann,Bought,1700000000\nzed,Bought,1700000001\n"


@pytest.fixture(scope="module")
def engine() -> Iterator[SharedEngine]:
    made = SharedEngine(1)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def keeper(site: Site) -> Iterator[Storekeeper]:
    made = Storekeeper(site.settings.store_url, {})
    yield made
    made.stop()


@contextmanager
def storing(site: Site, engine: SharedEngine, keeper: Storekeeper) -> Iterator[Pickup]:
    pickup = Pickup(site.live, site.ledger, engine, keeper)
    pickup.finish_earlier()
    pickup.start()
    try:
        yield pickup
    finally:
        pickup.stop()


def stored(site: Site, table: str) -> pl.DataFrame:
    store = TenantStore(site.settings.store_url, "acme")
    found: Table = getattr(store, table)
    return found.scan(found.files()["path"]).collect()


def commits_of(site: Site) -> list[tuple[int, str]]:
    found = site.ledger.rows("SELECT sequence, state FROM commits ORDER BY sequence")
    return [(row["sequence"], row["state"]) for row in found]


@pytest.mark.rule("F14", "F15")
def test_what_was_accepted_is_in_the_store_when_its_report_is_there(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    with storing(site, engine, keeper):
        site.upload("people.csv")
        site.ended(1)
        site.upload("bought.csv", EVENTS, "events")
        people, bought = site.ended(2)
    assert sorted(stored(site, "profiles")["identity"]) == ["ann", "bob"]
    assert sorted(stored(site, "events")["identity"]) == ["ann", "zed"]
    assert commits_of(site) == [(1, "committed"), (2, "committed")]
    assert (people.commit_sequence, bought.commit_sequence) == (1, 2)
    assert site.transitions("acme/1") == ["begun", "resolved", "committed"]


def test_the_report_tells_what_the_store_made_of_the_rows(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    with storing(site, engine, keeper):
        site.upload("people.csv")
        site.ended(1)
        site.upload("again.csv", b"identity,Name,Team\nann,Ann,red\ncas,Cas,\n")
        site.ended(2)
        site.upload("bought.csv", EVENTS, "events")
        site.ended(3)
    again, bought = site.report("again.csv"), site.report("bought.csv", "events")
    assert again["store"] | {"events": 0} == again["store"]
    assert (again["store"]["created"], again["store"]["updated"], again["store"]["unchanged"]) == (1, 1, 0)
    assert again["properties"]["created"] == ["Team"]
    assert bought["problems_by_code"]["unknown_identity"] == 1
    assert "1 event is of 1 person or company of whom there is no profile" in bought["problems"][0]["message"]
    page = (site.outbox / "again.csv.report.html").read_text()
    assert "1 is new, 1 was updated" in page


def test_what_brings_nothing_is_published_without_a_commit(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    with storing(site, engine, keeper):
        site.upload("people.csv", b"no such header\n1\n")
        (job,) = site.ended()
    assert (job.status, job.commit_sequence, commits_of(site)) == ("failed", None, [])
    assert commits.last_sequence(site.ledger, "acme") == 0


def test_a_store_that_cannot_be_reached_keeps_jobs_staged_and_everybody_can_see_why(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    in_the_way = Path(site.settings.store_url)
    in_the_way.write_text("no folder")
    with storing(site, engine, keeper):
        site.upload("people.csv")
        told = site.status("people.csv", "profiles")
        (commit,) = site.ledger.rows("SELECT * FROM unfinished_commits")
        assert [job.status for job in site.jobs()] == ["pending_refresh"]
        assert not (site.outbox / "people.csv.report.json").exists()
        in_the_way.unlink()
        (job,) = site.ended()
        until(lambda: "people.csv.status.json" not in site.outbox_names("profiles"))
    assert (told["held_for"], told["reason"]) == ("store", NO_STORE)
    assert (commit["state"], commit["jobs"]) == ("begun", 1)
    assert "cannot be reached" in commit["error"]
    assert "store.url" in commit["error"]
    assert job.accepted_rows == stored(site, "profiles").height == 2


def test_what_waits_for_the_store_is_committed_after_a_restart(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    in_the_way = Path(site.settings.store_url)
    in_the_way.write_text("no folder")
    with storing(site, engine, keeper):
        for number in range(3):
            site.upload(f"{number}.csv", PROFILES + b"cas,%d\n" % number)
        until(lambda: [job.status for job in site.jobs()] == ["pending_refresh"] * 3)
        until(lambda: commits.unfinished(site.ledger))
    in_the_way.unlink()
    again = Storekeeper(site.settings.store_url, {})
    with storing(site, engine, again):
        ended = site.ended(3)
    assert {job.status for job in ended} == {"completed"}
    assert stored(site, "profiles").height == 3
    assert commits.unfinished(site.ledger) == []


def test_what_waits_for_a_store_that_is_switched_off_runs_again_without_it(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    Path(site.settings.store_url).write_text("no folder")
    with storing(site, engine, keeper):
        site.upload("people.csv")
        until(lambda: site.ledger.rows("SELECT 1 FROM unfinished_commits WHERE error IS NOT NULL"))
    with site.picking_up():
        (job,) = site.ended()
    assert (job.accepted_rows, job.tries) == (2, 1)
    assert "store" not in site.report("people.csv")


def test_a_storekeeper_that_dies_is_replaced_and_the_commit_is_made_once(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    with storing(site, engine, keeper):
        site.upload("people.csv")
        site.ended(1)
        os.kill(keeper.pid() or 0, signal.SIGKILL)
        site.upload("more.csv", b"identity,Name\ncas,Cas\n")
        site.ended(2)
    assert [job.status for job in site.jobs()] == ["completed", "completed"]
    assert stored(site, "profiles").height == 3


def test_jobs_that_wait_together_go_in_one_commit(
    site: Site, engine: SharedEngine, keeper: Storekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Storekeeper.resolve
    is_asked = threading.Event()

    def slow(self: Storekeeper, commit: Commit, *arguments: Any) -> Resolved:
        # The first commit waits until the others are staged.
        is_asked.set()
        until(lambda: sum(job.status == "pending_refresh" for job in site.jobs()) >= 4 or commit.sequence > 1)
        return real(self, commit, *arguments)

    monkeypatch.setattr(Storekeeper, "resolve", slow)
    monkeypatch.setattr(committing, "GATHER_SECONDS", 0)
    with storing(site, engine, keeper):
        for number in range(4):
            site.upload(f"{number}.csv", PROFILES + b"cas,%d\n" % number)
            # The first one goes alone: of those that come later several may be judged together.
            until(is_asked.is_set)
        ended = site.ended(4)
    assert [job.commit_sequence for job in ended] == [1, 2, 2, 2]
    assert commits_of(site) == [(1, "committed"), (2, "committed")]


def test_a_commit_waits_for_the_jobs_that_are_about_to_come(
    site: Site, engine: SharedEngine, keeper: Storekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "GATHER_SECONDS", 3600)
    for number in range(4):
        site.upload(f"{number}.csv", PROFILES + b"cas,%d\n" % number)
    with storing(site, engine, keeper):
        ended = site.ended(4)
    assert [job.commit_sequence for job in ended] == [1, 1, 1, 1]


def test_a_ledger_that_is_older_than_the_store_goes_on_above_what_the_store_has(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    with storing(site, engine, keeper):
        site.upload("people.csv")
        site.ended(1)
    with site.ledger.transaction() as connection:
        connection.execute("UPDATE jobs SET commit_sequence = NULL")
        connection.execute("DELETE FROM commits")
    with storing(site, engine, Storekeeper(site.settings.store_url, {})):
        site.upload("more.csv", b"identity,Name\ncas,Cas\n")
        site.ended(2)
    assert commits_of(site) == [(2, "committed")]
    assert stored(site, "profiles").height == 3


def test_events_are_held_for_unknown_people_until_their_profiles_are_there(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    site.set_policy("events", unknown_identity="hold")
    with storing(site, engine, keeper):
        held = site.upload("bought.csv", EVENTS, "events")
        told = site.status("bought.csv", "events")
        later = site.upload("people.csv")
        until(lambda: site.state(later) == "done")
        until(lambda: site.transitions(held).count("held") == 2)
        until(lambda: site.outbox_names("events") == ["bought.csv.status.json"])
        site.upload("others.csv", b"identity,Name\nzed,Zed\n")
        until(lambda: site.state(held) == "done")
    assert (told["held_for"], told["state"]) == ("profiles", "held")
    assert told["until"] is not None
    assert told["reason"] == "there is no profile yet of some whom these events are of"
    assert sorted(stored(site, "events")["identity"]) == ["ann", "zed"]


def test_duplicates_of_stored_events_leave_the_accepted_file(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    new = b"ann,Left,1700000002\n"
    with storing(site, engine, keeper):
        site.upload("bought.csv", EVENTS, "events")
        site.ended(1)
        site.upload("more.csv", EVENTS + new, "events")
        site.upload("again.csv", EVENTS + b"\n", "events")
        _, more, again = site.ended(3)
    assert (more.accepted_rows, more.duplicate_rows, more.total_rows) == (1, 2, 3)
    assert (again.accepted_rows, again.duplicate_rows, again.total_rows) == (0, 2, 2)
    accepted = site.outbox.parent / "events" / "more.csv.accepted.csv"
    assert accepted.read_text().splitlines()[1:] == ["ann,Left,1700000002"]
    report = site.report("more.csv", "events")
    assert report["order"]["first"] == report["order"]["last"] == "2023-11-14T22:13:22.000000Z"
    check_files(site, report)
    assert "again.csv.accepted.csv" not in site.outbox_names("events")
    check_files(site, site.report("again.csv", "events"))
    assert stored(site, "events").height == 3


@pytest.mark.parametrize("has_bad_row", [False, True])
def test_events_of_people_whom_nobody_knows_are_rejected_where_the_feed_says_so(
    site: Site, engine: SharedEngine, keeper: Storekeeper, has_bad_row: bool
) -> None:
    site.set_policy("events", unknown_identity="reject")
    bad = b",Bought,1700000000\n" if has_bad_row else b""
    with storing(site, engine, keeper):
        site.upload("people.csv")
        site.ended(1)
        site.upload("bought.csv", EVENTS + bad + b'"bob",Left,1700000009\n', "events")
        _, job = site.ended(2)
    outbox = site.outbox.parent / "events"
    assert (job.accepted_rows, job.rejected_rows, job.total_rows) == (2, 1 + has_bad_row, 3 + has_bad_row)
    assert job.problems_by_code["unknown_identity"] == 1
    rejected = b"identity,evtName,ts\nzed,Bought,1700000001\n" + bad
    assert (outbox / "bought.csv.rejected.csv").read_bytes() == rejected
    errors = (outbox / "bought.csv.errors.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in errors if "unknown_identity" in line] == [["2", "3"]]
    assert "zed" in errors[-1 - has_bad_row]
    assert len((outbox / "bought.csv.accepted.csv").read_text().splitlines()) == 3
    check_files(site, site.report("bought.csv", "events"))
    assert sorted(stored(site, "events")["identity"]) == ["ann", "bob"]


@pytest.mark.rule("U44")
def test_a_drop_that_fails_against_the_store_is_no_part_of_the_commit(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    site.set_policy("events", unknown_identity="reject", on_error="reject_file")
    with storing(site, engine, keeper):
        drop = site.upload("bought.csv", EVENTS, "events")
        (alone,) = site.ended(1)
        site.upload("people.csv")
        site.upload("again.csv", EVENTS + b"bob,Left,1700000009\n", "events")
        _, people, again = site.ended(3)
    assert [job.status for job in (alone, people, again)] == ["failed", "completed", "failed"]
    assert (alone.rejected_rows, alone.withheld_rows, again.rejected_rows, again.withheld_rows) == (2, 0, 1, 2)
    assert [job.commit_sequence for job in (alone, people, again)] == [None, 1, None]
    assert site.state(drop) == "done"
    assert commits_of(site) == [(1, "committed")]
    report = site.report("again.csv", "events")
    check_files(site, report)
    assert report["reason_for_failure"] == list(again.reason_for_failure)
    assert "too_many_errors" in report["problems_by_code"]
    assert site.outbox_names("events") == sorted(
        f"{name}.csv.{role}"
        for name in ("again", "bought")
        for role in ("errors.csv", "rejected.csv", "report.html", "report.json")
    )


def check_files(site: Site, report: dict[str, Any]) -> None:
    """Every result that the report names is there, as it says, and its counts add up."""
    outbox = site.outbox.parent / report["feed"]
    for file in report["files"][1:]:
        content = (outbox / file["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
    kinds = ("accepted", "merged", "duplicate", "rejected", "withheld")
    assert report["total_rows"] == sum(report[f"{kind}_rows"] for kind in kinds)


def test_a_job_that_is_requeued_brings_nothing_twice(site: Site, engine: SharedEngine, keeper: Storekeeper) -> None:
    with storing(site, engine, keeper):
        site.upload("bought.csv", EVENTS, "events")
        (job,) = site.ended()
        jobs.requeue(site.ledger, job.id, clock.now())
        until(lambda: site.jobs()[0].commit_sequence == 2 and site.jobs()[0].status == "completed")
    assert site.jobs()[0].duplicate_rows == 2
    assert stored(site, "events").height == 2


def test_a_job_at_which_the_store_fails_is_taken_out_of_the_others_way(
    site: Site, engine: SharedEngine, keeper: Storekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Storekeeper.resolve

    def resolve(self: Storekeeper, commit: Commit, outcomes: dict[str, Outcome], drops: dict[str, Drop]) -> Resolved:
        if any("bad" in file.name for outcome in outcomes.values() for file in outcome.files):
            raise PipelineCrashed("KeyError in merge.py:1")
        return real(self, commit, outcomes, drops)

    monkeypatch.setattr(Storekeeper, "resolve", resolve)
    monkeypatch.setattr(committing, "PAUSE_SECONDS_MAX", 0.1)
    with storing(site, engine, keeper):
        site.upload("bad.csv")
        site.upload("good.csv", b"identity,Name\ncas,Cas\n")
        bad, good = site.ended(2)
    assert (bad.status, good.status) == ("failed", "completed")
    assert "gateway_failure" in bad.problems_by_code
    assert site.state(bad.drop_id) == "quarantined"
    assert stored(site, "profiles")["identity"].to_list() == ["cas"]
    assert commits.unfinished(site.ledger) == []
