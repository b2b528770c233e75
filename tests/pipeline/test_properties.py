"""What holds for every drop, whatever is in it."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import contracts
from tests.pipeline.conftest import Result, records, run_pipeline

TEXTS = ["x", "Jane Doe", " padded ", "ü", 'quo"te', "a;b", "#N/A", "null", "1e5", "00123", "=1+1", "line\nbreak"]
TIMES = ["2024-07-01T10:00:00Z", "2024-07-01 10:00:00.5", "2024-06-30T23:59:59+02:00", "2023-01-01T00:00", "yesterday"]
UNIX = ["1719828000", "1719828000123", "1719828001.5", "-1", "soon", "99999999999"]
POOLS = {
    "event_type": ["identify_user", "identify_company", "page_view", "track", "page_views"],
    "source": ["web-client", "backend-http", "elsewhere"],
    "inserted_at": TIMES,
    "ts": UNIX,
    "timestamp": UNIX,
    "_timestamp": UNIX,
    "Age": ["0", "34", "150", "151", "old"],
    "Email": ["a@example.com", "nobody"],
    "email": ["a@example.com", "b@example.com", "nobody"],
    "Phone": ["01 123", "+49 1", "5"],
    "Tags": ["a;b", '["x", "y"]', "[1]", "[", "one"],
    "url": ["https://a.example/b?c", "not a url"],
    "hostname": ["a.example", "no host"],
    "country_code": ["DE", "UK", "de", "XX"],
    "screen_width": ["0", "1024", "-1", "1.5"],
    "browser_language": ["en-US", "not_a_language!"],
    "identity": ["1", "2", "3", "anonymous", "9" * 25],
    "id": ["1", "2", "N/A"],
    "metadata": ['{"a": 1}', '{"a": {"b": [1, 2.5, null]}}', "{}", "[1]", "{", '{"n": 12345678901234567890123}'],
    "data": ['{"price": 23.45}', "{}", '"text"'],
    "born<dd/MM/yyyy HH:mm:ss>": ["31/12/2023", "01/02/2023 10:11:12", "29/02/2023"],
}
FURTHER = {
    "clevertap-profiles": ["plan", "born<dd/MM/yyyy HH:mm:ss>"],
    "clevertap-events": ["price"],
    "customerio-people": ["x"],
}
CASES = [(name, form) for name in contracts.builtin_names() for form in contracts.load(name).formats]

relaxed = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def cells(column: str) -> st.SearchStrategy[str]:
    return st.sampled_from(["", *POOLS.get(column, TEXTS)])


@st.composite
def drops(draw: st.DrawFn, contract: str, form: str) -> bytes:
    """A file of up to 12 records, good ones and bad ones, with broken records between."""
    names = [column.name for column in contracts.load(contract).columns] + FURTHER.get(contract, [])
    rows = draw(st.lists(st.fixed_dictionaries({name: cells(name) for name in names}), max_size=12))
    broken = draw(st.sampled_from(["", "a,b", '"', 'x"y', "{", "[]", "{}"]))
    if form == "csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
        writer.writerow(names)
        writer.writerows([row[name] for name in names] for row in rows)
        lines = text.getvalue()
        return (lines + broken.replace('"', "") + "\n").encode() if broken else lines.encode()
    objects = [{key: typed(key, value) for key, value in row.items() if value} for row in rows]
    return "".join(json.dumps(entry) + "\n" for entry in objects).encode() + (broken + "\n" if broken else "").encode()


def typed(name: str, text: str) -> Any:
    """A cell as a JSON value: some as their own type, some as text."""
    if name in ("metadata", "data", "Age", "ts", "screen_width"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def in_a_folder(check: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder))


def row_count(report: dict[str, Any]) -> int:
    names = ("accepted", "merged", "duplicate", "rejected", "withheld")
    return sum(int(report[f"{name}_rows"]) for name in names)


@pytest.mark.parametrize(("contract", "form"), CASES)
def test_every_record_is_counted_once_and_results_are_drops_again(contract: str, form: str) -> None:
    @relaxed
    @given(body=drops(contract, form))
    def holds(body: bytes) -> None:
        def check(folder: Path) -> None:
            first = run_pipeline(folder, body, contract, name=f"a.{form}")
            assert row_count(first.report) == first.report["total_rows"]
            accepted_again(folder, first, contract, form)
            rejected_again(folder, first, contract, form)

        in_a_folder(check)

    holds()


def accepted_again(folder: Path, first: Result, contract: str, form: str) -> None:
    """Checking accepted rows again accepts all of them and changes nothing."""
    accepted = first.files.get("accepted")
    if accepted is None:
        assert first.report["accepted_rows"] == 0
        return
    assert len(records(accepted)) == first.report["accepted_rows"]
    second = run_pipeline(folder, accepted, contract, name=f"b.{form}")
    assert second.report["accepted_rows"] == second.report["total_rows"] == first.report["accepted_rows"], second.errors
    assert second.files["accepted"] == accepted
    assert second.report["order"]["rows_moved"] == 0


def rejected_again(folder: Path, first: Result, contract: str, form: str) -> None:
    """Checking rejected records again rejects all of them, with the same codes."""
    rejected = first.files.get("rejected")
    if rejected is None:
        assert first.report["rejected_rows"] == 0
        return
    second = run_pipeline(folder, rejected, contract, name=f"c.{form}")
    assert second.report["rejected_rows"] == second.report["total_rows"] == first.report["rejected_rows"]
    assert second.files["rejected"] == rejected


@pytest.mark.rule("F17")
@pytest.mark.rule("F18")
@relaxed
@given(stamps=st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_accepted_events_are_a_stable_permutation_oldest_first(stamps: list[int]) -> None:
    body = "".join(
        json.dumps({"identity": "1", "evtName": str(at), "ts": 1_700_000_000 + stamp}) + "\n"
        for at, stamp in enumerate(stamps)
    ).encode()

    def check(folder: Path) -> None:
        result = run_pipeline(folder, body, "clevertap-events", name="a.ndjson")
        expected = sorted(range(len(stamps)), key=lambda at: stamps[at])
        assert [int(row["evtName"]) for row in result.accepted] == expected

    in_a_folder(check)


TIME_OF = {"userpilot-import": "inserted_at", "clevertap-events": "ts", "customerio-events": "timestamp"}


def numbered(contract: str, row: dict[str, str], number: int) -> dict[str, Any]:
    """The row with its number, in a place where it changes nothing but tells rows apart."""
    if contract == "userpilot-import":
        return row | {"metadata": {"n": number}}
    return row | ({"data": {"n": number}} if contract == "customerio-events" else {"n": str(number)})


def number_of(row: dict[str, Any]) -> int:
    holder = row.get("metadata") or row.get("data") or row
    return int((json.loads(holder) if isinstance(holder, str) else holder)["n"])


@pytest.mark.rule("F17")
@pytest.mark.parametrize(("contract", "form"), CASES)
def test_accepted_rows_are_an_ordered_and_stable_permutation(contract: str, form: str) -> None:
    """By time where rows have one, else by their place in the file; a merged row has the place of its newest."""
    names = [column.name for column in contracts.load(contract).columns if column.name not in ("metadata", "data")]

    @relaxed
    @given(rows=st.lists(st.fixed_dictionaries({name: cells(name) for name in names}), max_size=12))
    def holds(rows: list[dict[str, str]]) -> None:
        given_rows = [numbered(contract, row, number) for number, row in enumerate(rows)]
        body = as_csv(given_rows) if form == "csv" else "".join(json.dumps(row) + "\n" for row in given_rows)

        def check(folder: Path) -> None:
            accepted = run_pipeline(folder, body.encode(), contract, name=f"a.{form}").accepted
            keys = [(moment(row.get(TIME_OF.get(contract, ""))), number_of(row)) for row in accepted]
            assert keys == sorted(set(keys))

        if body:
            in_a_folder(check)

    holds()


def as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(rows[0] if rows else [])
    writer.writerows([json.dumps(cell) if isinstance(cell, dict) else cell for cell in row.values()] for row in rows)
    return text.getvalue() if rows else ""


def moment(text: Any) -> float:
    """A stored time as a number; 0 where rows have none."""
    if text is None:
        return 0.0
    return datetime.fromisoformat(text).timestamp() if "T" in str(text) else float(text)


HOSTILE = [
    b"\xff\xfe", b"\xef\xbb\xbf", b"\n\n\n", b",", b'"', b"\r", b'{"a":' * 100_000, b"[" * 100_000, b"{" * 10,
    b"identity,\n1,2\n", b"identity,identity\n1,2\n", b'{"event_type":"\\ud800"}\n', b'{"":1}\n', b'{"\\u001f":1}\n',
    b"identity\n" + b"x" * 1_000_000, b"identity," + b",".join(b"c%d" % at for at in range(10_000)) + b"\n1\n",
    b'{"identity":"1","evtName":"e","p":' + b'{"p":' * 70 + b"1" + b"}" * 71 + b"\n",
    b'{"identity":1e400,"evtName":"e"}\n',
    b'{"evtName":"e","identity":"1","x":"1"}\n{"evtName":"e","identity":"1","x":1}\n', b"\x1f\x8b\x08junk",
    b"PK\x03\x04",
    b'identity,evtName\n"1\n2","e"\n', b"{}\n{}\n", b'{"ts":"\xc3\x28"}\n', b"identity;evtName\n1;2\n", b"a\x00b\n",
]  # fmt: skip


@pytest.mark.rule("C26")
@pytest.mark.parametrize("contract", contracts.builtin_names())
@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bytes_get_a_report_and_never_a_crash(tmp_path: Path, body: bytes, contract: str) -> None:
    result = run_pipeline(tmp_path, body, contract, name="a")
    assert row_count(result.report) == result.report["total_rows"]
    assert result.report["status"] == "completed" or result.report["reason_for_failure"]


@pytest.mark.parametrize("contract", contracts.builtin_names())
def test_any_bytes_get_a_report_and_never_a_crash(contract: str) -> None:
    @relaxed
    @given(body=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)), head=st.sampled_from(
        [b"", b"identity,evtName,name,id,event_type,inserted_at\n", b'{"identity":"1","evtName":"e"}\n']))  # fmt: skip
    def holds(body: bytes, head: bytes) -> None:
        in_a_folder(lambda folder: check(folder, head + body))

    def check(folder: Path, body: bytes) -> None:
        report = run_pipeline(folder, body, contract, name="a").report
        assert row_count(report) == report["total_rows"]

    holds()
