"""Events: their order and their time (RULES.md section 4), for CleverTap's files."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from tests.pipeline.conftest import AS_OF
from tests.rules.conftest import Run, ndjson, table

EVENTS = "clevertap-events"
HEADER = ["identity", "evtName", "ts", "Price"]


def unix(moment: datetime) -> str:
    return str(int(moment.timestamp()))


def shuffled(count: int) -> list[list[str]]:
    """Events of random times in random order; every time stands there about three times."""
    pick = random.Random(3)
    return [[f"u{number}", "bought", str(1_700_000_000 + pick.randrange(count // 3)), ""] for number in range(count)]


@pytest.mark.rule("F17")
@pytest.mark.rule("F18")
def test_events_are_written_oldest_first_and_equal_times_keep_the_order_of_the_file(run: Run) -> None:
    rows = shuffled(600)
    result = run(table(HEADER, *rows), EVENTS)
    assert [list(row.values()) for row in result.accepted] == sorted(rows, key=lambda row: int(row[2]))
    assert run(table(HEADER, *rows), EVENTS).files["accepted"] == result.files["accepted"]


@pytest.mark.rule("F17")
def test_the_report_says_how_many_rows_were_out_of_order_and_the_first_and_last_time(run: Run) -> None:
    rows = [["1", "bought", str(1_700_000_000 + second), ""] for second in (10, 30, 20, 25, 40, 0)]
    order = run(table(HEADER, *rows), EVENTS).report["order"]
    assert order == {
        "first": "2023-11-14T22:13:20.000000Z", "last": "2023-11-14T22:14:00.000000Z", "rows_moved": 3,
    }  # fmt: skip


@pytest.mark.rule("F18")
@pytest.mark.parametrize("result_format", ["csv", "ndjson"])
def test_order_is_of_time_not_of_text(run: Run, result_format: str) -> None:
    rows = [["1", "a", "1000000000.5", ""], ["1", "b", "999999999", ""], ["1", "c", "1000000000", ""]]
    result = run(table(HEADER, *rows), EVENTS, result_format=result_format)
    assert [row["evtName"] for row in result.accepted] == ["b", "c", "a"]


@pytest.mark.rule("F2")
@pytest.mark.rule("F24")
def test_an_event_of_an_older_system_counts_at_its_own_time(run: Run) -> None:
    lines = ndjson(
        {"identity": "1", "evtName": "Purchased", "ts": 1_000_000_000, "Price": 59.9, "Tags": ["a", {"b": 1}]}
    )
    result = run(lines, EVENTS, name="old.ndjson")
    assert result.accepted == [
        {"identity": "1", "evtName": "Purchased", "ts": 1_000_000_000, "Price": 59.9, "Tags": ["a", {"b": 1}]}
    ]
    assert result.report["order"]["last"] == "2001-09-09T01:46:40.000000Z"


@pytest.mark.rule("F16")
def test_events_come_as_csv_or_ndjson_and_mean_the_same(run: Run) -> None:
    from_csv = run(table(HEADER, ["1", "bought", "1700000000", "5"]), EVENTS)
    from_json = run(
        ndjson({"identity": "1", "evtName": "bought", "ts": 1700000000, "Price": "5"}), EVENTS, name="a.ndjson"
    )
    assert from_csv.accepted == [{"identity": "1", "evtName": "bought", "ts": "1700000000", "Price": "5"}]
    assert from_json.accepted == [{"identity": "1", "evtName": "bought", "ts": 1700000000, "Price": "5"}]


@pytest.mark.rule("B8")
def test_an_event_without_a_time_counts_at_its_upload(run: Run) -> None:
    result = run(table(HEADER, ["1", "late", unix(AS_OF + timedelta(minutes=5)), ""], ["1", "bought", "", ""]), EVENTS)
    assert [(row["evtName"], row["ts"]) for row in result.accepted] == [
        ("bought", unix(AS_OF)), ("late", unix(AS_OF + timedelta(minutes=5))),
    ]  # fmt: skip


@pytest.mark.rule("F16")
@pytest.mark.parametrize(
    ("changes", "code", "column"),
    [
        ({"identity": ""}, "missing_identity", "identity"),
        ({"identity": "Anonymous"}, "placeholder_identity", "identity"),
        ({"evtName": " "}, "missing_required", "evtName"),
        ({"ts": "2024-07-28T08:55:35Z"}, "bad_unix_time", "ts"),
        ({"ts": "1e9"}, "bad_unix_time", "ts"),
    ],
)
def test_an_event_without_who_what_or_a_readable_when_is_rejected(
    run: Run, changes: dict[str, str], code: str, column: str
) -> None:
    good = {"identity": "1", "evtName": "bought", "ts": "1700000000"}
    for name, body in (
        ("a.csv", table(list(good), list((good | changes).values()), ["2", "bought", "1700000000"])),
        ("a.ndjson", ndjson(good | changes, good | {"identity": "2"})),
    ):
        result = run(body, EVENTS, name=name)
        assert result.report["accepted_rows"] == 1
        assert (result.problem(code)["column"], result.codes) == (column, {code: 1})


@pytest.mark.rule("F25")
def test_events_beyond_the_retention_or_in_the_future_are_rejected(run: Run) -> None:
    times = {
        "just kept": AS_OF - timedelta(days=30), "too old": AS_OF - timedelta(days=30, seconds=1),
        "soon": AS_OF + timedelta(hours=1), "too late": AS_OF + timedelta(hours=1, seconds=1),
    }  # fmt: skip
    rows = [["1", name, unix(moment), ""] for name, moment in times.items()]
    result = run(table(HEADER, *rows), EVENTS, retention_days=30)
    assert [row["evtName"] for row in result.accepted] == ["just kept", "soon"]
    assert {error["code"]: error["row"] for error in result.errors} == {"beyond_retention": "2", "in_the_future": "4"}
    assert run(table(HEADER, rows[1]), EVENTS, retention_days=None).report["accepted_rows"] == 1


@pytest.mark.rule("F17")
def test_an_event_that_equals_an_earlier_one_is_counted_and_not_written_again(run: Run) -> None:
    rows = [
        ["1", "bought", "1700000000", "5"], ["1", "bought", "1700000000", "6"], ["1", "bought", "1700000000000", "5"],
        ["2", "bought", "1700000000", "5"], ["1", "bought", "1700000000", "5"],
    ]  # fmt: skip
    result = run(table(HEADER, *rows), EVENTS)
    assert (result.report["accepted_rows"], result.report["duplicate_rows"]) == (3, 2)


def test_as_of_is_what_now_means(run: Run) -> None:
    body = table(HEADER, ["1", "bought", unix(AS_OF), ""])
    assert run(body, EVENTS, as_of=datetime(2024, 1, 1, tzinfo=UTC)).codes == {"in_the_future": 1}
    assert run(body, EVENTS, as_of=AS_OF).codes == {}
