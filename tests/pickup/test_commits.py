"""What staged jobs bring goes into the store, together and once, before their results are published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pytest

from gateway.ledger import commits
from gateway.pickup.pickup import Pickup
from gateway.store import TenantStore
from gateway.storekeeper import Storekeeper
from tests.pickup.conftest import Site
from tests.pickup.contributing import ContributingEngine

EVENTS = b"identity,evtName,ts\nann,Bought,1700000000\nzed,Bought,1700000001\n"


@pytest.fixture(scope="module")
def engine() -> Iterator[ContributingEngine]:
    made = ContributingEngine(1)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def keeper(site: Site) -> Iterator[Storekeeper]:
    made = Storekeeper(site.settings.store_url, {})
    yield made
    made.stop()


@contextmanager
def storing(site: Site, engine: ContributingEngine, keeper: Storekeeper) -> Iterator[Pickup]:
    pickup = Pickup(site.live, site.ledger, engine, keeper)
    pickup.finish_earlier()
    pickup.start()
    try:
        yield pickup
    finally:
        pickup.stop()


def stored(site: Site, table: str) -> pl.DataFrame:
    store = TenantStore(site.settings.store_url, "acme")
    found = getattr(store, table)
    return found.scan(found.files()["path"]).collect()


def commits_of(site: Site) -> list[tuple[int, str]]:
    found = site.ledger.rows("SELECT sequence, state FROM commits ORDER BY sequence")
    return [(row["sequence"], row["state"]) for row in found]


def test_what_was_accepted_is_in_the_store_when_its_report_is_there(
    site: Site, engine: ContributingEngine, keeper: Storekeeper
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
    site: Site, engine: ContributingEngine, keeper: Storekeeper
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
    site: Site, engine: ContributingEngine, keeper: Storekeeper
) -> None:
    with storing(site, engine, keeper):
        site.upload("people.csv", b"no such header\n1\n")
        (job,) = site.ended()
    assert (job.status, job.commit_sequence, commits_of(site)) == ("failed", None, [])
    assert commits.last_sequence(site.ledger, "acme") == 0


__all__ = ["Any"]
