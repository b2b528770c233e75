"""Identify records that lack or blank what an earlier one had (U109-U119), in one file and across files."""

from __future__ import annotations

import pytest

from tests.store.conftest import Jobs, Row, Stored

pytestmark = pytest.mark.timeout(60)

FULL: dict[str, str | None] = {"name": '"Ann"', "email": '"a@example.com"'}


def identify(attributes: dict[str, str | None], minutes: float = 0) -> Row:
    return Row("ann", attributes, minutes, "user_id")


@pytest.mark.rule("U110", "U111", "U112", "U117", "U119")
def test_a_record_that_lacks_a_property_seen_before_is_named(stored: Stored, jobs: Jobs) -> None:
    rows = [identify(FULL, 1), identify({"email": '"a@example.com"'}, 2)]
    [facts] = stored.commit(jobs(rows, accumulating=True))
    assert facts.shrinking == [(2, ["name"])]
    assert stored.value("ann", namespace="user_id") == FULL


@pytest.mark.rule("U109", "U113", "U114", "U116")
def test_a_set_that_only_grows_is_not(stored: Stored, jobs: Jobs) -> None:
    rows = [
        identify({"name": '"A"', "location": None, "job_title": None}, 1),
        identify({"name": '"A"', "location": '"Dublin"', "job_title": None}, 2),
        identify({"name": '"A"', "location": '"Dublin"', "job_title": '"Architect"', "more": "1"}, 3),
    ]
    [facts] = stored.commit(jobs(rows, accumulating=True))
    assert (facts.shrinking_rows, facts.shrinking) == (0, [])


@pytest.mark.rule("U115")
def test_a_record_that_blanks_a_value_that_was_set_is_named(stored: Stored, jobs: Jobs) -> None:
    [facts] = stored.commit(jobs([identify(FULL, 1), identify(FULL | {"name": None}, 2)], accumulating=True))
    assert facts.shrinking == [(2, ["name"])]
    assert facts.blanked == 0  # Within one job the identity had no value before.


@pytest.mark.rule("U110")
def test_it_works_across_files_in_the_order_of_the_times(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([identify(FULL, 5)], accumulating=True))
    late, early = (
        jobs([identify({"name": None}, 9)], accumulating=True),
        jobs([identify({"x": "1"}, 1)], accumulating=True),
    )
    [shrunk, before] = stored.commit(late, early)
    assert shrunk.shrinking == [(1, ["email", "name", "x"])]
    assert before.shrinking == []


def test_other_contracts_may_bring_a_part(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs([identify(FULL, 1)]))
    [facts] = stored.commit(jobs([identify({"name": '"B"'}, 2)]))
    assert facts.shrinking_rows == 0


def test_the_rows_that_are_named_are_limited_and_all_are_counted(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.facts.ROWS_NAMED_MAX", 2)
    rows = [identify(FULL, 0), *(identify({"email": '"e"'}, minutes) for minutes in range(1, 6))]
    [facts] = stored.commit(jobs(rows, accumulating=True))
    assert (facts.shrinking_rows, facts.shrinking) == (5, [(2, ["name"]), (3, ["name"])])
