"""Userpilot's records: types, required and optional fields, sources, what is derived (RULES.md section 5)."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from gateway import contracts
from tests.rules.conftest import AGENT, RECORDS, USERPILOT, Record, Run, record, table

COLUMNS = contracts.load(USERPILOT).csv_columns
PAGE = {"hostname": "app.example.com", "pathname": "/home"}
WEB = {"source": "web-client", "user_agent": AGENT} | PAGE


def as_csv(given: Record, *, header: bool = True) -> bytes:
    """A record as a row of Userpilot's 17 columns."""
    plain = {name: json.dumps(value) if isinstance(value, dict) else str(value) for name, value in given.items()}
    return table(*([COLUMNS] if header else []), [plain.get(name, "") for name in COLUMNS])


@pytest.mark.rule("U18")
@pytest.mark.rule("U19")
@pytest.mark.rule("U51")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("identify_user", marks=[pytest.mark.rule("U1"), pytest.mark.rule("U52"), pytest.mark.rule("U53")]),
        pytest.param(
            "identify_company", marks=[pytest.mark.rule("U2"), pytest.mark.rule("U58"), pytest.mark.rule("U59")]
        ),
        pytest.param("page_view", marks=[pytest.mark.rule("U3"), pytest.mark.rule("U64"), pytest.mark.rule("U65")]),
        pytest.param("track", marks=[pytest.mark.rule("U4"), pytest.mark.rule("U71"), pytest.mark.rule("U72")]),
    ],
)
def test_a_record_of_each_type_is_accepted_in_either_format(run: Run, userpilot: Run, kind: str) -> None:
    given = record(kind)
    expected: Record = {"metadata": {}} | given | {"inserted_at": "2024-07-28T08:55:35.000000Z"}
    from_ndjson = userpilot(given)
    assert (from_ndjson.accepted, from_ndjson.codes) == ([expected], {})
    for header in (True, False):
        from_csv = run(as_csv(given, header=header), USERPILOT, result_format="ndjson")
        assert (from_csv.accepted, from_csv.codes) == ([expected], {})


@pytest.mark.rule("U18")
@pytest.mark.rule("U19")
@pytest.mark.rule("U46")
@pytest.mark.parametrize("kind", ["page_views", "Track", "identify", "purchase"])
def test_any_other_event_type_is_rejected_and_told_with_the_four_allowed(userpilot: Run, kind: str) -> None:
    result = userpilot(record("track", event_type=kind), record("track"))
    assert result.report["accepted_rows"] == 1
    problem = result.problem("unknown_event_type")
    assert (problem["column"], problem["value"], problem["row"]) == ("event_type", kind, 1)
    allowed = ("identify_user", "identify_company", "page_view", "track")
    assert all(word in problem["message"] for word in (f'"{kind}"', *allowed))


REQUIRED = [
    pytest.param("identify_user", "event_type", marks=pytest.mark.rule("U53")),
    pytest.param("identify_user", "user_id", marks=pytest.mark.rule("U54")),
    pytest.param("identify_user", "inserted_at", marks=pytest.mark.rule("U57")),
    pytest.param("identify_company", "event_type", marks=pytest.mark.rule("U59")),
    pytest.param("identify_company", "company_id", marks=pytest.mark.rule("U60")),
    pytest.param("identify_company", "inserted_at", marks=pytest.mark.rule("U63")),
    pytest.param("page_view", "event_type", marks=pytest.mark.rule("U65")),
    pytest.param("page_view", "user_id", marks=pytest.mark.rule("U66")),
    pytest.param("page_view", "hostname", marks=pytest.mark.rule("U67")),
    pytest.param("page_view", "pathname", marks=pytest.mark.rule("U68")),
    pytest.param("page_view", "inserted_at", marks=pytest.mark.rule("U70")),
    pytest.param("track", "event_type", marks=pytest.mark.rule("U72")),
    pytest.param("track", "user_id", marks=pytest.mark.rule("U73")),
    pytest.param("track", "event_name", marks=pytest.mark.rule("U74")),
    pytest.param("track", "inserted_at", marks=pytest.mark.rule("U77")),
]


@pytest.mark.parametrize(("kind", "field"), REQUIRED)
def test_a_record_requires(run: Run, userpilot: Run, kind: str, field: str) -> None:
    absent = {key: value for key, value in record(kind).items() if key != field}
    blanks = [absent, absent | {field: None}, absent | {field: ""}, absent | {field: "  "}]
    for result in (userpilot(record(kind), *blanks), run(as_csv(absent), USERPILOT)):
        assert result.report["accepted_rows"] == result.report["total_rows"] - result.report["rejected_rows"]
        assert result.report["rejected_rows"] == (4 if result.report["total_rows"] == 5 else 1)
        assert set(result.codes) == {"missing_required"}
        assert {error["column"] for error in result.errors} == {field}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("identify_user", marks=pytest.mark.rule("U56")),
        pytest.param("identify_company", marks=pytest.mark.rule("U61")),
        pytest.param("page_view", marks=pytest.mark.rule("U69")),
        pytest.param("track", marks=pytest.mark.rule("U75")),
    ],
)
def test_without_a_source_a_lenient_feed_fills_it_in_and_warns_and_a_strict_one_rejects(
    userpilot: Run, kind: str
) -> None:
    given = [record(kind, source=None), record(kind, source=" ")]
    lenient = userpilot(*given)
    assert [row["source"] for row in lenient.accepted][:1] == ["backend-http-import"]
    assert (lenient.report["rejected_rows"], lenient.codes) == (0, {"defaulted": 2})
    assert (lenient.problem("defaulted")["level"], lenient.problem("defaulted")["column"]) == ("warning", "source")
    strict = userpilot(*given, record(kind), strict=True)
    assert (strict.report["accepted_rows"], strict.report["rejected_rows"]) == (1, 2)
    assert strict.codes == {"missing_required": 2}
    assert {(error["level"], error["column"]) for error in strict.errors} == {("error", "source")}


@pytest.mark.rule("U80")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("identify_user", marks=pytest.mark.rule("U55")),
        pytest.param("identify_company", marks=pytest.mark.rule("U62")),
        "page_view",
        pytest.param("track", marks=pytest.mark.rule("U76")),
    ],
)
def test_a_record_without_metadata_gets_an_empty_object(run: Run, userpilot: Run, kind: str) -> None:
    given = record(kind, metadata=None)
    assert "metadata" not in given
    for result in (userpilot(given), run(as_csv(given), USERPILOT, result_format="ndjson")):
        assert ([row["metadata"] for row in result.accepted], result.codes) == ([{}], {})


@pytest.mark.rule("U25")
def test_empty_metadata_in_a_csv_is_an_empty_object(run: Run) -> None:
    result = run(as_csv(record("track", metadata={})), USERPILOT)
    assert [row["metadata"] for row in result.accepted] == ["{}"]


@pytest.mark.parametrize("metadata", ["text", "[1]", '{"a": ', "5", "null"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("identify_user", marks=pytest.mark.rule("U55")),
        pytest.param("identify_company", marks=pytest.mark.rule("U62")),
        pytest.param("track", marks=pytest.mark.rule("U76")),
    ],
)
def test_metadata_that_is_no_object_is_rejected(run: Run, userpilot: Run, kind: str, metadata: str) -> None:
    from_csv = run(as_csv(record(kind, metadata=metadata)), USERPILOT)
    results = [from_csv, userpilot(record(kind, metadata=metadata))]
    if metadata in ("[1]", "5"):
        results.append(userpilot(record(kind, metadata=json.loads(metadata))))
    for result in results:
        assert (result.report["rejected_rows"], result.report["problems_by_column"]) == (1, {"metadata": 1})
        assert set(result.codes) <= {"not_object", "malformed_json"}


@pytest.mark.rule("U23")
def test_metadata_in_a_csv_is_json_with_doubled_quotes(run: Run) -> None:
    row = 'track,clicked,backend-http,u1,,,,,,,,,,,,2024-07-28 08:55:35,"{""say"": ""a \\""b\\"", c"", ""n"": 1}"\n'
    result = run(row, USERPILOT, result_format="ndjson")
    assert [row["metadata"] for row in result.accepted] == [{"say": 'a "b", c', "n": 1}]
    (back,) = csv.DictReader(io.StringIO(run(row, USERPILOT).files["accepted"].decode()))
    assert json.loads(back["metadata"]) == {"say": 'a "b", c', "n": 1}


@pytest.mark.rule("U78")
@pytest.mark.parametrize("beside", [{}, {"long": 12345678901234567890}], ids=["plain", "beside a long number"])
def test_metadata_values_keep_their_types(userpilot: Run, beside: Record) -> None:
    metadata = {
        "text": "Dublin, Ireland", "number": 28, "fraction": 1.5, "date": "2023-11-01 14:35:36.173103",
        "zeros": "007", "yes": True, "nothing": None, "list": [1, "a", {"b": None}],
        **beside,
    }  # fmt: skip
    result = userpilot(record("identify_user", metadata=metadata))
    assert [row["metadata"] for row in result.accepted] == [metadata]


@pytest.mark.rule("U24")
@pytest.mark.parametrize("kind", ["identify_user", "identify_company", "page_view"])
def test_event_name_is_empty_for_all_but_track(run: Run, kind: str) -> None:
    body = as_csv(record(kind), header=False)
    assert body.startswith(kind.encode() + b",,")
    result = run(body, USERPILOT, result_format="ndjson")
    assert ["event_name" in row for row in result.accepted] == [False]


@pytest.mark.rule("U21")
@pytest.mark.rule("U22")
def test_columns_go_by_their_header_in_any_order_and_by_position_without_one(run: Run) -> None:
    positions = [f"v{at}" for at in range(17)]
    given = dict(zip(COLUMNS, positions, strict=True)) | {
        "event_type": "page_view", "source": "web-client", "hostname": "h.example", "country_code": "DE",
        "screen_width": "1", "screen_height": "2", "browser_language": "de", "inserted_at": "2024-07-28 08:55:35",
        "metadata": '{"a": 1}',
    }  # fmt: skip
    by_position = run(table(list(given.values())), USERPILOT, result_format="ndjson")
    backwards = dict(reversed(given.items()))
    by_name = run(table(list(backwards), list(backwards.values())), USERPILOT, result_format="ndjson")
    (accepted,) = by_position.accepted
    assert by_name.accepted == [accepted]
    expected = {"screen_width": 1, "screen_height": 2, "metadata": {"a": 1}}
    assert accepted == given | expected | {"inserted_at": "2024-07-28T08:55:35.000000Z"}
    assert tuple(given) == (
        "event_type", "event_name", "source", "user_id", "company_id", "hostname", "pathname", "country_code",
        "screen_width", "screen_height", "operating_system", "browser", "browser_language", "user_agent",
        "device_type", "inserted_at", "metadata",
    )  # fmt: skip


@pytest.mark.rule("U79")
@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2024-07-28T08:55:35.874555", "2024-07-28T06:55:35.874555Z"),
        ("2024-07-28 08:55:35.874555", "2024-07-28T06:55:35.874555Z"),
        ("2024-07-28T08:55:35", "2024-07-28T06:55:35.000000Z"),
        ("2024-07-28 08:55:35.5", "2024-07-28T06:55:35.500000Z"),
        ("2024-01-28 08:55:35", "2024-01-28T07:55:35.000000Z"),
        ("2024-07-28T08:55:35Z", "2024-07-28T08:55:35.000000Z"),
        ("2024-07-28 08:55:35+05:30", "2024-07-28T03:25:35.000000Z"),
        ("2024-07-28T08:55:35.874555-0800", "2024-07-28T16:55:35.874555Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
    ],
)
def test_inserted_at_is_iso_8601_and_local_where_it_has_no_zone(userpilot: Run, given: str, stored: str) -> None:
    result = userpilot(record("track", inserted_at=given), timezone="Europe/Berlin")
    assert [row["inserted_at"] for row in result.accepted] == [stored]


@pytest.mark.rule("U79")
@pytest.mark.rule("U57")
@pytest.mark.parametrize(
    "given",
    ["yesterday", "28/07/2024", "2024-07-28", "2023-02-29T00:00:00Z", "2024-07-28T25:00:00Z", "1722156935", 1722156935],
)
def test_an_inserted_at_that_is_no_time_is_rejected(userpilot: Run, given: object) -> None:
    problem = userpilot(record("track", inserted_at=given)).problem("bad_time")
    assert (problem["column"], problem["value"]) == ("inserted_at", str(given))


@pytest.mark.rule("U81")
@pytest.mark.rule("U82")
def test_identify_company_keeps_its_five_keys_and_ignores_all_others_even_bad_ones(run: Run, userpilot: Run) -> None:
    ignored = {
        "user_id": "u1", "event_name": "e", "hostname": "not a host", "pathname": "/x", "url": "no url",
        "country_code": "ZZZ", "screen_width": "-1", "browser_language": "??", "user_agent": AGENT,
        "page_sessions": "-1", "device_type": "Mobile", "operating_system": "x", "browser": "y", "colour": "red",
    }  # fmt: skip
    expected = record("identify_company") | {"inserted_at": "2024-07-28T08:55:35.000000Z"}
    result = userpilot(record("identify_company", **ignored))
    assert (result.accepted, result.report["rejected_rows"]) == ([expected], 0)
    from_csv = run(as_csv(record("identify_company", **ignored)), USERPILOT, result_format="ndjson")
    assert (from_csv.accepted, from_csv.codes) == ([expected], {})


@pytest.mark.rule("U83")
@pytest.mark.rule("U84")
@pytest.mark.parametrize(
    ("url", "hostname", "pathname"),
    [
        ("https://other.example/a/b?c=d#e", "other.example", "/a/b"),
        ("http://other.example:8080/a", "other.example", "/a"),
        ("https://ann:secret@other.example/", "other.example", "/"),
        ("https://other.example", "other.example", "/"),
        ("https://other.example?q=1", "other.example", "/"),
    ],
)
@pytest.mark.parametrize("kind", ["identify_user", "page_view", "track"])
def test_a_url_overrides_hostname_and_pathname(
    userpilot: Run, kind: str, url: str, hostname: str, pathname: str
) -> None:
    result = userpilot(record(kind, url=url, **PAGE))
    assert [(row["hostname"], row["pathname"]) for row in result.accepted] == [(hostname, pathname)]


@pytest.mark.rule("U83")
@pytest.mark.parametrize("url", ["app.example.com/home", "https://", "http:///path", "not a url"])
def test_a_url_that_does_not_parse_is_rejected(userpilot: Run, url: str) -> None:
    result = userpilot(record("track", url=url, **PAGE))
    assert (result.problem("bad_url")["value"], result.codes) == (url, {"bad_url": 1})


@pytest.mark.rule("U85")
@pytest.mark.rule("U86")
@pytest.mark.rule("U87")
@pytest.mark.parametrize("silent", [{}, {"browser": "", "operating_system": " "}])
def test_browser_and_system_are_derived_from_the_user_agent_where_they_are_blank(
    run: Run, userpilot: Run, silent: Record
) -> None:
    given = record("track", user_agent=AGENT) | silent
    for result in (userpilot(given), run(as_csv(given), USERPILOT)):
        assert [(row["browser"], row["operating_system"]) for row in result.accepted] == [("Chrome", "Windows")]
    given |= {"browser": "Mine", "operating_system": "Own"}
    assert [(row["browser"], row["operating_system"]) for row in userpilot(given).accepted] == [("Mine", "Own")]
    assert "browser" not in userpilot(record("track")).accepted[0]


OPTIONAL = [
    pytest.param("browser", "Chrome", marks=pytest.mark.rule("U89")),
    pytest.param("browser_language", "de-DE", marks=pytest.mark.rule("U90")),
    pytest.param("country_code", "DE", marks=pytest.mark.rule("U91")),
    pytest.param("device_type", "Desktop", marks=pytest.mark.rule("U92")),
    pytest.param("hostname", "app.example.com", marks=pytest.mark.rule("U93")),
    pytest.param("operating_system", "Mac OS X", marks=pytest.mark.rule("U94")),
    pytest.param("screen_height", 696, marks=pytest.mark.rule("U95")),
    pytest.param("screen_width", 1086, marks=pytest.mark.rule("U96")),
    pytest.param("user_agent", AGENT, marks=pytest.mark.rule("U97")),
    pytest.param("page_sessions", 0, marks=pytest.mark.rule("U88")),
]


@pytest.mark.rule("U88")
@pytest.mark.parametrize(("field", "good"), OPTIONAL)
def test_an_auto_property_is_optional_blank_counts_as_absent_and_a_good_one_is_kept(
    userpilot: Run, field: str, good: object
) -> None:
    result = userpilot(record("track"), record("track", **{field: ""}), record("track", **{field: good}, user_id="u2"))
    assert (result.report["rejected_rows"], result.codes) == (0, {})
    assert [row.get(field) for row in result.accepted] == [None, good]


INVALID: list[Any] = [
    *(
        pytest.param("browser_language", value, "bad_language", marks=pytest.mark.rule("U90"))
        for value in ("german", "de_DE", "12", "de-DE-?", "xx-YY-zz")
    ),
    *(
        pytest.param("country_code", value, "bad_country", marks=pytest.mark.rule("U91"))
        for value in ("DEU", "XX", "D", "Germany", "49")
    ),
    *(
        pytest.param("hostname", value, "bad_hostname", marks=pytest.mark.rule("U93"))
        for value in ("a b.example", "https://a.example", "a..b", "-a.example", "a.example/path")
    ),
    *(
        pytest.param("screen_height", value, "not_non_negative_integer", marks=pytest.mark.rule("U95"))
        for value in (-1, 1.5, "tall", "1e3", "0x10")
    ),
    *(
        pytest.param("screen_width", value, "not_non_negative_integer", marks=pytest.mark.rule("U96"))
        for value in (-1, 859.5, "wide", "8 59")
    ),
    *(
        pytest.param("page_sessions", value, "not_non_negative_integer", marks=pytest.mark.rule("U45"))
        for value in ("-1", -1, "many")
    ),
]


@pytest.mark.rule("U88")
@pytest.mark.parametrize(("field", "value", "code"), INVALID)
def test_an_auto_property_that_is_given_must_be_valid_and_is_told_with_field_type_and_value(
    userpilot: Run, field: str, value: object, code: str
) -> None:
    result = userpilot(record("track"), record("track", **{field: value}))
    assert (result.report["accepted_rows"], result.codes) == (1, {code: 1})
    problem = result.problem(code)
    assert (problem["row"], problem["column"], problem["value"]) == (2, field, str(value))
    assert problem["message"].startswith(f"{field}: expected ")
    assert problem["message"].endswith(f'found "{value}"')


@pytest.mark.rule("U91")
@pytest.mark.parametrize("country", ["UK", "GB", "US", "PS", "XK"])
def test_country_codes_are_those_of_iso_3166_and_the_reserved_uk(userpilot: Run, country: str) -> None:
    result = userpilot(record("track", country_code=country))
    assert result.report["accepted_rows"] == (0 if country == "XK" else 1)


@pytest.mark.rule("U98")
@pytest.mark.parametrize("source", ["somewhere", "Web-Client", "backend", "web_client"])
@pytest.mark.parametrize("kind", list(RECORDS))
def test_any_other_source_is_rejected_with_the_allowed_ones(userpilot: Run, kind: str, source: str) -> None:
    result = userpilot(record(kind, source=source))
    problem = result.problem("not_allowed")
    assert (problem["column"], problem["value"], result.report["rejected_rows"]) == ("source", source, 1)
    assert "web-client, backend-http, backend-hubspot" in problem["message"]


@pytest.mark.rule("U98")
@pytest.mark.parametrize(
    "source",
    [
        pytest.param("web-client", marks=pytest.mark.rule("U99")),
        pytest.param("backend-http", marks=pytest.mark.rule("U104")),
        pytest.param("backend-hubspot", marks=pytest.mark.rule("U105")),
        pytest.param("backend-salesforce", marks=pytest.mark.rule("U106")),
        pytest.param("backend-segment", marks=pytest.mark.rule("U107")),
        pytest.param("backend-http-import", marks=pytest.mark.rule("U108")),
    ],
)
def test_each_source_is_accepted_and_only_the_web_client_must_say_where_it_was(userpilot: Run, source: str) -> None:
    given = [record(kind, source=source) for kind in ("identify_user", "identify_company", "track")]
    bare = userpilot(*given)
    accepted = {row["event_type"] for row in bare.accepted}
    everything = {"identify_user", "identify_company", "track"}
    assert accepted == ({"identify_company"} if source == "web-client" else everything)
    whole = userpilot(*(each | PAGE | {"user_agent": AGENT} for each in given))
    assert [row["source"] for row in whole.accepted] == [source] * 3


@pytest.mark.parametrize(
    "field",
    [
        pytest.param("hostname", marks=pytest.mark.rule("U100")),
        pytest.param("pathname", marks=pytest.mark.rule("U101")),
        pytest.param("user_agent", marks=pytest.mark.rule("U102")),
    ],
)
@pytest.mark.parametrize("kind", ["identify_user", "page_view", "track"])
def test_a_web_client_must_give(run: Run, userpilot: Run, kind: str, field: str) -> None:
    given = record(kind, **WEB)
    assert userpilot(given).codes == {}
    for changed in (given | {field: ""}, {key: value for key, value in given.items() if key != field}):
        for result in (userpilot(changed), run(as_csv(changed), USERPILOT)):
            assert (result.problem("missing_required")["column"], result.codes) == (field, {"missing_required": 1})


@pytest.mark.rule("U103")
@pytest.mark.parametrize("kind", ["identify_user", "page_view", "track"])
def test_a_web_client_may_give_a_url_in_place_of_hostname_and_pathname(userpilot: Run, kind: str) -> None:
    given = record(kind, source="web-client", user_agent=AGENT, hostname=None, pathname=None)
    assert userpilot(given).codes == {"missing_required": 2}
    result = userpilot(given | {"url": "https://app.example.com/users/list?page=2"})
    assert [(row["hostname"], row["pathname"]) for row in result.accepted] == [("app.example.com", "/users/list")]
    assert result.codes == {}


@pytest.mark.rule("U102")
def test_a_company_of_a_web_client_is_exempt(userpilot: Run) -> None:
    result = userpilot(record("identify_company", source="web-client"))
    assert (result.report["accepted_rows"], result.codes) == (1, {})
