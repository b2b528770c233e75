"""schema.json says of a record what the contract says of it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from gateway import contracts
from gateway.contracts.schema import json_schema
from tests.rules.conftest import AGENT, RECORDS, USERPILOT, Record, Run, ndjson, record

EVENT = {"identity": "1", "evtName": "bought"}
CALL = {"id": "1", "name": "bought"}
ACCEPTED = [
    *((USERPILOT, each) for each in RECORDS.values()),
    (USERPILOT, record("track") | {"source": None, "metadata": None, "browser": None, "country_code": ""}),
    (USERPILOT, record("track", source=" ", screen_width="12", screen_height=9, page_sessions="", user_id=5)),
    (USERPILOT, record("page_view", hostname=None, pathname=None, url="https://a.example/b", user_agent=AGENT)),
    (USERPILOT, record("identify_company", user_id=[1], screen_width=-1, url={"no": "url"}, colour="red")),
    ("clevertap-events", EVENT),
    ("clevertap-events", EVENT | {"identity": None, "objectId": "x", "ts": "1700000000", "Price": [1, {"a": None}]}),
    ("clevertap-events", EVENT | {"identity": 17, "ts": 1700000000}),
    ("customerio-events", CALL | {"data": None, "timestamp": 1.5}),
    ("customerio-events", CALL | {"id": "", "email": "a@example.com", "data": {"price": 1}}),
]
REJECTED = [
    (USERPILOT, record("track", event_type="page_views")),
    (USERPILOT, record("track", source="somewhere")),
    (USERPILOT, record("track", source=5)),
    (USERPILOT, record("track", user_id=None)),
    (USERPILOT, record("identify_company", company_id=None)),
    (USERPILOT, record("track", metadata=[])),
    (USERPILOT, record("track", screen_width=-1)),
    (USERPILOT, record("track", inserted_at=None)),
    ("clevertap-events", {"evtName": "bought"}),
    ("clevertap-events", {"identity": "1"}),
    ("customerio-events", CALL | {"data": 5}),
]


def is_valid(contract: str, given: Record) -> bool:
    schema: dict[str, Any] = json_schema(contracts.load(contract))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid(given)


@pytest.mark.rule("U51")
@pytest.mark.parametrize(("contract", "given"), ACCEPTED)
def test_a_record_that_the_contract_accepts_is_valid_and_so_is_what_it_becomes(
    run: Run, contract: str, given: Record
) -> None:
    result = run(ndjson(given), contract, name="a.ndjson")
    assert result.report["accepted_rows"] == 1
    assert is_valid(contract, given)
    assert all(is_valid(contract, row) for row in result.accepted)


@pytest.mark.rule("U51")
@pytest.mark.parametrize(("contract", "given"), REJECTED)
def test_a_record_that_lacks_or_breaks_what_a_schema_can_say_is_rejected_by_both(
    run: Run, contract: str, given: Record
) -> None:
    assert run(ndjson(given), contract, name="a.ndjson").report["rejected_rows"] == 1
    assert not is_valid(contract, given)
