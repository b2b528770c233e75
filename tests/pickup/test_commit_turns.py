"""Whose commit is next: tenants take turns, old events go before new ones, and what was held long enough goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import clock
from gateway.pickup import committing
from gateway.storekeeper import Storekeeper
from gateway.storekeeping import Commit, Resolved
from tests.pickup.conftest import PROFILES, SharedEngine, Site
from tests.pickup.test_commits import EVENTS, commits_of, stored, storing
from tests.waiting import until


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


@pytest.fixture
def commit_one_by_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`commit_one_by_one(n)`: each job in a commit of its own, and the first only when n jobs are staged."""
    real = Storekeeper.resolve

    def begin(staged: int) -> None:
        def resolve(self: Storekeeper, commit: Commit, *arguments: Any) -> Resolved:
            first = not any(state == "committed" for _, state in commits_of(site))
            until(lambda: not first or sum(job.status == "pending_refresh" for job in site.jobs()) >= staged)
            return real(self, commit, *arguments)

        monkeypatch.setattr(Storekeeper, "resolve", resolve)
        monkeypatch.setattr(committing, "TOGETHER_MAX", 1)

    return begin


def order_of_commits(site: Site) -> list[str]:
    found = site.ledger.rows("SELECT subject FROM transitions WHERE kind = 'commit' AND new = 'committed' ORDER BY id")
    return [row["subject"] for row in found]


def test_a_tenant_with_a_backlog_takes_turns_with_another(
    site: Site, engine: SharedEngine, keeper: Storekeeper, commit_one_by_one: Callable[[int], None]
) -> None:
    site.add_tenant("other")
    commit_one_by_one(5)
    for number in range(3):
        site.upload(f"{number}.csv", PROFILES + b"cas,%d\n" % number)
    for number in range(2):
        site.upload(f"{number}.csv", PROFILES + b"dan,%d\n" % number, tenant="other")
    with storing(site, engine, keeper):
        site.ended(5)
    order = [subject.partition("/")[0] for subject in order_of_commits(site)]
    assert sorted(order[:4]) == ["acme", "acme", "other", "other"], order
    assert order[4] == "acme"
    assert order[0] != order[1] != order[2] != order[3]


def test_a_store_that_cannot_be_reached_stops_nobody_but_its_tenant(
    site: Site, engine: SharedEngine, keeper: Storekeeper
) -> None:
    site.add_tenant("other")
    in_the_way = Path(site.settings.store_url) / "acme"
    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.write_text("no folder")
    with storing(site, engine, keeper):
        site.upload("people.csv")
        assert site.status("people.csv", "profiles")["held_for"] == "store"
        for number in range(2):
            site.upload(f"{number}.csv", PROFILES + b"dan,%d\n" % number, tenant="other")
        site.ended(2)
        assert {subject.partition("/")[0] for subject in order_of_commits(site)} == {"other"}
        assert [job.status for job in site.jobs() if job.tenant == "acme"] == ["pending_refresh"]
        in_the_way.unlink()
        site.ended(3)
    assert order_of_commits(site)[-1] == "acme/1"
    assert stored(site, "profiles").height == 2


@pytest.mark.rule("F15")
def test_events_that_wait_go_by_their_oldest_and_profiles_before_them(
    site: Site, engine: SharedEngine, keeper: Storekeeper, commit_one_by_one: Callable[[int], None]
) -> None:
    commit_one_by_one(5)
    header = b"identity,evtName,ts\n"
    site.upload("first.csv", PROFILES + b"cas,\n")
    site.upload("march.csv", header + b"ann,Bought,1710000000\n", "events")
    site.upload("may.csv", header + b"ann,Bought,1715000000\nann,Bought,1706000000\n", "events")
    site.upload("april.csv", header + b"ann,Bought,1712000000\n", "events")
    site.upload("people.csv")
    with storing(site, engine, keeper):
        ended = site.ended(5)
    by_commit = sorted(ended, key=lambda job: job.commit_sequence or 0)
    assert [job.filename for job in by_commit[1:]] == ["people.csv", "may.csv", "march.csv", "april.csv"]
    assert by_commit[0].filename == "first.csv"


def test_events_that_were_held_long_enough_are_rejected_row_by_row_though_nothing_else_comes(
    site: Site, engine: SharedEngine, keeper: Storekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.set_policy("events", unknown_identity="hold", hold_hours=6)
    with storing(site, engine, keeper):
        held = site.upload("bought.csv", EVENTS, "events")
        until(lambda: site.state(held) == "held")
        later = site.upload("people.csv")
        until(lambda: site.state(later) == "done")
        until(lambda: site.transitions(held).count("held") == 2)
        site.upload("more.csv", b"identity,evtName,ts\nbob,Bought,1700000002\n", "events")
        until(lambda: len(commits_of(site)) == 2)
        true = clock.now
        monkeypatch.setattr(clock, "now", lambda: true() + timedelta(hours=6))
        until(lambda: site.state(held) == "done")
        until(lambda: site.outbox_names("events") and "bought.csv.status.json" not in site.outbox_names("events"))
    (job,) = (job for job in site.jobs() if job.drop_id == held)
    assert (job.accepted_rows, job.rejected_rows, job.commit_sequence) == (1, 1, 3)
    rows = site.ledger.rows("SELECT reason FROM transitions WHERE subject = ? AND new = 'claimed' ORDER BY id", (held,))
    assert rows[-1]["reason"] == "the profiles did not come in time"
    rejected = site.outbox.parent / "events" / "bought.csv.rejected.csv"
    assert rejected.read_text() == "identity,evtName,ts\nzed,Bought,1700000001\n"
    assert sorted(stored(site, "events")["identity"]) == ["ann", "bob"]
