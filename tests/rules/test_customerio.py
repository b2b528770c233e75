"""Customer.io's backfill: people merge by `_timestamp`, events carry their own time (RULES.md sections 3 and 4)."""

from __future__ import annotations

import itertools

import pytest

from tests.pipeline.conftest import AS_OF
from tests.rules.conftest import Run, ndjson, table

PEOPLE, EVENTS = "customerio-people", "customerio-events"
NOW = str(int(AS_OF.timestamp()))
CALLS = [
    ["42", "100", "Jane", "basic", ""],
    ["42", "300", "", "pro", ""],
    ["42", "200", "Janet", "", "Dublin"],
]
PERSON = ["id", "_timestamp", "first_name", "plan", "city"]


@pytest.mark.rule("B3")
@pytest.mark.rule("B4")
@pytest.mark.rule("B5")
@pytest.mark.parametrize(
    "calls", list(itertools.permutations(CALLS)), ids=lambda calls: "-".join(call[1] for call in calls)
)
def test_each_attribute_has_its_newest_value_by_timestamp_whatever_the_order_of_the_rows(
    run: Run, calls: tuple[list[str], ...]
) -> None:
    result = run(table(PERSON, *calls), PEOPLE)
    assert result.accepted == [
        {"id": "42", "_timestamp": "300", "first_name": "Janet", "plan": "pro", "city": "Dublin"}
    ]
    assert (result.report["total_rows"], result.report["merged_rows"]) == (3, 2)


@pytest.mark.rule("B4")
def test_a_row_without_a_timestamp_counts_as_of_its_upload(run: Run) -> None:
    rows = [["42", "", "Now", "", ""], ["42", str(int(NOW) - 1), "Earlier", "", ""], ["7", "1", "Other", "", ""]]
    result = run(table(PERSON, *rows), PEOPLE)
    assert {row["id"]: row["first_name"] for row in result.accepted} == {"42": "Now", "7": "Other"}
    assert {row["id"]: row["_timestamp"] for row in result.accepted} == {"42": NOW, "7": "1"}


@pytest.mark.rule("B5")
def test_of_equal_timestamps_the_later_row_wins(run: Run) -> None:
    result = run(table(PERSON, ["42", "5", "First", "", ""], ["42", "5", "Second", "", ""]), PEOPLE)
    assert [row["first_name"] for row in result.accepted] == ["Second"]


@pytest.mark.rule("B4")
def test_a_timestamp_that_is_none_rejects_the_row(run: Run) -> None:
    result = run(table(PERSON, ["42", "yesterday", "Jane", "", ""]), PEOPLE)
    assert result.problem("bad_unix_time")["column"] == "_timestamp"


@pytest.mark.rule("B6")
@pytest.mark.rule("B7")
def test_a_csv_of_users_is_a_whole_import_of_people_by_id_or_email(run: Run) -> None:
    rows = [["42", "jane@example.com", "pro"], ["", "john@example.com", "basic"], ["43", "", ""], ["", "", "pro"]]
    result = run(table(["id", "email", "plan"], *rows), PEOPLE)
    accepted = [[row["id"], row["email"], row["plan"]] for row in result.accepted]
    assert accepted == rows[:3]
    assert result.codes == {"missing_identity": 1}
    assert result.report["properties"]["created"] == ["plan"]


@pytest.mark.rule("B6")
def test_id_and_email_are_separate_name_spaces(run: Run) -> None:
    result = run(table(["id", "email"], ["a@example.com", ""], ["", "a@example.com"]), PEOPLE)
    assert (result.report["accepted_rows"], result.report["merged_rows"]) == (2, 0)


@pytest.mark.rule("B8")
@pytest.mark.parametrize("absent", [{}, {"timestamp": None}, {"timestamp": ""}])
def test_an_event_without_a_timestamp_counts_at_its_upload(run: Run, absent: dict[str, str | None]) -> None:
    result = run(ndjson({"id": "42", "name": "purchased"} | absent), EVENTS, name="a.ndjson")
    assert result.accepted == [{"id": "42", "name": "purchased", "timestamp": int(NOW), "data": {}}]
    assert result.report["order"]["first"] == "2024-08-01T12:00:00.000000Z"


@pytest.mark.rule("B18")
@pytest.mark.parametrize(
    ("given", "stored"), [(1359389415, 1359389415), ("1359389415", 1359389415), (1359389415.25, 1359389415.25)]
)
def test_an_events_timestamp_is_in_unix_seconds(run: Run, given: object, stored: float) -> None:
    result = run(ndjson({"id": "42", "name": "purchased", "timestamp": given}), EVENTS, name="a.ndjson")
    assert [row["timestamp"] for row in result.accepted] == [stored]
    assert result.report["order"]["first"].startswith("2013-01-28T16:10:15.")


@pytest.mark.rule("B18")
@pytest.mark.parametrize(
    "given", ["2013-01-28", "2013-01-28T16:10:15Z", "soon", True, [1359389415], {"at": 1359389415}]
)
def test_a_timestamp_of_another_form_rejects_the_event(run: Run, given: object) -> None:
    result = run(ndjson({"id": "42", "name": "purchased", "timestamp": given}), EVENTS, name="a.ndjson")
    assert (result.problem("bad_unix_time")["column"], result.report["rejected_rows"]) == ("timestamp", 1)


@pytest.mark.rule("B19")
@pytest.mark.rule("B22")
def test_a_timestamp_inside_data_is_an_attribute_and_never_the_events_time(run: Run) -> None:
    lines = ndjson(
        {"id": "1", "name": "inside", "data": {"timestamp": 1000000000}},
        {"id": "2", "name": "both", "timestamp": 1359389415, "data": {"timestamp": 1722513600}},
    )
    result = run(lines, EVENTS, name="a.ndjson")
    assert [(row["name"], row["timestamp"], row["data"]) for row in result.accepted] == [
        ("both", 1359389415, {"timestamp": 1722513600}),
        ("inside", int(NOW), {"timestamp": 1000000000}),
    ]


@pytest.mark.rule("B20")
@pytest.mark.rule("B21")
@pytest.mark.rule("B22")
def test_form_style_columns_and_a_json_object_mean_the_same(run: Run) -> None:
    rows = [
        ["1", "a", "100", "23.45", "x, y", "100"], ["2", "b", "200", "", 'say "hi"', ""], ["3", "c", "300", "", "", ""],
    ]  # fmt: skip
    header = ["id", "name", "timestamp", "data[price]", "data[note]", "data[timestamp]"]
    from_form = run(table(header, *rows), EVENTS, result_format="ndjson")
    from_json = run(
        ndjson(
            {"id": "1", "name": "a", "timestamp": 100, "data": {"price": 23.45, "note": "x, y", "timestamp": 100}},
            {"id": "2", "name": "b", "timestamp": 200, "data": {"note": 'say "hi"'}},
            {"id": "3", "name": "c", "timestamp": 300, "data": {}},
        ),
        EVENTS,
        name="a.ndjson",
    )
    assert from_form.accepted == from_json.accepted
    assert from_form.files["accepted"] == from_json.files["accepted"]
    objects = [["1", "a", "100", '{"price": 23.45, "note": "x, y", "timestamp": 100}']]
    from_object = run(table(["id", "name", "timestamp", "data"], *objects), EVENTS, result_format="ndjson")
    assert from_object.accepted == from_json.accepted[:1]


@pytest.mark.rule("B21")
@pytest.mark.parametrize("data", ["text", [1], 5, True])
def test_data_that_is_no_object_rejects_the_event(run: Run, data: object) -> None:
    result = run(ndjson({"id": "42", "name": "purchased", "data": data}), EVENTS, name="a.ndjson")
    assert (result.problem("not_object")["column"], result.report["rejected_rows"]) == ("data", 1)
