"""The example rows of the documents, byte for byte as they stand there, give what the documents say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.rules.conftest import AGENT, EXAMPLES, USERPILOT, Run, record, table

# The latest of the examples is of December 2024.
AS_OF = datetime(2025, 1, 1, tzinfo=UTC)


def payload(kind: str) -> dict[str, Any]:
    """An "Example Payload", whose document leaves out the closing braces (and a last key behind a comma)."""
    text = "{" + (EXAMPLES / f"userpilot-{kind}.txt").read_text().rstrip().rstrip(",")
    found: dict[str, Any] = json.loads(text + "}" * (text.count("{") - text.count("}")))
    return found


@pytest.mark.rule("U1")
@pytest.mark.rule("U2")
@pytest.mark.rule("U20")
def test_the_ndjson_file_of_userpilot_is_accepted_and_its_missing_source_is_filled_in(run: Run) -> None:
    result = run((EXAMPLES / "userpilot.ndjson").read_bytes(), USERPILOT, name="2024-10-28.ndjson")
    assert (result.report["status"], result.report["accepted_rows"], result.report["rejected_rows"]) == (
        "completed", 2, 0,
    )  # fmt: skip
    assert result.codes == {"defaulted": 2}
    assert result.accepted == [
        {
            "event_type": "identify_user", "source": "backend-http-import", "user_id": "user_123",
            "operating_system": "Windows", "browser": "Chrome", "user_agent": AGENT,
            "inserted_at": "2024-07-28T08:55:35.874555Z",
            "metadata": {"name": "John Doe", "email": "john.doe@example.com", "location": "Dublin, Ireland"},
        },
        {
            "event_type": "identify_company", "source": "backend-http-import", "company_id": "company_123",
            "inserted_at": "2024-07-28T08:55:35.874555Z",
            "metadata": {
                "name": "Acme Labs Inc.", "industry": "Software", "size": "200-500", "location": "San Francisco, CA",
            },
        },
    ]  # fmt: skip


@pytest.mark.rule("U21")
@pytest.mark.rule("U22")
@pytest.mark.rule("U23")
@pytest.mark.rule("U24")
@pytest.mark.rule("U25")
def test_the_csv_file_of_userpilot_has_no_header_and_17_columns(run: Run) -> None:
    result = run((EXAMPLES / "userpilot.csv").read_bytes(), USERPILOT, name="import.csv", result_format="ndjson")
    assert (result.report["total_rows"], result.report["accepted_rows"], result.codes) == (3, 3, {})
    user, view, event = result.accepted
    assert user == {
        "event_type": "identify_user", "source": "web-client", "user_id": "User-7320-001",
        "company_id": "Company-607-001", "hostname": "campfire-example.userpilot.io",
        "pathname": "/profile/settings/", "country_code": "DE", "screen_width": 1086, "screen_height": 696,
        "operating_system": "Mac", "browser": "Edge", "browser_language": "de-DE",
        "user_agent": "Edge - Mozilla/5.0 (Mac) AppleWebKit/537.36", "device_type": "Mobile",
        "inserted_at": "2023-12-26T14:36:15.453703Z",
        "metadata": {
            "created_at": "1694172975", "name": "User-Alice", "prop_0": "value_743", "prop_1": "value_927",
        },
    }  # fmt: skip
    assert (view["event_type"], view["user_id"], view["metadata"]) == ("page_view", "User-9491-002", {})
    assert (event["event_name"], event["inserted_at"]) == ("created_project", "2024-05-05T14:36:15.453813Z")


@pytest.mark.rule("U22")
def test_the_accepted_csv_keeps_the_17_columns_in_their_order(run: Run) -> None:
    accepted = run((EXAMPLES / "userpilot.csv").read_bytes(), USERPILOT).files["accepted"].decode()
    columns = (
        "event_type,event_name,source,user_id,company_id,hostname,pathname,country_code,screen_width,screen_height,"
        "operating_system,browser,browser_language,user_agent,device_type,inserted_at,metadata"
    )
    assert accepted.splitlines()[0] == columns
    again = run(accepted, USERPILOT)
    assert (again.files["accepted"].decode(), again.codes) == (accepted, {})


@pytest.mark.rule("U51")
@pytest.mark.rule("U78")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("identify_user", marks=pytest.mark.rule("U52"), id="identify_user"),
        pytest.param("identify_company", marks=pytest.mark.rule("U58"), id="identify_company"),
        pytest.param("page_view", marks=pytest.mark.rule("U64"), id="page_view"),
        pytest.param("track", marks=pytest.mark.rule("U71"), id="track"),
    ],
)
def test_the_payload_of_userpilot_is_accepted_as_it_stands(userpilot: Run, kind: str) -> None:
    given = payload(kind)
    result = userpilot(given, as_of=AS_OF)
    assert (result.report["accepted_rows"], result.codes) == (1, {})
    (accepted,) = result.accepted
    filled_in = {"browser", "operating_system", "metadata", "inserted_at"}
    kept = {key: value for key, value in given.items() if value != "" and key not in filled_in}
    assert {key: accepted[key] for key in kept} == kept
    assert accepted["metadata"] == given.get("metadata", {})
    assert accepted["inserted_at"] == given["inserted_at"].replace(" ", "T") + "Z"


@pytest.mark.rule("U85")
@pytest.mark.rule("U86")
def test_the_page_view_of_userpilot_gets_browser_and_system_from_its_user_agent(userpilot: Run) -> None:
    given = payload("page_view")
    assert (given["browser"], given["operating_system"]) == ("", "")
    (accepted,) = userpilot(given).accepted
    assert accepted["operating_system"] == "Mac OS X"
    assert accepted["browser"]


@pytest.mark.rule("U45")
def test_the_failed_jobs_of_userpilot_are_told_with_field_type_and_value(userpilot: Run) -> None:
    result = userpilot(record("track", page_sessions="-1"), record("track", event_type="page_views"))
    first, second = (problem["message"] for problem in result.report["problems"])
    assert all(part in first for part in ("page_sessions", "non-negative integer", '"-1"'))
    assert all(
        part in second for part in ('"page_views"', "page_view", "track", "identify_user", "identify_company")
    )  # fmt: skip


@pytest.mark.rule("C16")
def test_the_phone_number_of_clevertap_has_spaces_and_is_taken(run: Run) -> None:
    result = run("identity,Phone\n1,01 123 111 0123\n", "clevertap-profiles")
    assert (result.accepted, result.codes) == ([{"identity": "1", "Phone": "011231110123"}], {})


@pytest.mark.rule("C43")
def test_the_purchase_date_of_clevertap_names_its_format_in_the_header(run: Run) -> None:
    result = run("identity,purchase date<dd/MM/yyyy HH:mm:ss>\n1,31/12/2023\n2,12/31/2023\n", "clevertap-profiles")
    assert result.accepted == [{"identity": "1", "purchase date<dd/MM/yyyy HH:mm:ss>": "31/12/2023 12:00:00"}]
    assert result.codes == {"bad_date": 1}


@pytest.mark.rule("B18")
@pytest.mark.rule("B19")
@pytest.mark.rule("B21")
@pytest.mark.rule("B22")
def test_the_json_bodies_of_customer_io_are_events_of_2013(run: Run) -> None:
    bodies = (EXAMPLES / "customerio-bodies.txt").read_text().splitlines()
    # The documents name the person in the URL of the call; a file names it in the row.
    body = "".join(f'{{"id":"42",{body[1:]}\n' for body in bodies)
    result = run(body, "customerio-events", name="events.ndjson")
    assert result.codes == {}
    event = {"id": "42", "name": "purchased", "timestamp": 1359389415}
    assert result.accepted == [
        event | {"data": {"price": 23.45}},
        event | {"data": {"price": 23.45, "timestamp": 1359389415}},
    ]
    assert result.report["order"]["first"] == result.report["order"]["last"] == "2013-01-28T16:10:15.000000Z"


@pytest.mark.rule("B20")
def test_the_form_of_customer_io_is_the_same_event_as_its_json(run: Run) -> None:
    form = [pair.split("=") for pair in ("name=purchased", "data[price]=23.45", "timestamp=1359389415")]
    header, row = zip(["id", "42"], *form, strict=True)
    from_csv = run(table(header, row), "customerio-events", result_format="ndjson")
    assert from_csv.accepted == [
        {"id": "42", "name": "purchased", "timestamp": 1359389415, "data": {"price": 23.45}}
    ]  # fmt: skip
