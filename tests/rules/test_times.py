"""Time is told, not guessed: what each report says of every time column, and local times that clocks skip or repeat."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.rules.conftest import Run, ndjson, record, table

PROFILES, EVENTS = "clevertap-profiles", "clevertap-events"
BERLIN = {"timezone": "Europe/Berlin", "as_of": datetime(2025, 1, 1, tzinfo=UTC)}
DAY_FIRST = "seen<dd/MM/yyyy HH:mm:ss>"


def told(report: dict[str, Any], column: str) -> dict[str, Any]:
    """What the report says of one time column."""
    (found,) = [entry for entry in report["time_columns"] if entry["column"] == column]
    return {key: value for key, value in found.items() if value != 0 and key != "column"}


@pytest.mark.rule("U79")
def test_the_report_tells_format_first_last_and_how_many_values_have_no_zone(userpilot: Run) -> None:
    stamps = [
        "2024-07-02T00:00:00",
        "2024-07-01 00:00:00.5",
        "2024-07-03T00:00:00+02:00",
        "2024-07-01T08:00:00Z",
        "soon",
    ]
    report = userpilot(*(record("track", inserted_at=stamp) for stamp in stamps), **BERLIN).report
    assert told(report, "inserted_at") == {
        "format": "ISO 8601", "first": "2024-06-30T22:00:00.500000Z", "last": "2024-07-02T22:00:00.000000Z",
        "values": 4, "without_zone": 2,
    }  # fmt: skip
    assert report["order"]["rows_moved"] == 2


@pytest.mark.rule("C39")
def test_the_report_tells_milliseconds_from_seconds(run: Run) -> None:
    lines = ndjson(
        *({"identity": "1", "evtName": "a", "ts": ts} for ts in (1700000001000, 1700000000, "1700000002000"))
    )
    report = run(lines, EVENTS, name="a.ndjson").report
    found = told(report, "ts")
    assert (found["first"], found["last"]) == ("2023-11-14T22:13:20.000000Z", "2023-11-14T22:13:22.000000Z")
    assert (found["values"], found["milliseconds"], report["problems_by_code"]) == (3, 2, {"milliseconds": 2})


@pytest.mark.rule("C43")
def test_the_report_tells_how_many_dates_another_format_would_read_as_another_day(run: Run) -> None:
    dates = ["03/04/2024", "04/04/2024", "13/04/2024 08:00:00", ""]
    report = run(table(["identity", DAY_FIRST], *([str(at), date] for at, date in enumerate(dates))), PROFILES).report
    assert told(report, DAY_FIRST) == {
        "format": "dd/MM/yyyy HH:mm:ss", "first": "2024-04-03T12:00:00.000000Z", "last": "2024-04-13T08:00:00.000000Z",
        "values": 3, "without_zone": 3, "fits_two_formats": 1,
    }  # fmt: skip


@pytest.mark.rule("U79")
def test_a_local_time_that_never_was_rejects_the_row(run: Run, userpilot: Run) -> None:
    given = [record("track", inserted_at=stamp) for stamp in ("2024-03-31 02:30:00", "2024-03-31 03:30:00")]
    result = userpilot(*given, **BERLIN)
    assert [row["inserted_at"] for row in result.accepted] == ["2024-03-31T01:30:00.000000Z"]
    problem = result.problem("nonexistent_local_time")
    assert (problem["row"], problem["value"], result.codes) == (1, "2024-03-31 02:30:00", {"nonexistent_local_time": 1})
    assert "Europe/Berlin" in problem["message"]
    assert userpilot(*given).report["accepted_rows"] == 2
    dated = run(table(["identity", DAY_FIRST], ["1", "31/03/2024 02:30:00"]), PROFILES, **BERLIN)
    assert dated.codes == {"nonexistent_local_time": 1}


@pytest.mark.rule("U79")
def test_of_a_local_time_that_was_twice_the_earlier_is_taken_with_a_warning(userpilot: Run) -> None:
    result = userpilot(record("track", inserted_at="2024-10-27 02:30:00"), **BERLIN)
    assert [row["inserted_at"] for row in result.accepted] == ["2024-10-27T00:30:00.000000Z"]
    assert result.problem("ambiguous_local_time")["level"] == "warning"
    zoned = userpilot(record("track", inserted_at="2024-10-27 02:30:00+01:00"), **BERLIN)
    assert ([row["inserted_at"] for row in zoned.accepted], zoned.codes) == (["2024-10-27T01:30:00.000000Z"], {})
