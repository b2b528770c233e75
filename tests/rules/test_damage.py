"""Damage by spreadsheets and wrong encodings is found and counted, and rejects nothing."""

from __future__ import annotations

import pytest

from tests.rules.conftest import Run, ndjson, table

PROFILES, EVENTS = "clevertap-profiles", "clevertap-events"


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        pytest.param("identity", "1.23E+11", "scientific_id", id="an id in scientific notation"),
        pytest.param("identity", "1,23E+11", "scientific_id", id="the same with a decimal comma"),
        pytest.param("Name", "#N/A", "spreadsheet_error", id="#N/A"),
        pytest.param("Name", "#REF!", "spreadsheet_error", id="#REF!"),
        pytest.param("Name", "RenÃ©", "mojibake", id="mojibake"),
        pytest.param("Name", "Itâ€™s", "mojibake", id="a garbled apostrophe"),
    ],
)
def test_a_damaged_value_is_a_warning_with_its_count_and_the_row_goes_in(
    run: Run, column: str, value: str, code: str
) -> None:
    rows = [["1", "Ann"], ["2", "Bob"]]
    rows[1][("identity", "Name").index(column)] = value
    result = run(table(["identity", "Name"], *rows), PROFILES)
    assert [row[column] for row in result.accepted][1] == value
    assert result.codes == {code: 1}
    problem = result.problem(code)
    assert (problem["level"], problem["column"], problem["row"]) == ("warning", column, 2)
    assert problem["hint"]


@pytest.mark.parametrize("value", ["1e5", "Plan #N/A", "Ångström", "São Paulo", "Â", "“René”"])
def test_what_only_looks_like_damage_is_left_alone(run: Run, value: str) -> None:
    assert run(table(["identity", "Name"], ["1", value]), PROFILES).codes == {}


def test_lost_leading_zeros_show_as_a_few_ids_that_are_shorter(run: Run) -> None:
    ids = [str(70_000_000 + 131_071 * at) for at in range(30)]
    ids[7] = "1234567"
    result = run(table(["identity"], *([one] for one in ids)), PROFILES)
    assert (result.codes, result.report["accepted_rows"]) == ({"lost_leading_zeros": 1}, 30)
    kept = [*ids[:7], "01234567", *ids[8:]]
    assert run(table(["identity"], *([one] for one in kept)), PROFILES).codes == {}


def test_a_nul_escape_in_json_is_a_warning(run: Run) -> None:
    lines = ndjson({"identity": "1", "evtName": "a\0b", "ts": 1700000000})
    result = run(lines, EVENTS, name="a.ndjson")
    assert (result.codes, result.report["accepted_rows"]) == ({"nul_escape": 1}, 1)


def test_typographic_quotes_in_a_header_are_a_warning(run: Run) -> None:
    result = run(table(["identity", "“Name”"], ["1", "Ann"]), PROFILES)
    assert result.problem("smart_quotes")["column"] == "“Name”"


@pytest.mark.parametrize("value", ["007", "12345678901234567890", "1e5", "+1", "1.50", "TRUE", " x "])
def test_values_stay_as_they_were_written(run: Run, value: str) -> None:
    result = run(table(["identity", "Plan"], [f"id{value}", value]), PROFILES)
    assert result.accepted == [{"identity": f"id{value}", "Plan": value}]
