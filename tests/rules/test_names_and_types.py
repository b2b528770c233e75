"""Values of the wrong JSON type, and columns and keys that the contract does not know."""

from __future__ import annotations

import json

import pytest

from tests.rules.conftest import Run, ndjson, record, table

PROFILES = "clevertap-profiles"
TEXTS = [
    pytest.param("browser", marks=pytest.mark.rule("U89")),
    pytest.param("device_type", marks=pytest.mark.rule("U92")),
    pytest.param("operating_system", marks=pytest.mark.rule("U94")),
    pytest.param("user_agent", marks=pytest.mark.rule("U97")),
    pytest.param("user_id", marks=pytest.mark.rule("U73")),
    pytest.param("event_name", marks=pytest.mark.rule("U74")),
    "pathname",
]


@pytest.mark.parametrize("value", [{"a": 1}, ["a"], True])
@pytest.mark.parametrize("field", TEXTS)
def test_an_object_an_array_or_a_boolean_is_no_text(userpilot: Run, field: str, value: object) -> None:
    result = userpilot(record("track", **{field: value}))
    assert (result.report["rejected_rows"], result.report["problems_by_column"]) == (1, {field: 1})
    (problem,) = result.report["problems"]
    assert problem["message"].startswith(f"{field}: expected ")


@pytest.mark.parametrize(
    ("contract", "given", "key", "meant"),
    [
        ("customerio-events", {"id": "1", "name": "a", "properties": {"price": 1}}, "properties", None),
        ("userpilot-import", record("track", contry_code="DE"), "contry_code", "country_code"),
        ("clevertap-events", {"identity": "1", "evtName": "a", "TS": 1700000000}, "TS", "ts"),
    ],
)
def test_a_key_that_no_rule_knows_is_told_in_ndjson_as_in_csv(
    run: Run, contract: str, given: dict[str, object], key: str, meant: str | None
) -> None:
    result = run(ndjson(given), contract, name="a.ndjson")
    problem = result.problem("unknown_column")
    assert (problem["level"], problem["column"]) == ("warning", key)
    assert meant is None or f"did you mean '{meant}'?" in problem["message"]


@pytest.mark.rule("C30")
@pytest.mark.parametrize("header", [["objectId", "Identity"], ["identity", "IDENTITY"]])
def test_an_identity_in_another_case_refuses_the_file_also_beside_a_key_that_is_right(
    run: Run, header: list[str]
) -> None:
    result = run(table(header, ["1", "2"]), PROFILES)
    assert (result.report["status"], result.codes) == ("failed", {"wrong_case_column": 1})


@pytest.mark.rule("C30")
def test_the_hint_of_an_event_without_identity_names_the_right_spelling(run: Run) -> None:
    result = run(ndjson({"Identity": "1", "evtName": "a", "ts": 1}), "clevertap-events", name="a.ndjson")
    said = json.dumps(result.report["problems"])
    assert "'Identity'" in said


@pytest.mark.rule("B8")
def test_a_time_under_a_header_with_a_format_is_not_lost_without_a_word(run: Run) -> None:
    body = table(["identity", "evtName", "ts<dd/MM/yyyy HH:mm:ss>"], ["1", "a", "31/12/2023"])
    result = run(body, "clevertap-events")
    assert result.codes != {} or result.report["order"]["first"] == "2023-12-31T12:00:00.000000Z"
