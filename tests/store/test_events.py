"""Events are appended once; whoever is in them is known, or is told of (RULES.md section 4)."""

from __future__ import annotations

import polars as pl
import pytest

from gateway.store import Facts
from tests.store.conftest import Event, Jobs, Row, Stored, at

pytestmark = pytest.mark.timeout(60)


def counts(facts: Facts) -> tuple[int, list[int], list[int], int]:
    return facts.events, facts.duplicates.to_list(), facts.unknown.to_list(), facts.unknown_identities


@pytest.mark.rule("F24")
def test_events_are_stored_oldest_first_at_their_own_time(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([Row("ann", {})], [Event("ann", "b", 9), Event("ann", "a", 2), Event("ann", "c", 9)]))
    events = stored.store.events
    frame = events.scan(events.files()["path"]).collect()
    assert frame.select("name", "time").rows() == [("a", at(2)), ("b", at(9)), ("c", at(9))]
    assert frame["row"].to_list() == [2, 1, 3]
    assert set(frame["received"]) == {at(10_001)}


def test_an_event_of_the_file_the_commit_or_the_store_is_not_stored_again(stored: Stored, jobs: Jobs) -> None:
    same, other = Event("ann", minutes=1), Event("ann", minutes=1, properties='{"a":1}')
    first, second = stored.commit(jobs(events=[same, same]), jobs(events=[other, same]))
    [third] = stored.commit(jobs(events=[other, Event("ann", minutes=2), same]))
    assert [one.duplicates.to_list() for one in (first, second, third)] == [[2], [2], [1, 3]]
    assert [one.events for one in (first, second, third)] == [1, 1, 1]
    assert len(stored.events()) == 3


def test_another_feed_may_have_the_same_events(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs(events=[Event("ann")], feed="one"))
    [facts] = stored.commit(jobs(events=[Event("ann")], feed="two"))
    assert (facts.events, facts.duplicates.len()) == (1, 0)


@pytest.mark.parametrize("other", [Event("bob"), Event("ann", "sold"), Event("ann", minutes=1)])
def test_an_event_that_differs_is_no_duplicate(stored: Stored, jobs: Jobs, other: Event) -> None:
    stored.commit(jobs(events=[Event("ann")]))
    [facts] = stored.commit(jobs(events=[other]))
    assert facts.events == 1


def test_the_unique_columns_replace_the_comparison(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs(events=[Event("ann", unique_key='["7"]')]))
    again = [Event("ann", minutes=9, unique_key='["7"]'), Event("ann", unique_key='["8"]')]
    [facts] = stored.commit(jobs(events=again))
    assert (facts.events, facts.duplicates.to_list()) == (1, [1])


def test_allow_repeats_stores_every_event(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs(events=[Event("ann")]))
    [facts] = stored.commit(jobs(events=[Event("ann"), Event("ann")], allow_repeats=True))
    assert (facts.events, facts.duplicates.len(), len(stored.events())) == (2, 0, 3)


@pytest.mark.rule("F7", "F15")
def test_identities_of_the_store_and_of_the_same_commit_are_known(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([Row("ann", {})], companies=[Row("acme", {}, namespace="company_id")]))
    events = [Event("ann"), Event("bob"), Event("acme", namespace="company_id"), Event("acme"), Event("acme", "x")]
    [facts, _] = stored.commit(jobs(events=events), jobs([Row("bob", {})]))
    assert counts(facts) == (5, [], [4, 5], 1)


def test_unknown_identities_can_be_rejected_and_leave_nothing_behind(stored: Stored, jobs: Jobs) -> None:
    events = [Event("ann"), Event("zed"), Event("zed")]
    [rejecting] = stored.commit(jobs([Row("ann", {})], events, unknown_identity="reject"))
    assert counts(rejecting) == (1, [], [2, 3], 1)
    [accepting] = stored.commit(jobs(events=events))
    assert counts(accepting) == (1, [1, 3], [2, 3], 1)


def test_a_job_that_holds_waits_as_a_whole_until_its_identities_are_known(stored: Stored, jobs: Jobs) -> None:
    held = jobs([Row("bob", {})], [Event("ann"), Event("bob")], unknown_identity="hold")
    leaning = jobs(events=[Event("bob", minutes=1)], unknown_identity="hold")
    [one, two, three] = stored.commit(held, leaning, jobs(events=[Event("cyd")]))
    assert (one.held, two.held, three.held) == (True, True, False)
    assert (one.unknown_identities, two.unknown_identities) == (1, 1)
    assert (list(stored.values()), len(stored.events())) == ([], 1)
    facts = stored.commit(jobs([Row("ann", {})]), held, leaning)
    assert [one.held for one in facts] == [False, False, False]
    assert len(stored.events()) == 4


def test_events_of_many_months_are_in_partitions_that_are_few(stored: Stored, jobs: Jobs) -> None:
    day = 24 * 60
    stored.commit(jobs(events=[Event("ann", minutes=days * day) for days in (0, 1, 40, -5_000, -9_000, -30_000)]))
    months = stored.store.events.files().sort("partition")
    assert months.select("partition", "rows").rows() == [("2024-03", 2), ("2024-04", 1), ("earlier", 3)]
    assert pl.read_delta(stored.store.events.place.url).height == 6
