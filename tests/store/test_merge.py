"""Profiles are created, updated and merged; of each attribute the newest value stays (RULES.md section 3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.store.conftest import Jobs, Row, Stored, at, rows_of

pytestmark = pytest.mark.timeout(60)


@pytest.mark.rule("C9")
def test_an_unknown_identity_becomes_a_profile(stored: Stored, jobs: Jobs) -> None:
    [facts] = stored.commit(jobs([Row("ann", {"Name": '"Ann"', "Age": "34"})]))
    assert stored.value("ann") == {"Name": '"Ann"', "Age": "34"}
    assert (facts.created, facts.updated, facts.unchanged, facts.blanked) == (1, 0, 0, 0)


@pytest.mark.rule("C10", "C3")
def test_a_known_identity_gets_the_new_values_of_a_later_file(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([Row("ann", {"Name": '"Ann"'}, 1)]))
    [facts] = stored.commit(jobs([Row("ann", {"Name": '"Anne"'}, 2)]))
    assert stored.value("ann") == {"Name": '"Anne"'}
    assert (facts.created, facts.updated, facts.unchanged) == (0, 1, 0)


@pytest.mark.rule("C2")
def test_values_that_a_file_does_not_have_are_kept_beside_the_new_ones(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([Row("ann", {"Name": '"Ann"'}, 1)]))
    stored.commit(jobs([Row("ann", {"City": '"Cork"'}, 2)]))
    assert stored.value("ann") == {"City": '"Cork"', "Name": '"Ann"'}


@pytest.mark.rule("B3", "B4", "B5", "U118")
def test_each_attribute_keeps_the_value_with_the_newest_time_whatever_arrives_first(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([Row("ann", {"plan": '"gold"', "City": '"Cork"'}, 30)]))
    [facts] = stored.commit(jobs([Row("ann", {"plan": '"free"', "Name": '"Ann"'}, 10)]))
    assert stored.value("ann") == {"City": '"Cork"', "Name": '"Ann"', "plan": '"gold"'}
    assert facts.updated == 1


@pytest.mark.rule("B4")
def test_rows_of_one_file_resolve_by_their_times_and_equal_times_by_their_rows(stored: Stored, jobs: Jobs) -> None:
    rows = [Row("ann", {"a": "1", "b": "1"}, 5), Row("ann", {"a": "2"}, 5), Row("ann", {"a": "3", "b": "3"}, 4)]
    [facts] = stored.commit(jobs(rows))
    assert stored.value("ann") == {"a": "2", "b": "1"}
    assert (facts.created, facts.updated) == (1, 0)


def test_of_equal_times_the_later_job_wins_whichever_is_committed_first(stored: Stored, jobs: Jobs) -> None:
    early, late = jobs([Row("ann", {"a": '"early"'}, 5)]), jobs([Row("ann", {"a": '"late"'}, 5)])
    stored.commit(late)
    [facts] = stored.commit(early)
    assert stored.value("ann") == {"a": '"late"'}
    assert (facts.updated, facts.unchanged) == (0, 1)


def test_a_null_blanks_is_counted_and_an_older_value_does_not_come_back(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([Row("ann", {"Name": '"Ann"', "City": '"Cork"'}, 1)]))
    [blank] = stored.commit(jobs([Row("ann", {"Name": None, "never": None}, 5)]))
    [older] = stored.commit(jobs([Row("ann", {"Name": '"Anna"'}, 3)]))
    assert stored.value("ann") == {"City": '"Cork"', "Name": None, "never": None}
    assert (blank.updated, blank.blanked) == (1, 1)
    assert (older.updated, older.unchanged, older.blanked) == (0, 1, 0)


def test_what_brings_only_older_values_writes_nothing(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([Row("ann", {"Name": '"Ann"'}, 5)]))
    version, files = stored.store.profiles.version, stored.store.profiles.files()["path"].to_list()
    [facts] = stored.commit(jobs([Row("ann", {"Name": '"Old"'}, 1)]))
    assert (facts.unchanged, facts.updated) == (1, 0)
    stored.store.refresh()
    assert (stored.store.profiles.version, stored.store.profiles.files()["path"].to_list()) == (version, files)


def test_an_equal_value_with_a_newer_time_is_unchanged_and_yet_outlives_one_in_between(
    stored: Stored, jobs: Jobs
) -> None:
    stored.commit(jobs([Row("ann", {"Name": '"Ann"'}, 1)]))
    [same] = stored.commit(jobs([Row("ann", {"Name": '"Ann"'}, 9)]))
    stored.commit(jobs([Row("ann", {"Name": '"Between"'}, 5)]))
    assert stored.value("ann") == {"Name": '"Ann"'}
    assert (same.unchanged, same.updated) == (1, 0)
    [row] = rows_of(stored.store.profiles).to_dicts()
    assert row["updated_by"] == "job-0001"


def test_each_attribute_says_when_and_by_which_job_and_row_it_was_set(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([Row("bob", {}), Row("ann", {"Name": '"Ann"', "Age": "3"}, 1)]))
    stored.commit(jobs([Row("ann", {"Age": "4"}, 2)]))
    profiles = {row["identity"]: row for row in rows_of(stored.store.profiles).to_dicts()}
    assert profiles["ann"]["attributes"] == [
        ("Age", {"value": "4", "time": at(2), "job": "job-0002", "row": 1}),
        ("Name", {"value": '"Ann"', "time": at(1), "job": "job-0001", "row": 2}),
    ]
    assert (profiles["ann"]["created_by"], profiles["ann"]["updated_by"]) == ("job-0001", "job-0002")
    assert (profiles["ann"]["created"], profiles["ann"]["updated"]) == (at(10_001), at(10_002))
    assert profiles["bob"]["attributes"] == []


def test_name_spaces_are_apart_and_so_are_names_that_differ_in_case(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([Row("1", {"name": '"a"', "Name": '"b"'}), Row("1", {"name": '"c"'}, namespace="objectId")]))
    assert stored.value("1") == {"Name": '"b"', "name": '"a"'}
    assert stored.value("1", namespace="objectId") == {"name": '"c"'}


def test_companies_merge_in_a_table_of_their_own(stored: Stored, jobs: Jobs) -> None:
    acme = Row("acme", {"size": "5"}, namespace="company_id")
    [facts] = stored.commit(jobs([Row("ann", {"Name": '"Ann"'})], companies=[acme]))
    assert stored.value("acme", "companies", "company_id") == {"size": "5"}
    assert list(stored.values()) == [("identity", "ann")]
    assert facts.created == 2


def test_the_jobs_of_one_commit_are_told_as_if_each_went_alone(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([Row("ann", {"a": "0"}, 0)]))
    facts = stored.commit(
        jobs([Row("ann", {"a": "1"}, 1), Row("bob", {"a": "1"}, 1)]),
        jobs([Row("ann", {"a": None}, 2), Row("bob", {"a": "1"}, 2), Row("cyd", {"a": "1"}, 2)]),
        jobs([Row("ann", {"a": "9"}, 1.5), Row("bob", {"a": None}, 0.5), Row("cyd", {"b": "1"}, 2)]),
    )
    assert [(one.created, one.updated, one.unchanged, one.blanked) for one in facts] == [
        (1, 1, 0, 0),
        (1, 1, 1, 1),
        (0, 1, 2, 0),
    ]


def test_a_property_is_new_to_the_tenant_once(stored: Stored, jobs: Jobs) -> None:
    first = stored.commit(jobs([Row("ann", {"Name": '"A"', "later": None})]), jobs([Row("bob", {"City": '"B"'})]))
    second = stored.commit(jobs([Row("cyd", {"Name": '"C"', "later": "1"})]))
    assert [one.new_properties for one in [*first, *second]] == [["Name"], ["City"], ["later"]]


def test_a_dry_run_tells_the_same_and_writes_nothing(stored: Stored, jobs: Jobs) -> None:
    job = jobs([Row("ann", {"Name": '"A"'})])
    dry = stored.store.prepare(1, [job], write=False)
    assert stored.store.commit(dry) == []
    folder = stored.store.place.folder
    assert folder is not None
    assert not folder.exists()
    assert dry.facts[job.job].created == stored.commit(job)[0].created == 1


def test_attributes_that_are_columns_are_those_that_are_pairs(new_store: Callable[[str], Stored], jobs: Jobs) -> None:
    """Text and JSON, blanks and absent values; names that are alike but for their case, or those of our columns."""
    rows = [
        Row("ann", {"a": '"x"', "A": "1", "time": '"null"', "text:a": "true"}),
        Row("bob", {"a": None, "json:": '{"b": "\\""}', "row": '"ü, x"'}, 1),
        Row("ann", {"a": "2", "A": None, "identity": '""', "text:a": None}, 2),
        Row("eve", {}),
    ]
    pairs, columns = new_store("pairs"), new_store("columns")
    told = [store.commit(jobs(rows, job="the-job", as_columns=store is columns))[0] for store in (pairs, columns)]
    assert columns.values() == pairs.values()
    assert columns.value("ann") == {
        "A": None, "a": "2", "identity": '""', "text:a": None, "time": '"null"',
    }  # fmt: skip
    assert columns.value("bob") == {"a": None, "json:": '{"b": "\\""}', "row": '"ü, x"'}
    assert columns.value("eve") == {}
    assert [(one.created, one.blanked, one.new_properties) for one in told] == [
        (3, 0, ["A", "a", "identity", "json:", "row", "text:a", "time"])
    ] * 2
