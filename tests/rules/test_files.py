"""Files: what is refused whole and where, what is one broken row, and what is normal (RULES.md section 2)."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from pathlib import Path

import pytest
import zstandard

from gateway import contracts
from gateway.config import FeedSettings
from gateway.contracts import samples
from tests.conftest import Run as Command
from tests.rules.conftest import Run, ndjson, record, table

PROFILES, USERPILOT = "clevertap-profiles", "userpilot-import"
GOOD = b"identity,Name\n1,Ann\n2,Bob\n"


def workbook() -> bytes:
    """The bytes of a ZIP, as every .xlsx is one."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    return packed.getvalue()


@pytest.mark.rule("C26")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(workbook(), "not_text", id="an Excel workbook"),
        pytest.param(gzip.compress(workbook()), "not_text", id="a workbook in a gz"),
        pytest.param(b"PAR1\x15\x04", "not_text", id="a Parquet file"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00", "nul_bytes", id="a picture"),
        pytest.param(b"identity,Name\n1,Ann\x00\n", "nul_bytes", id="NUL bytes"),
        pytest.param("identity,Name\n".encode("utf-16-le"), "nul_bytes", id="UTF-16 without a byte-order mark"),
        pytest.param(b'{"identity": "1"}\n', "wrong_format", id="NDJSON where only CSV is taken"),
        pytest.param(b'[\n{"identity": "1"}\n]\n', "wrong_format", id="a JSON array"),
        pytest.param(b"<html><body>identity</body></html>\n", "missing_column", id="a web page"),
        pytest.param(b"", "empty_file", id="no bytes"),
        pytest.param(b"\xef\xbb\xbf", "empty_file", id="a byte-order mark alone"),
        pytest.param(gzip.compress(GOOD)[:-9] + bytes(9), "bad_compression", id="a gz with other bytes at its end"),
    ],
)
def test_what_is_no_csv_is_refused_whole(run: Run, body: bytes, code: str) -> None:
    result = run(body, PROFILES)
    report = result.report
    assert (report["status"], report["total_rows"], report["accepted_rows"]) == ("failed", 0, 0)
    assert result.codes == {code: 1}
    assert "accepted" not in result.files
    assert report["reason_for_failure"] == [report["problems"][0]["message"]]
    assert report["problems"][0]["hint"]


@pytest.mark.rule("C26")
def test_the_hint_of_a_json_array_says_how_to_write_the_records(run: Run) -> None:
    problem = run(b'[\n{"event_type": "track"}\n]\n', USERPILOT, name="a.json").problem("wrong_format")
    assert "one object on each line" in problem["hint"]


@pytest.mark.rule("C27")
@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        pytest.param(
            b'identity,Name\n1,Ann\n2,"Bob\n3,Cy\n', "unterminated_quote", 3, id="a quote that nothing closes"
        ),
        pytest.param(b"identity,Name\n1,Ann\n2,B\x00b\n", "nul_bytes", 3, id="a NUL byte"),
        pytest.param(b"identity,Name\n1,Ren\xe9\n", "bad_encoding", 2, id="bytes that are not UTF-8"),
        pytest.param(b"identity,Name,Name\n1,Ann,Ann\n", "duplicate_column", 1, id="two columns of one name"),
        pytest.param(b"identity,,Name\n1,Ann,Ann\n", "blank_column", 1, id="a column without a name"),
    ],
)
def test_a_file_broken_beyond_repair_is_refused_with_the_line_where_it_broke(
    run: Run, body: bytes, code: str, line: int
) -> None:
    result = run(body, PROFILES)
    assert (result.report["status"], result.report["accepted_rows"]) == ("failed", 0)
    assert (result.problem(code)["line"], result.problem(code)["level"]) == (line, "error")


@pytest.mark.rule("C27")
@pytest.mark.parametrize(
    ("broken", "code"),
    [
        pytest.param(b"3", "too_few_fields", id="too few fields"),
        pytest.param(b"3,Cy,x", "too_many_fields", id="too many fields"),
        pytest.param(b'3,C"y', "stray_quote", id="a quote inside an unquoted field"),
        pytest.param(b'3,"C"y', "stray_quote", id="text behind a closing quote"),
        pytest.param(b'3,"Cy', "stray_quote", id="an open quote that other quotes follow"),
    ],
)
def test_a_broken_row_is_one_rejection_and_the_rows_around_it_go_on(run: Run, broken: bytes, code: str) -> None:
    result = run(GOOD + broken + b'\n"4","Di\nana"\n5,Eve\n', PROFILES)
    assert [row["identity"] for row in result.accepted] == ["1", "2", "4", "5"]
    assert result.codes == {code: 1}
    (error,) = result.errors
    assert (error["row"], error["line"], error["code"]) == ("3", "4", code)
    assert result.files["rejected"] == b"identity,Name\n" + broken + b"\n"


@pytest.mark.rule("C27")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="a UTF-8 byte-order mark"),
        pytest.param(GOOD.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(GOOD.replace(b"\n", b"\r"), id="CR"),
        pytest.param(b"identity,Name\r\n1,Ann\n2,Bob\r", id="mixed line endings"),
        pytest.param(GOOD[:-1], id="no final newline"),
        pytest.param(b'"identity","Name"\n"1","Ann"\n"2","Bob"\n', id="all quoted"),
        pytest.param(GOOD.decode().encode("utf-16"), id="UTF-16 with a byte-order mark"),
        pytest.param(b"\xfe\xff" + GOOD.decode().encode("utf-16-be"), id="UTF-16 big-endian"),
        pytest.param(gzip.compress(GOOD), id="gz"),
        pytest.param(zstandard.compress(GOOD), id="zst"),
        pytest.param(GOOD.replace(b",", b";"), id="semicolons"),
        pytest.param(GOOD.replace(b",", b"\t"), id="tabs"),
    ],
)
def test_files_that_are_written_differently_are_all_normal(run: Run, body: bytes) -> None:
    result = run(body, PROFILES)
    assert (result.report["status"], result.report["accepted_rows"]) == ("completed", 2)
    accepted = result.files["accepted"].decode()
    rows = [line.replace(";", ",").replace("\t", ",") for line in accepted.splitlines()]
    assert rows == ["identity,Name", "1,Ann", "2,Bob"]


@pytest.mark.rule("C27")
def test_a_header_alone_is_a_file_of_no_rows(run: Run) -> None:
    result = run(b"identity,Name\n", PROFILES)
    assert (result.report["status"], result.report["total_rows"], result.codes) == ("completed", 0, {})


@pytest.mark.rule("C27")
def test_latin_1_is_refused_with_offset_and_hint_unless_the_feed_says_so(run: Run) -> None:
    body = "identity,Name\n1,René\nx\n".encode("latin-1")
    problem = run(body, PROFILES).problem("bad_encoding")
    assert "offset 19" in problem["message"]
    assert 'encoding = "latin-1"' in problem["hint"]
    result = run(body, PROFILES, encoding="latin-1")
    assert result.accepted == [{"identity": "1", "Name": "René"}]
    assert result.files["rejected"] == b"identity,Name\nx\n"


@pytest.mark.parametrize("packed", [gzip.compress, zstandard.compress])
def test_what_expands_to_more_than_the_feed_allows_is_refused(run: Run, packed: type) -> None:
    body = packed(b"identity,Name\n" + b"1,Ann\n" * 10_000)
    assert run(body, PROFILES, expanded_bytes_max=60_000).codes == {"expanded_too_large": 1}
    assert run(body, PROFILES, expanded_bytes_max=60_014).report["status"] == "completed"


@pytest.mark.rule("C31")
def test_a_file_of_50_megabytes_goes_through(run: Run) -> None:
    name = b"x" * 990
    body = b"identity,Name\n" + b"".join(b"%08d,%s\n" % (number, name) for number in range(50_000))
    assert len(body) >= 50_000_000 - 14
    result = run(body, PROFILES)
    assert (result.report["status"], result.report["accepted_rows"]) == ("completed", 50_000)
    assert result.report["file_size"] == len(body)
    assert FeedSettings(contract=PROFILES).drop_bytes_max == 5 * 1024**3


@pytest.mark.rule("C25")
@pytest.mark.parametrize("name", contracts.builtin_names())
def test_every_sample_passes_its_own_contract_and_says_all_that_a_row_can_hold(run: Run, name: str) -> None:
    contract = contracts.load(name)
    policy = FeedSettings(contract=name)
    shown = {file: text for file, text in samples.files(contract, policy).items() if file.endswith((".csv", ".ndjson"))}
    assert {file.rsplit(".", 1)[1] for file in shown} == set(contract.formats)
    for file, text in shown.items():
        result = run(text, name, name=file)
        assert result.report["accepted_rows"] == result.report["total_rows"] > 0, file
        assert result.codes == {}, file


@pytest.mark.parametrize(
    ("file", "key"),
    [
        pytest.param("by-identity.csv", "identity", marks=pytest.mark.rule("C33"), id="by identity"),
        pytest.param("by-objectId.csv", "objectId", marks=pytest.mark.rule("C32"), id="by objectId"),
    ],
)
def test_profiles_have_a_sample(run: Run, file: str, key: str) -> None:
    text = samples.files(contracts.load(PROFILES), FeedSettings(contract=PROFILES))[file]
    (header, *rows) = csv.reader(io.StringIO(text))
    assert header[0] == key
    assert not {"identity", "objectId"} & set(header[1:])
    assert [row[key] for row in run(text, PROFILES).accepted] == [row[0] for row in rows]


@pytest.mark.rule("U17")
@pytest.mark.rule("U20")
def test_ndjson_is_one_object_a_line_and_csv_means_the_same(run: Run) -> None:
    lines = ndjson(record("track"), record("page_view", inserted_at="2024-07-29T00:00:00Z"))
    from_ndjson = run(lines.replace(b"}\n", b"}\n \n\n"), USERPILOT, name="a.ndjson")
    assert (from_ndjson.report["accepted_rows"], from_ndjson.report["blank_rows"]) == (2, 4)
    header = "event_type,event_name,user_id,hostname,pathname,source,inserted_at,metadata\n"
    first = 'track,clicked,u1,,,backend-http,2024-07-28T08:55:35Z,"{""plan"": ""pro""}"\n'
    second = "page_view,,u1,app.example.com,/,backend-http,2024-07-29T00:00:00Z,\n"
    from_csv = run(header + first + second, USERPILOT, result_format="ndjson")
    assert from_csv.accepted == from_ndjson.accepted


@pytest.mark.rule("U20")
@pytest.mark.parametrize(
    ("broken", "code"),
    [
        pytest.param(b'{"event_type": "track"', "malformed_json", id="an object that is cut off"),
        pytest.param(b"{'event_type': 'track'}", "malformed_json", id="single quotes"),
        pytest.param(ndjson(record("track")).strip() * 2, "malformed_json", id="two objects on a line"),
        pytest.param(b'["track"]', "not_an_object", id="an array"),
        pytest.param(b"null", "not_an_object", id="null"),
        pytest.param(b'"track"', "not_an_object", id="a string"),
    ],
)
def test_a_line_that_is_no_json_object_is_one_rejection(run: Run, broken: bytes, code: str) -> None:
    good = ndjson(record("track"))
    result = run(good + broken + b"\n" + good.replace(b"u1", b"u2"), USERPILOT, name="a.ndjson")
    assert [row["user_id"] for row in result.accepted] == ["u1", "u2"]
    assert [(error["line"], error["code"]) for error in result.errors] == [("2", code)]
    assert result.files["rejected"] == broken + b"\n"


@pytest.mark.rule("C14")
def test_the_first_15_rows_are_previewed_as_understood_with_types_and_problems(
    gateway: Command, tmp_path: Path
) -> None:
    rows = [[f"id-{number}", "01 23", "31/12/2023"] for number in range(1, 21)]
    rows[2][1] = "+49"
    file = tmp_path / "a.csv"
    file.write_bytes(table(["identity", "Phone", "seen<dd/MM/yyyy HH:mm:ss>"], *rows))
    printed = gateway("preview", file, "--contract", PROFILES).stdout
    assert [f"id-{number}\n" in printed.replace("  string", "") for number in (1, 2, 15, 16)] == [
        True,
        True,
        True,
        False,
    ]
    lines = [line.split() for line in printed.splitlines()]
    assert ["Phone", "0123", "digits"] in lines
    assert "31/12/2023 12:00:00" in printed
    (problem,) = [line for line in printed.splitlines() if "phone_not_digits" in line]
    assert '"+49"' in problem
    assert lines.index(["row", "3", "rejected"]) < printed.splitlines().index(problem) < lines.index(["row", "4"])
    shorter = gateway("preview", file, "--contract", PROFILES, "--rows", "2").stdout
    assert [line for line in shorter.splitlines() if line.startswith("row ")] == ["row 1", "row 2"]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.rule("C14")
@pytest.mark.parametrize("body", [b"Identity,Name\n1,Ann\n", b"\x00"])
def test_the_preview_of_a_file_that_would_be_refused_says_so(gateway: Command, tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(body)
    done = gateway("preview", file, "--contract", PROFILES)
    assert done.returncode == 2
    assert "would be refused" in done.stdout


@pytest.mark.rule("C27")
def test_a_local_file_that_looks_cut_off_is_refused_and_a_gateway_is_said_to_hold_it(
    gateway: Command, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(GOOD + b"3")
    checked = gateway("check", file, "--contract", PROFILES)
    assert checked.returncode == 2
    assert "the last record is cut off" in checked.stdout
    assert "A gateway holds such a file at first" in checked.stdout
    seen = gateway("preview", file, "--contract", PROFILES)
    assert seen.returncode == 2
    assert "a.csv would be held as suspect: line " in seen.stdout
    assert "Upload the whole file again." in seen.stdout


@pytest.mark.parametrize(
    ("policy", "code", "sentence"),
    [
        ({"rows_max": 1}, "too_many_rows", "line 3: this feed takes 1 rows in a file"),
        ({"columns_max": 1}, "too_many_columns", "the header has 2 columns; 1 are allowed"),
        ({"line_bytes_max": 4}, "record_too_long", "line 2: the record has 5 bytes; 4 are allowed"),
    ],
)
def test_a_file_over_a_limit_of_its_feed_is_refused_and_the_report_says_which(
    run: Run, policy: dict[str, int], code: str, sentence: str
) -> None:
    result = run(GOOD, PROFILES, **policy)
    assert result.codes == {code: 1}
    assert result.report["reason_for_failure"] == [sentence]


def test_a_file_that_just_keeps_the_limits_of_its_feed_is_taken(run: Run) -> None:
    assert run(GOOD, PROFILES, rows_max=2, columns_max=2, line_bytes_max=5).report["accepted_rows"] == 2
