"""Look-ups: a profile with where each value came from, its last events, and events by identity and time."""

from __future__ import annotations

import pytest

from gateway.store import TenantStore, identities, lookup
from gateway.store.lookup import Attribute, Wanted
from tests.store.conftest import Event, Jobs, Row, Stored, at

pytestmark = pytest.mark.timeout(60)
MONTH = 31 * 24 * 60


def test_a_profile_tells_where_each_value_came_from(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "BUCKET_ROWS_MAX", 10)
    stored.commit(jobs([Row(f"person {n}", {"n": str(n), "x": None}) for n in range(100)]))
    stored.commit(jobs([Row("person 7", {"n": "70"}, 5), Row("person 7", {"s": "5"}, namespace="company_id")]))
    stored.store.refresh()
    [profile] = lookup.profiles(stored.store, "person 7")
    assert (profile.table, profile.namespace, profile.created, profile.updated) == (
        "profiles", "identity", at(10_001), at(10_002)
    )  # fmt: skip
    assert profile.attributes == (
        Attribute("n", "70", at(5), "job-0002", 1),
        Attribute("x", None, at(0), "job-0001", 8),
    )


def test_an_identity_of_several_name_spaces_is_found_in_each(stored: Stored, jobs: Jobs) -> None:
    company = Row("1", {"size": "5"}, namespace="company_id")
    stored.commit(jobs([Row("1", {"a": "1"}), Row("1", {"b": "1"}, namespace="email")], companies=[company]))
    stored.store.refresh()
    found = [(one.table, one.namespace) for one in lookup.profiles(stored.store, "1")]
    assert found == [("profiles", "email"), ("profiles", "identity"), ("companies", "company_id")]
    assert [one.namespace for one in lookup.profiles(stored.store, "1", "email")] == ["email"]
    assert lookup.profiles(stored.store, "2") == []


def test_a_store_that_is_not_there_yet_has_nothing(stored: Stored) -> None:
    assert lookup.profiles(stored.store, "ann") == []
    assert list(lookup.events(stored.store, Wanted())) == []
    assert lookup.last_events(stored.store, Wanted("ann")) == []


def with_events(stored: Stored, jobs: Jobs) -> TenantStore:
    late = [Event("ann", "late", 2 * MONTH), Event("bob", "late", 2 * MONTH + 1), Event("ann", "later", 2 * MONTH + 2)]
    stored.commit(jobs(events=late))
    stored.commit(jobs(events=[Event("ann", "early", -200 * MONTH), Event("ann", "middle", 5), Event("bob", "m", 6)]))
    stored.store.refresh()
    return stored.store


@pytest.mark.parametrize("rows", [250_000, 1], ids=["sorted by month", "merged from the files"])
def test_events_come_newest_last_of_an_identity_and_since_a_time(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(lookup, "BATCH_ROWS", rows)
    store = with_events(stored, jobs)

    def names(wanted: Wanted) -> list[str]:
        return [row["name"] for row in lookup.events(store, wanted)]

    assert names(Wanted()) == ["early", "middle", "m", "late", "late", "later"]
    assert names(Wanted("ann")) == ["early", "middle", "late", "later"]
    assert names(Wanted("ann", "objectId")) == []
    assert names(Wanted("ann", since=at(5))) == ["middle", "late", "later"]
    assert names(Wanted(since=at(6), until=at(2 * MONTH + 1))) == ["m", "late"]


def test_the_last_events_come_from_the_newest_months(stored: Stored, jobs: Jobs) -> None:
    store = with_events(stored, jobs)
    assert [row["name"] for row in lookup.last_events(store, Wanted("ann"), 2)] == ["late", "later"]
    assert [row["name"] for row in lookup.last_events(store, Wanted("ann"), 3)] == ["middle", "late", "later"]
    assert [row["name"] for row in lookup.last_events(store, Wanted("ann"))] == ["early", "middle", "late", "later"]
