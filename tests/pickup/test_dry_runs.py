"""Dry runs: what is put into `dryrun/` is validated whole, the store is asked about it, and nothing is stored."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import clock
from gateway.config import LiveSettings
from gateway.engine import PipelineCrashed
from gateway.errors import StoreUnreachable
from gateway.ledger import commits, drops, holds, jobs
from gateway.pickup import rehearsing
from gateway.pickup.pickup import Pickup
from gateway.pickup.publication import Decided, Publisher
from gateway.pipeline import dry_run
from gateway.store import TenantStore
from gateway.storekeeper import Storekeeper
from tests.pickup.conftest import PROFILES, Site
from tests.waiting import until

EVENTS = b"identity,evtName,ts\nann,Bought,1700000000\nzed,Bought,1700000001\n"
CHANGES = b"identity,Name,Team\nann,Ann,red\nbob,,\ncas,Cas,\ndan,Dan,blue\n"
FACTS = (
    *("total_rows", "accepted_rows", "rejected_rows", "merged_rows", "duplicate_rows", "withheld_rows"),
    *("store", "properties", "problems_by_code", "order", "time_columns"),
)


@pytest.fixture
def keeper(site: Site) -> Iterator[Storekeeper]:
    made = Storekeeper(site.settings.store_url, {})
    yield made
    made.stop()


@contextmanager
def storing(site: Site, keeper: Storekeeper | None) -> Iterator[Pickup]:
    pickup = Pickup(site.live, site.ledger, site._shared_engine(), keeper)
    pickup.finish_earlier()
    pickup.start()
    try:
        yield pickup
    finally:
        pickup.stop()


def versions(site: Site) -> list[int]:
    return [table.version for table in TenantStore(site.settings.store_url, "acme").tables]


def files(site: Site) -> list[str]:
    return sorted(str(path) for path in Path(site.settings.store_url).rglob("*"))


def facts(report: dict[str, Any]) -> dict[str, Any]:
    return {name: report[name] for name in FACTS}


def feed(site: Site, name: str, contract: str, **policies: str) -> None:
    """A feed more."""
    path = site.root / "tenants" / "acme.toml"
    lines = [f'{key} = "{value}"\n' for key, value in policies.items()]
    path.write_text(path.read_text() + f'\n[feeds.{name}]\ncontract = "{contract}"\n' + "".join(lines))
    site.live.refresh()
    for area in ("inbox", "outbox"):
        (site.settings.tenant_dir("acme") / area / name).mkdir(exist_ok=True)


def test_a_dry_run_says_what_the_real_drop_will_say_and_leaves_the_store_as_it_was(
    site: Site, keeper: Storekeeper
) -> None:
    with storing(site, keeper):
        site.upload("people.csv", PROFILES)
        site.ended(1)
        before = versions(site), files(site)
        site.upload("dryrun/more.csv", CHANGES)
        site.ended(2)
        assert (versions(site), files(site)) == before
        site.upload("more.csv", CHANGES)
        _, tried, real = site.ended(3)
    told, then = site.report("dryrun/more.csv"), site.report("more.csv")
    assert facts(told) == facts(then)
    assert (then["store"]["created"], then["store"]["updated"], then["properties"]["created"]) == (2, 1, ["Team"])
    assert (told["dry_run"], then["dry_run"], "rehearsal" in then) == (True, False, False)
    assert told["rehearsal"]["says"] == [dry_run.NOTHING_STORED]
    assert (tried.dry_run, tried.commit_sequence, tried.status) == (True, None, "completed")
    assert (real.dry_run, real.commit_sequence) == (False, 2)


def test_no_accepted_file_is_left_of_a_dry_run_but_all_that_helps_to_mend_it(site: Site, keeper: Storekeeper) -> None:
    with storing(site, keeper):
        site.upload("dryrun/a.csv", b"identity,Name\nann,Ann\n,Bob\n")
        site.ended()
    names = sorted(path.name for path in (site.outbox / "dryrun").iterdir())
    assert names == ["a.csv.errors.csv", "a.csv.rejected.csv", "a.csv.report.html", "a.csv.report.json"]
    assert site.outbox_names("profiles") == ["dryrun"]
    assert {file["role"] for file in site.report("dryrun/a.csv")["files"]} == {
        *("original", "errors", "rejected", "report"),
    }
    page = (site.outbox / "dryrun" / "a.csv.report.html").read_text()
    for sentence in (
        dry_run.NOTHING_STORED,
        "1 of 2 rows needs fixing; the other 1 would be accepted.",
        "1 would be new",
    ):
        assert sentence in page
    assert "upload all of it to inbox/profiles/" in page


def test_a_dry_run_is_not_the_same_bytes_again_before_or_after_the_real_drop(site: Site, keeper: Storekeeper) -> None:
    with storing(site, keeper):
        for count, path in enumerate(("dryrun/a.csv", "a.csv", "dryrun/a.csv", "dryrun/b.csv"), 1):
            site.upload(path, PROFILES)
            found = site.ended(count)
    assert [job.duplicate_of for job in found] == [None] * 4
    again = site.report("dryrun/a.csv.g2")
    assert (again["store"]["unchanged"], again["generation"]) == (2, 2)
    assert again["rehearsal"]["seen_before"] == found[1].id
    assert f"as job {found[1].id}: this one would be skipped." in again["rehearsal"]["says"][1]


def test_duplicates_of_stored_events_and_strangers_are_told_and_not_stored(site: Site, keeper: Storekeeper) -> None:
    with storing(site, keeper):
        site.upload("people.csv", PROFILES)
        site.ended(1)
        site.upload("bought.csv", EVENTS, "events")
        site.ended(2)
        more = EVENTS + b"bob,Bought,1700000002\nyan,Bought,1700000003\n"
        site.upload("dryrun/more.csv", more, "events")
        site.ended(3)
        site.upload("more.csv", more, "events")
        site.ended(4)
    told = site.report("dryrun/more.csv", "events")
    assert facts(told) == facts(site.report("more.csv", "events"))
    assert (told["duplicate_rows"], told["store"]["events"], told["store"]["unknown_identities"]) == (2, 2, 2)
    assert told["rehearsal"]["duplicates_of_stored"] == 2
    assert "2 events are in the store already, and would not be stored again." in told["rehearsal"]["says"]
    assert told["rehearsal"]["says"][-1].endswith("They would be stored all the same.")


def test_events_of_strangers_that_the_feed_rejects_are_rejected_in_a_dry_run_too(
    site: Site, keeper: Storekeeper
) -> None:
    feed(site, "known", "clevertap-events", unknown_identity="reject")
    with storing(site, keeper):
        site.upload("people.csv", PROFILES)
        site.ended(1)
        site.upload("dryrun/bought.csv", EVENTS, "known")
        site.ended(2)
        site.upload("bought.csv", EVENTS, "known")
        site.ended(3)
    told, then = site.report("dryrun/bought.csv", "known"), site.report("bought.csv", "known")
    assert facts(told) == facts(then)
    assert told["rejected_rows"] == 1
    outbox = site.outbox.parent / "known"
    for kind in ("rejected.csv", "errors.csv"):
        assert (outbox / "dryrun" / f"bought.csv.{kind}").read_text() == (outbox / f"bought.csv.{kind}").read_text()
    assert told["rehearsal"]["says"][-1].endswith("They would be rejected.")


def test_a_dry_run_that_would_wait_for_people_says_so_and_does_not_wait(site: Site, keeper: Storekeeper) -> None:
    feed(site, "patient", "clevertap-events", unknown_identity="hold")
    with storing(site, keeper):
        site.upload("dryrun/bought.csv", EVENTS, "patient")
        (job,) = site.ended(1)
    told = site.report("dryrun/bought.csv", "patient")
    assert (told["rehearsal"]["waits_for"], told["store"]["unknown_identities"]) == (2, 2)
    assert told["rehearsal"]["waits_hours_max"] == site.settings.tenants["acme"].feeds["patient"].hold_hours
    assert "The file would wait for their profiles" in told["rehearsal"]["says"][-1]
    assert "held" not in site.transitions(job.drop_id)


def test_a_dry_run_waits_for_no_profiles_and_no_events_wait_for_it(site: Site, keeper: Storekeeper) -> None:
    profiles = site.drop(site.upload("people.csv"))
    tried = site.drop(site.upload("dryrun/people.csv"))
    events = site.drop(site.upload("bought.csv", EVENTS, "events"))
    first = holds.first_unfinished(site.ledger, ["profiles"], events)
    assert first is not None
    assert first.id == profiles.id
    holds.withdraw(site.ledger, profiles, "for the test", "delete", clock.now())
    assert (tried.dry_run, holds.first_unfinished(site.ledger, ["profiles"], events)) == (True, None)
    # These profiles are not picked up meanwhile.
    drops.restart_settling(site.ledger, site.upload("later.csv"), clock.now(), 50, "for the test")
    waits = site.drop(site.upload("later.csv", EVENTS + b"bob,Bought,1700000002\n", "events"))
    with storing(site, keeper):
        tried = site.drop(site.upload("dryrun/bought.csv", EVENTS, "events"))
        until(lambda: site.state(tried.id) == "done")
        until(lambda: site.state(waits.id) == "held")
    assert "held" not in site.transitions(tried.id)


def test_without_a_store_a_dry_run_is_validation_and_says_so(site: Site) -> None:
    (site.root / "gateway.toml").write_text((site.root / "gateway.toml").read_text() + "[store]\nenabled = false\n")
    site.live = LiveSettings(site.root)
    with storing(site, None):
        site.upload("dryrun/a.csv", PROFILES)
        site.upload("dryrun/b.csv", b"nothing\n1\n")
        site.ended(2)
    told, failed = site.report("dryrun/a.csv"), site.report("dryrun/b.csv")
    assert told["rehearsal"]["says"] == [dry_run.NOTHING_STORED, dry_run.UNASKED["off"]]
    assert (told["rehearsal"]["store"], "store" in told) == ("off", False)
    assert (failed["status"], failed["rehearsal"]["says"]) == ("failed", [dry_run.NOTHING_STORED])
    names = sorted(path.name for path in (site.outbox / "dryrun").glob("a.*"))
    assert names == ["a.csv.report.html", "a.csv.report.json"]


def test_a_dry_run_of_a_store_that_cannot_be_reached_ends_and_says_that_nobody_could_be_asked(
    site: Site, keeper: Storekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "PAUSE_SECONDS", 0.01)
    store = Path(site.settings.store_url)
    with storing(site, keeper):
        site.upload("people.csv")
        site.ended(1)
        store.rename(store.with_name("away"))
        site.upload("dryrun/a.csv", CHANGES)
        (_, job) = site.ended(2)
        store.with_name("away").rename(store)
        site.upload("dryrun/b.csv", CHANGES)
        site.ended(3)
    report = site.report("dryrun/a.csv")
    assert (report["rehearsal"]["store"], job.status, "store" in report) == ("unreachable", "completed", False)
    assert report["rehearsal"]["says"] == [dry_run.NOTHING_STORED, dry_run.UNASKED["unreachable"]]
    assert dry_run.UNASKED["unreachable"] in (site.outbox / "dryrun" / "a.csv.report.html").read_text()
    assert "held" not in site.transitions(job.drop_id)
    assert site.report("dryrun/b.csv")["store"]["updated"] == 1


def test_while_commits_fail_only_real_drops_are_shown_as_waiting_for_the_store(
    site: Site, keeper: Storekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*arguments: Any, **named: Any) -> Any:
        raise StoreUnreachable("it is away", hint="See to it.")

    monkeypatch.setattr(rehearsing, "PAUSE_SECONDS", 60)
    monkeypatch.setattr(keeper, "resolve", unreachable)
    monkeypatch.setattr(keeper, "rehearse", unreachable)
    with storing(site, keeper):
        tried = site.drop(site.upload("dryrun/people.csv"))
        until(lambda: [job.status for job in site.jobs()] == ["pending_refresh"])
        site.upload("people.csv")
        assert site.status("people.csv", "profiles")["held_for"] == "store"
        assert [drop.path for drop in commits.delayed(site.ledger)] == ["people.csv"]
    assert site.state(tried.id) == "claimed"


def test_a_dry_run_whose_report_cannot_be_finished_is_run_again_and_ends_as_our_fault(
    site: Site, keeper: Storekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def crash(*arguments: Any, without_store: bool) -> Any:
        asked.append(without_store)
        raise PipelineCrashed("somewhere")

    monkeypatch.setattr(rehearsing, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(keeper, "rehearse", crash)
    with storing(site, keeper):
        site.upload("dryrun/a.csv")
        (job,) = site.ended()
    assert asked == [False] * rehearsing.TRIES_MAX + [True] + asked[rehearsing.TRIES_MAX + 1 :]
    assert (job.status, site.report("dryrun/a.csv")["problems_by_code"]) == ("failed", {"gateway_failure": 1})


def test_a_storekeeper_that_dies_at_a_dry_run_is_replaced(site: Site, keeper: Storekeeper) -> None:
    with storing(site, keeper):
        site.upload("dryrun/a.csv")
        site.ended(1)
        os.kill(keeper.pid() or 0, signal.SIGKILL)
        site.upload("dryrun/b.csv")
        site.ended(2)
    assert site.report("dryrun/b.csv")["store"]["created"] == 2


def test_a_dry_run_that_a_kill_cut_short_is_published_as_it_was_decided(
    site: Site, keeper: Storekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Decided] = []
    with monkeypatch.context() as patched:
        patched.setattr(Publisher, "take", lambda self, one: taken.append(one))
        with storing(site, keeper):
            site.upload("dryrun/a.csv", CHANGES)
            until(lambda: taken)
    (job,) = site.jobs()
    assert (job.status, '"contributed": null' in str(job.outcome)) == ("pending_refresh", True)
    with storing(site, None):
        site.ended()
    assert site.report("dryrun/a.csv")["store"]["created"] == 4


def test_a_requeued_dry_run_asks_the_store_anew(site: Site, keeper: Storekeeper) -> None:
    with storing(site, keeper):
        site.upload("dryrun/a.csv", PROFILES)
        (job,) = site.ended(1)
        site.upload("a.csv", PROFILES)
        site.ended(2)
        jobs.requeue(site.ledger, job.id, clock.now())
        until(lambda: site.report("dryrun/a.csv")["store"]["unchanged"] == 2 if is_there(site) else False)
    assert site.report("dryrun/a.csv")["store"]["created"] == 0


def is_there(site: Site) -> bool:
    return (site.outbox / "dryrun" / "a.csv.report.json").exists()


def test_mended_rows_that_are_tried_repair_no_job(site: Site, keeper: Storekeeper) -> None:
    with storing(site, keeper):
        site.upload("dryrun/a.csv", b"identity,Name\n,Ann\n")
        site.ended(1)
        site.upload("dryrun/a.csv.rejected.csv", b"identity,Name\nann,Ann\n")
        first, tried = site.ended(2)
    assert (tried.repairs, first.repaired_by, tried.dry_run) == (None, None, True)


def test_dry_runs_are_no_part_of_the_health_of_a_feed(site: Site, keeper: Storekeeper) -> None:
    with storing(site, keeper):
        site.upload("dryrun/a.csv")
        site.upload("DryRun/b.csv")
        site.upload("a.csv")
        site.ended(3)
    (health,) = site.ledger.rows("SELECT jobs, \"rows\" FROM feed_health WHERE feed = 'profiles'")
    today = site.ledger.rows("SELECT file, dry_run FROM jobs_today ORDER BY file")
    assert (health["jobs"], health["rows"]) == (1, 2)
    assert [(row["file"], row["dry_run"]) for row in today] == [("DryRun/b.csv", 1), ("a.csv", 0), ("dryrun/a.csv", 1)]


def test_the_folder_for_dry_runs_stands_in_each_inbox(site: Site, keeper: Storekeeper) -> None:
    inboxes = list((site.settings.tenant_dir("acme") / "inbox").iterdir())
    assert len(inboxes) == len(site.settings.tenants["acme"].feeds)
    assert all((path / "dryrun").is_dir() for path in inboxes)
    (site.inbox / "dryrun" / "local.csv").write_bytes(PROFILES)
    with storing(site, keeper):
        (job,) = site.ended()
    assert (job.filename, job.dry_run, job.status) == ("dryrun/local.csv", True, "completed")
