"""What drops leave for the store: updates of profiles and companies, and events, read back from real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import contracts
from gateway.contracts import Contract
from gateway.contracts.model import parse
from gateway.pipeline import contribution
from gateway.pipeline.contribution import EVENT_ROWS, JSON_OF, PROFILE_ROWS, TEXT_OF
from gateway.pipeline.drop import Contributed, Outcome
from gateway.pipeline.members import PAIRS
from gateway.store import Contribution, TenantStore, shapes
from tests.contributions import left
from tests.pipeline.conftest import AS_OF, Result, run_pipeline

Rows = list[dict[str, Any]]
TABLES = ("profiles", "companies", "events")
Brings = Callable[..., "Brought"]
USERPILOT = "event_type,event_name,user_id,company_id,inserted_at,metadata,browser\n"


class Brought:
    """A result, and the rows of each table that it leaves."""

    def __init__(self, folder: Path, result: Result) -> None:
        self.result = result
        self.contributed = result.outcome.contributed
        self.folder = folder / "out" / "store"
        self.profiles, self.companies, self.events = (
            left(self.folder, name) for name in ("profiles", "companies", "events")
        )


@pytest.fixture
def brings(tmp_path: Path) -> Brings:
    """As `run`, of a gateway with a store."""

    def call(body: str, contract: str | Contract, **given: Any) -> Brought:
        return Brought(tmp_path, run_pipeline(tmp_path, body.encode(), contract, for_store=True, **given))

    return call


def whom(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["namespace"], row["identity"], row["row"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_files_have_the_columns_that_the_store_reads() -> None:
    assert (PROFILE_ROWS, EVENT_ROWS) == (shapes.PROFILE_ROWS, shapes.EVENT_ROWS)
    assert (PAIRS, TEXT_OF, JSON_OF) == (shapes.CONTRIBUTED, shapes.TEXT_OF, shapes.JSON_OF)


@pytest.mark.rule("C1", "C2", "C3")
def test_each_row_of_a_profile_brings_what_it_has_before_rows_are_merged(brings: Brings) -> None:
    body = "identity,Name,Age,Tags,plan\nann,Ann,34,a;b,\nbob,Bob,,,pro\nann,,35,,basic\n"
    found = brings(body, "clevertap-profiles")
    assert found.result.outcome.counts.merged == 1
    assert [whom(row) for row in found.profiles] == [
        ("identity", "ann", 1),
        ("identity", "bob", 2),
        ("identity", "ann", 3),
    ]
    assert [row["attributes"] for row in found.profiles] == [
        {"Name": '"Ann"', "Age": "34", "Tags": '["a", "b"]'},
        {"Name": '"Bob"', "plan": '"pro"'},
        {"Age": "35", "plan": '"basic"'},
    ]
    assert {row["time"] for row in found.profiles} == {AS_OF}
    assert found.contributed == Contributed(profiles=3, hold_hours=24)


@pytest.mark.rule("B3", "B4", "B5")
def test_a_person_has_the_time_of_its_row_or_of_the_upload(brings: Brings) -> None:
    body = "id,_timestamp,plan\n1,1722156935,pro\n1,,basic\n"
    found = brings(body, "customerio-people").profiles
    assert [row["time"] for row in found] == [datetime.fromtimestamp(1722156935, UTC), AS_OF]
    assert [row["attributes"] for row in found] == [{"plan": '"pro"'}, {"plan": '"basic"'}]


@pytest.mark.parametrize("result_format", ["same", "ndjson"])
def test_a_null_marker_blanks_and_an_empty_cell_says_nothing(brings: Brings, result_format: str) -> None:
    body = 'identity,Name,Tags,plan\nann,-,-,\nbob,B,"x",-\ncid,,,\n'
    found = brings(body, "clevertap-profiles", null_marker="-").profiles
    assert [row["attributes"] for row in found] == [
        {"Name": None, "Tags": None},
        {"Name": '"B"', "Tags": '["x"]', "plan": None},
        {},
    ]


def test_a_value_that_only_becomes_the_null_marker_in_its_normal_form_is_a_value(brings: Brings) -> None:
    found = brings("identity,Age\nann,07\nbob,7\n", "clevertap-profiles", null_marker="7").profiles
    assert [row["attributes"] for row in found] == [{"Age": "7"}, {"Age": None}]


@pytest.mark.rule("C28", "C29")
def test_a_row_with_two_identities_goes_by_the_first_and_has_the_other_as_an_attribute(brings: Brings) -> None:
    body = "id,email,plan\n1,a@example.com,pro\n,b@example.com,pro\n2,,pro\n"
    found = brings(body, "customerio-people").profiles
    assert [whom(row) for row in found] == [("id", "1", 1), ("email", "b@example.com", 2), ("id", "2", 3)]
    assert [row["attributes"].get("email") for row in found] == ['"a@example.com"', None, None]
    assert "email" not in found[1]["attributes"]


def test_values_are_written_as_in_the_results_whatever_characters_they_have(brings: Brings) -> None:
    body = 'identity,"q""k"\nann,"a ""b"" \\ c\nd"\n'
    found = brings(body, "clevertap-profiles").profiles
    assert found[0]["attributes"] == {'q"k': json.dumps('a "b" \\ c\nd')}


@pytest.mark.rule("C34")
def test_a_date_is_one_property_and_one_moment_whatever_format_its_files_declare(brings: Brings) -> None:
    value = {"born": '"2023-12-31T11:00:00.000000Z"'}
    for header, text in (("born<dd/MM/yyyy HH:mm:ss>", "31/12/2023"), ("born <Unix>", "1704020400")):
        found = brings(f"identity,{header}\nann,{text}\n", "clevertap-profiles", timezone="Europe/Berlin")
        assert found.profiles[0]["attributes"] == value
    found = brings("identity,born<Unix>\nann,-\n", "clevertap-profiles", null_marker="-")
    assert found.profiles[0]["attributes"] == {"born": None}
    two = brings("identity,born<dd/MM/yyyy HH:mm:ss>,born\nann,31/12/2023,long ago\n", "clevertap-profiles")
    assert two.profiles[0]["attributes"] == {
        "born<dd/MM/yyyy HH:mm:ss>": '"31/12/2023 12:00:00"', "born": '"long ago"'
    }  # fmt: skip


@pytest.mark.rule("U109", "U114", "U116")
@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_identify_records_bring_the_members_of_their_metadata(brings: Brings, form: str) -> None:
    rows = [
        ("identify_user", "", "ann", "acme", "2024-07-28T09:00:00Z", {"name": "Ann", "age": 3, "job": None}, "Edge"),
        ("identify_company", "", "", "acme", "2024-07-28T08:00:00Z", {"name": "Acme", "n": {"a": [1, "}"]}}, ""),
        ("identify_user", "", "bob", "", "2024-07-28T07:00:00Z", {}, ""),
        ("identify_user", "", "cid", "acme", "2024-07-28T06:00:00Z", {"company_id": "own"}, ""),
    ]
    found = brings(userpilot(rows, form), "userpilot-import", name=f"a.{form}")
    assert [(*whom(row), row["attributes"]) for row in found.profiles] == [
        ("user_id", "ann", 1, {"name": '"Ann"', "age": "3", "job": None, "company_id": '"acme"'}),
        ("user_id", "bob", 3, {}),
        ("user_id", "cid", 4, {"company_id": '"own"'}),
    ]
    assert [(*whom(row), row["time"], row["attributes"]) for row in found.companies] == [
        ("company_id", "acme", 2, at("2024-07-28T08:00:00"), {"name": '"Acme"', "n": '{"a": [1, "}"]}'}),
    ]
    assert found.events == []
    assert found.contributed == Contributed(profiles=3, companies=1, accumulating=True, hold_hours=24)


def userpilot(rows: list[tuple[Any, ...]], form: str) -> str:
    names = USERPILOT.strip().split(",")
    if form == "ndjson":
        return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    cells = [[value if isinstance(value, str) else json.dumps(value) for value in row] for row in rows]
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in cells]
    return USERPILOT + "\n".join(quoted) + "\n"


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_page_views_and_tracked_events_are_events_oldest_first(brings: Brings, form: str) -> None:
    rows = [
        ("track", "bought", "ann", "acme", "2024-07-28T09:00:00Z", {"plan": "pro"}, "Edge"),
        ("page_view", "", "bob", "", "2024-07-28T08:00:00Z", {}, ""),
    ]
    body = userpilot(rows, form)
    if form == "csv":
        body = (
            body.replace("browser\n", "browser,url\n")
            .replace('"Edge"', '"Edge",')
            .replace(',"{}",""', ',"{}","","https://app.example.com/a"')
        )
    else:
        body = body.replace('"metadata": {}', '"url": "https://app.example.com/a", "metadata": {}')
    found = brings(body, "userpilot-import", name=f"a.{form}")
    assert [(*whom(row), row["type"], row["name"], row["time"]) for row in found.events] == [
        ("user_id", "bob", 2, "page_view", "page_view", at("2024-07-28T08:00:00")),
        ("user_id", "ann", 1, "track", "bought", at("2024-07-28T09:00:00")),
    ]
    assert json.loads(found.events[0]["properties"]) == {
        "source": "backend-http-import", "url": "https://app.example.com/a", "hostname": "app.example.com",
        "pathname": "/a", "metadata": {},
    }  # fmt: skip
    assert found.events[1]["properties"] == (
        '{"source": "backend-http-import", "company_id": "acme", "browser": "Edge", "metadata": {"plan": "pro"}}'
    )
    assert found.contributed
    assert found.contributed.first_event == at("2024-07-28T08:00:00")


@pytest.mark.rule("B8", "B11", "B12", "B15", "B16", "F24")
def test_old_events_are_kept_with_their_own_time_and_marked(brings: Brings) -> None:
    moments = [timedelta(hours=-1), timedelta(hours=72), timedelta(hours=72, seconds=1), timedelta(days=30)]
    moments += [timedelta(days=30, seconds=1), timedelta(days=900)]
    times = [str(int((AS_OF - age).timestamp())) for age in moments]
    body = "identity,evtName,ts\n" + "".join(f"ann,e{n},{time}\n" for n, time in enumerate([*times, ""]))
    found = {row["row"]: row for row in brings(body, "clevertap-events").events}
    assert [found[row]["time"] for row in range(1, 8)] == [*(AS_OF - age for age in moments), AS_OF]
    assert [found[row]["can_trigger"] for row in range(1, 8)] == [True, True, False, False, False, False, True]
    assert [found[row]["in_activity_log"] for row in range(1, 8)] == [True, True, True, True, False, False, True]
    narrow = brings(body, "clevertap-events", trigger_hours=0.5, activity_log_days=1).events
    assert sorted(row["row"] for row in narrow if row["can_trigger"]) == [1, 7]
    assert sorted(row["row"] for row in narrow if row["in_activity_log"]) == [1, 7]


@pytest.mark.rule("B20", "B21", "B22")
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.csv", "id,name,timestamp,data[price],data[timestamp]\n42,bought,1722156935,23.45,7\n"),
        (
            "a.ndjson",
            '{"id": "42", "name": "bought", "timestamp": 1722156935, "data": {"price": 23.45, "timestamp": 7}}',
        ),
    ],
)
def test_the_data_of_an_event_are_its_properties_in_either_form(brings: Brings, name: str, body: str) -> None:
    (event,) = brings(body, "customerio-events", name=name).events
    assert event["properties"] == '{"price": 23.45, "timestamp": 7}'
    assert (event["name"], event["time"]) == ("bought", datetime.fromtimestamp(1722156935, UTC))


def test_properties_do_not_depend_on_the_order_of_columns_and_keep_their_types(brings: Brings) -> None:
    csv = brings("b,evtName,a,identity\n1,e,x,ann\n", "clevertap-events").events
    ndjson = brings('{"evtName":"e","b":1,"a":{"z":null},"identity":"ann"}', "clevertap-events", name="a.ndjson").events
    assert [row["properties"] for row in csv + ndjson] == ['{"a": "x", "b": "1"}', '{"a": {"z": null}, "b": 1}']


@pytest.mark.parametrize("columns_max", [256, 1])
def test_attributes_are_the_same_as_columns_and_as_pairs(
    brings: Brings, monkeypatch: pytest.MonkeyPatch, columns_max: int
) -> None:
    """Names that are alike but for their case, or are like ours; values that JSON escapes."""
    monkeypatch.setattr(contribution, "COLUMNS_MAX", columns_max)
    body = 'identity,plan,Plan,row,text:plan\nann,a,,"say ""x""",\nbob,null,b\tc,\\,é\n'
    found = brings(body, "clevertap-profiles").profiles
    assert [row["attributes"] for row in found] == [
        {"plan": '"a"', "row": '"say \\"x\\""'},
        {"plan": '"null"', "Plan": '"b\\tc"', "row": '"\\\\"', "text:plan": '"é"'},
    ]


ORDERS = """
name = "orders"
title = "Orders"
kind = "events"
formats = ["csv"]
identity = ["customer"]
unique = ["number", "note"]
[time]
column = "at"
default_as_of = true
[[columns]]
name = "customer"
[[columns]]
name = "at"
type = "iso_time"
[[columns]]
name = "number"
type = "integer"
[[columns]]
name = "note"
"""


def test_the_columns_that_make_an_event_unique_are_its_key(brings: Brings) -> None:
    body = 'customer,at,number,note\nann,2024-07-28T09:00:00Z,7,"a""b"\nbob,,8,\n'
    found = brings(body, parse(ORDERS, "orders")).events
    assert [row["unique_key"] for row in found] == ['[7, "a\\"b"]', "[8, null]"]
    assert [json.loads(row["unique_key"]) for row in found] == [[7, 'a"b'], [8, None]]
    assert {row["name"] for row in found} == {"orders"}


def test_a_row_about_nobody_and_a_null_marker_in_an_event_bring_nothing(brings: Brings) -> None:
    body = "customer,at,number,note\n,2024-07-28T09:00:00Z,7,x\nbob,2024-07-28T09:00:00Z,-,y\n"
    found = brings(body, parse(ORDERS, "orders"), null_marker="-").events
    assert [(row["identity"], row["properties"], row["unique_key"]) for row in found] == [
        ("bob", '{"note": "y"}', '[null, "y"]')
    ]


def test_rows_that_repeat_another_or_are_bad_bring_nothing(brings: Brings) -> None:
    body = "identity,evtName,ts\nann,e,1722156936\nann,e,1722156935\nann,e,1722156936\n,e,1\nann,e,1722156935\n"
    found = brings(body, "clevertap-events")
    assert [row["row"] for row in found.events] == [2, 1]
    assert found.result.outcome.counts.duplicate == 2


BODY = "identity,Name\nann,Ann\n,Bob\n"


@pytest.mark.parametrize(
    "given",
    [
        {"on_error": "reject_file"},
        {"max_error_rate": 0.1},
        {"duplicate_of": "0190f0f0-0000-7000-8000-000000000000"},
        {"duplicate_of": "0190f0f0-0000-7000-8000-000000000000", "on_duplicate": "reject"},
        {"columns_max": 1},
    ],
)
def test_a_drop_of_which_nothing_is_taken_brings_nothing(brings: Brings, given: dict[str, Any]) -> None:
    found = brings(BODY, "clevertap-profiles", **given)
    assert found.contributed is None
    assert not found.folder.exists()


def test_nothing_is_left_where_there_is_no_store(tmp_path: Path) -> None:
    result = run_pipeline(tmp_path, BODY.encode(), "clevertap-profiles")
    assert result.outcome.contributed is None
    assert not (tmp_path / "out" / "store").exists()


def test_an_outcome_keeps_what_was_contributed(brings: Brings) -> None:
    events = brings(
        "identity,evtName,ts\nann,e,1722156936\n", "clevertap-events", unknown_identity="hold", hold_hours=3
    ).result.outcome
    assert events.contributed == Contributed(
        events=1, first_event=datetime.fromtimestamp(1722156936, UTC), unknown_identity="hold", hold_hours=3
    )
    for outcome in (events, replace(events, contributed=Contributed()), replace(events, contributed=None)):
        assert Outcome.from_json(outcome.to_json()) == outcome


def test_an_outcome_that_was_kept_before_there_was_a_store_is_read(brings: Brings) -> None:
    outcome = brings(BODY, "clevertap-profiles").result.outcome
    plain = json.loads(outcome.to_json())
    del plain["contributed"]
    assert Outcome.from_json(json.dumps(plain)) == replace(outcome, contributed=None)


@pytest.mark.rule("C9", "U118")
def test_the_store_takes_what_the_samples_of_all_contracts_bring(tmp_path: Path) -> None:
    brought, wanted = [], {"profiles": 0, "companies": 0, "events": 0}
    for number, name in enumerate(contracts.builtin_names()):
        for sample, text in contracts.load(name).samples.items():
            folder = tmp_path / f"{name}-{sample}"
            folder.mkdir()
            outcome = run_pipeline(folder, text.encode(), name, name=sample, for_store=True).outcome
            told = outcome.contributed
            assert told
            brought.append(
                Contribution(
                    f"{number}{sample}", name, AS_OF, folder / "out" / "store", told.unknown_identity,
                    told.allow_repeats, told.accumulating,
                )
            )  # fmt: skip
            wanted = {table: wanted[table] + getattr(told, table) for table in wanted}
    store = TenantStore(str(tmp_path / "store"), "acme")
    prepared = store.prepare(1, brought, scratch=tmp_path)
    store.commit(prepared)
    assert sum(facts.created for facts in prepared.facts.values()) <= wanted["profiles"] + wanted["companies"]
    assert sum(facts.events + len(facts.duplicates) for facts in prepared.facts.values()) == wanted["events"]
