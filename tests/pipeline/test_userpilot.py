"""The Userpilot import, end to end through the pipeline."""

from __future__ import annotations

import csv
import io
import json
import random
from typing import Any

import pytest

from gateway import contracts
from tests.pipeline.conftest import Run

CONTRACT = "userpilot-import"
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/91.0.4472.124 Safari/537.36"
)
COLUMNS = contracts.load(CONTRACT).csv_columns


def track(**changes: Any) -> dict[str, Any]:
    record = {
        "event_type": "track", "event_name": "clicked", "source": "backend-http", "user_id": "u1",
        "inserted_at": "2024-07-01T00:00:00Z", "metadata": {"a": 1},
    }  # fmt: skip
    return {key: value for key, value in (record | changes).items() if value is not None}


def ndjson(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def hundred_thousand() -> tuple[list[dict[str, Any]], dict[int, str]]:
    """100,000 records with 1 % bad ones of five kinds, and the code that each bad row (1-based) must get."""
    pick = random.Random(7)
    rows, bad = [], {}
    breakages: dict[str, dict[str, Any]] = {
        "unknown_event_type": {"event_type": "page_views"},
        "missing_required": {"user_id": ""},
        "not_non_negative_integer": {"screen_width": -1},
        "bad_time": {"inserted_at": "yesterday"},
        "not_allowed": {"source": "somewhere"},
    }
    for row in range(1, 100_001):
        stamp = (
            f"2024-0{pick.randint(1, 7)}-{pick.randint(1, 28):02} {pick.randint(0, 23):02}:{pick.randint(0, 59):02}:00"
        )
        record = track(user_id=f"u{row}", inserted_at=stamp, screen_width=pick.randint(1, 4000))
        if row % 100 == 0:
            bad[row] = code = pick.choice(list(breakages))
            record |= breakages[code]
        rows.append(record)
    return rows, bad


@pytest.mark.parametrize("form", ["ndjson", "csv with header", "csv without header"])
def test_a_hundred_thousand_rows_come_back_sorted_with_each_bad_row_named(run: Run, form: str) -> None:
    rows, bad = hundred_thousand()
    if form == "ndjson":
        body, name, first_line = ndjson(*rows), "big.ndjson", 1
    else:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\r\n")
        first_line = 1
        if form == "csv with header":
            writer.writerow(COLUMNS)
            first_line = 2
        for row in rows:
            writer.writerow([json.dumps(row["metadata"]) if c == "metadata" else row.get(c, "") for c in COLUMNS])
        body, name = text.getvalue().encode(), "big.csv"
    result = run(body, CONTRACT, name=name)
    report = result.report
    assert (report["status"], report["total_rows"], report["accepted_rows"]) == ("completed", 100_000, 99_000)
    assert report["rejected_rows"] == len(bad) == 1000
    assert {int(e["row"]): e["code"] for e in result.errors} == bad
    assert all(int(e["line"]) == int(e["row"]) + first_line - 1 for e in result.errors)
    times = [row["inserted_at"] for row in result.accepted]
    assert times == sorted(times)
    assert len(times) == 99_000
    lines = body.split(b"\r\n" if form != "ndjson" else b"\n")
    header = lines[0] + b"\r\n" if first_line == 2 else b""
    ending = b"\r\n" if form != "ndjson" else b"\n"
    assert result.files["rejected"] == header + b"".join(lines[row + first_line - 2] + ending for row in bad)


@pytest.mark.rule("U45")
def test_a_bad_value_is_told_with_type_field_and_value(run: Run) -> None:
    result = run(ndjson(track(), track(user_id="u2", page_sessions=-1)), CONTRACT, name="a.ndjson")
    problem = result.problem("not_non_negative_integer")
    assert problem["message"] == 'page_sessions: expected a non-negative integer, found "-1"'
    assert (problem["row"], problem["line"], problem["value"]) == (2, 2, "-1")


@pytest.mark.rule("U46")
def test_an_unknown_event_type_is_told_with_the_allowed_ones(run: Run) -> None:
    problem = run(ndjson(track(event_type="page_views")), CONTRACT, name="a.ndjson").problem("unknown_event_type")
    expected = 'expected one of identify_user, identify_company, page_view, track; found "page_views"'
    assert problem["message"] == f"event_type: {expected}"
    assert "did you mean 'page_view'?" in problem["hint"].lower()


@pytest.mark.rule("U20")
def test_a_broken_line_is_one_rejection_and_blank_lines_are_counted(run: Run) -> None:
    good = ndjson(track())[:-1]
    body = good + b'\n\n{"a":\n[1]\nnull\n' + good.replace(b"u1", b"u2") + b"}\n  \n" + good.replace(b"u1", b"u3")
    result = run(body, CONTRACT, name="a.ndjson")
    assert [(e["line"], e["code"]) for e in result.errors] == [
        ("3", "malformed_json"), ("4", "not_an_object"), ("5", "not_an_object"), ("6", "malformed_json"),
    ]  # fmt: skip
    assert (result.report["blank_rows"], result.report["accepted_rows"]) == (2, 2)
    assert result.files["rejected"] == b'{"a":\n[1]\nnull\n' + good.replace(b"u1", b"u2") + b"}\n"


@pytest.mark.rule("U23")
def test_what_json_says_exactly_is_kept_exactly(run: Run) -> None:
    body = (
        b'{"event_type":"track","event_name":"e","source":"backend-http","user_id":12345678901234567890123,'
        b'"inserted_at":"2024-07-01 00:00:00","metadata":{"n":12345678901234567890123,"d":0.12345678901234567890,'
        b'"s":"\\ud83d\\ude00","q":"a\\"b\\\\c\\n"}}\n'
    )
    result = run(body, CONTRACT, name="a.ndjson")
    text = result.files["accepted"].decode()
    assert '"user_id": "12345678901234567890123"' in text
    assert '"n": 12345678901234567890123, "d": 0.12345678901234567890, "s": "😀"' in text
    assert result.accepted[0]["metadata"]["q"] == 'a"b\\c\n'


def test_a_line_with_spaces_behind_it_is_as_good_as_one_without(run: Run) -> None:
    body = ndjson(track(event_name='say "hi"')).replace(b"\n", b" \t\n")
    result = run(body, CONTRACT, name="a.ndjson")
    assert [row["event_name"] for row in result.accepted] == ['say "hi"']


NESTED = ["a\\b", "C:\\temp\\new", "tab\t", "\b\f\x1f", 'quo"te', "line\nbreak", "\\", "\x00", "é\u2028"]


@pytest.mark.parametrize("text", NESTED)
@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_a_nested_text_comes_back_as_it_was(run: Run, text: str, form: str) -> None:
    given = track(metadata={"x": text, text: [text, {"y": text}]})
    table = io.StringIO(newline="")
    csv.writer(table).writerows([list(given), [*list(given.values())[:-1], json.dumps(given["metadata"])]])
    body = ndjson(given) if form == "ndjson" else table.getvalue()
    (row,) = run(body, CONTRACT, name=f"a.{form}", result_format="ndjson").accepted
    assert row["metadata"] == given["metadata"]


@pytest.mark.parametrize("line", [rb'{"event_name": "\ud800"}', rb'{"event_name": "a", "metadata": {"x": "\udfff"}}'])
def test_half_a_surrogate_pair_is_malformed_not_something_else(run: Run, line: bytes) -> None:
    assert run(line, CONTRACT, name="a.ndjson").codes["malformed_json"] == 1


@pytest.mark.rule("U87")
@pytest.mark.rule("U86")
@pytest.mark.rule("U85")
def test_browser_and_system_come_from_the_user_agent_where_the_row_is_silent(run: Run) -> None:
    result = run(ndjson(track(user_agent=AGENT), track(user_id="u2", user_agent=AGENT, browser="Mine")), CONTRACT,
                 name="a.ndjson")  # fmt: skip
    assert [(r["browser"], r["operating_system"]) for r in result.accepted] == [
        ("Chrome", "Windows"),
        ("Mine", "Windows"),
    ]


@pytest.mark.rule("U84")
@pytest.mark.rule("U83")
def test_a_url_overrides_hostname_and_pathname(run: Run) -> None:
    row = track(url="https://app.example.com:8443/a/b?c=d#e", hostname="other.example", pathname="/x")
    accepted = run(ndjson(row), CONTRACT, name="a.ndjson").accepted[0]
    assert (accepted["hostname"], accepted["pathname"]) == ("app.example.com", "/a/b")


def test_a_url_that_does_not_parse_is_one_problem(run: Run) -> None:
    row = track(event_type="page_view", source="web-client", url="not a url", user_agent=AGENT)
    assert run(ndjson(row), CONTRACT, name="a.ndjson").codes == {"bad_url": 1}
