"""Files that are made to hurt: each is refused, or its bad rows are, in words, and takes no more than others do."""

from __future__ import annotations

import csv
import gzip
import io
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import zstandard

from gateway import contracts
from gateway.contracts import Contract
from gateway.errors import ContractError
from gateway.pipeline.json_text import is_too_deep
from tests.pipeline.conftest import Run, run_pipeline

PROFILES, EVENTS, USERPILOT = "clevertap-profiles", "clevertap-events", "userpilot-import"
MIB = 1 << 20
HEADER = b"identity,Name\n"
TRACK = (
    '{"event_type":"track","user_id":"1","event_name":"e","source":"backend-http",'
    '"inserted_at":"2024-07-01T10:00:00Z","metadata":%s}\n'
)


def event(members: str) -> str:
    return '{"identity":"1","evtName":"e","ts":1719828000' + members + "}\n"


def members_of(count: int, piece: bytes) -> bytes:
    """A gzip member of `count` times `piece`, which nobody has to hold in memory."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(piece) for _ in range(count)) + packer.flush()


ZEROS = members_of(80, b"\0" * MIB)
LINE = members_of(80, b"x" * MIB)
LONG_LINE = zstandard.ZstdCompressor(level=1).compress(b"x" * (20 * MIB))
BOMBS = {
    "zeros": (ZEROS, "more than 500 times its size"),
    "one line": (gzip.compress(HEADER) + LINE, "more than 500 times its size"),
    "members": (gzip.compress(HEADER) + members_of(1, b"u,x\n" * 1000) * 200_000, "more than 1,000,000 bytes"),
    "frames": (zstandard.compress(HEADER) + LONG_LINE * 5, "more than 500 times its size"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_with_the_number_and_leaves_nothing_behind(run: Run, tmp_path: Path, bomb: str) -> None:
    body, told = BOMBS[bomb]
    most = {"expanded_bytes_max": 1_000_000} if bomb == "members" else {}
    result = run(body, PROFILES, name="a.csv.gz", **most)
    assert list(result.codes) == ["expanded_too_large"]
    assert told in result.report["reason_for_failure"][0]
    assert not (tmp_path / "out" / "expanded").exists()


def test_a_zstd_stream_that_wants_a_huge_window_is_refused(run: Run) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    result = run(packer.compress(HEADER + b"u,x\n") + packer.flush(), PROFILES, name="a.csv.zst")
    assert list(result.codes) == ["bad_compression"]
    assert "memory" in result.report["reason_for_failure"][0]


def test_a_disk_that_has_only_its_reserve_left_takes_no_bomb(run: Run) -> None:
    """It is our disk that is full: the job is tried again, and its partner is not blamed."""
    body = gzip.compress(HEADER) + members_of(20, b"x" * MIB)
    with pytest.raises(OSError, match="No space left"):
        run(body, PROFILES, name="a.csv.gz", disk_free_min=1 << 60)


@pytest.mark.parametrize(
    ("body", "contract", "code", "told"),
    [
        (b"identity," + b"c," * 1_000_000 + b"c\n", PROFILES, "too_many_columns", "1,000,002 columns; 4,096 are"),
        (b"identity," + b"x" * MIB + b"\n1,2\n", PROFILES, "long_column_name", "1,048,576 characters; 1,024 are"),
        (b"identity," + b"x" * MIB, PROFILES, "long_column_name", "1,048,576 characters; 1,024 are allowed"),
        (b"\xef\xbb\xbf" * MIB, PROFILES, "long_column_name", "1,024 are allowed"),
        (b"\xff\xfe" * MIB, PROFILES, "long_column_name", "1,024 are allowed"),
        (HEADER + b"1," + b"x" * 40 * MIB + b"\n", PROFILES, "record_too_long", "line 2: the line that begins"),
        (HEADER + b"1" + b"," * 34 * MIB + b"\n", PROFILES, "record_too_long", "line 2: the line that begins"),
        (HEADER + b'1,"' + b'""' * 17 * MIB + b'"\n', PROFILES, "record_too_long", "line 2: the line that begins"),
        (HEADER + b'1,"' + b"abc\n" * 9 * MIB, PROFILES, "unterminated_quote", "line 2: the quoted value"),
        (b'{"x":"' + b"x" * 40 * MIB, EVENTS, "suspect_cut_off", "line 1: the last record is cut off"),
        (b'{"x":"' + b"x" * 40 * MIB + b'"}\n', EVENTS, "record_too_long", "line 1: the line that begins"),
        (b"\n" * 2 * MIB, PROFILES, "empty_file", "only blank lines"),
        (b" \r\n" * MIB, EVENTS, "empty_file", "only blank lines"),
        (b"\0" * MIB, PROFILES, "nul_bytes", "line 1: a NUL byte at offset 0"),
        (b"PAR1" + b"\x15\x04" * 1000, PROFILES, "not_text", "a Parquet file"),
        (b"MZ\x90\0" * 1000, PROFILES, "nul_bytes", "line 1: a NUL byte"),
        (b"\x7fELF\x02\x01\x01\0" * 1000, PROFILES, "nul_bytes", "line 1: a NUL byte"),
        ("".join(event(f',"k{number}":1') for number in range(5000)).encode(), EVENTS, "too_many_columns", "4,096"),
        (event("".join(f',"k{number}":1' for number in range(100_000))).encode(), EVENTS, "too_many_columns", "4,096"),
    ],
)  # fmt: skip
def test_a_file_of_absurd_shape_is_refused_with_the_number(
    run: Run, body: bytes, contract: str, code: str, told: str
) -> None:
    result = run(body, contract, name="a")
    assert list(result.codes) == [code]
    assert told in result.report["reason_for_failure"][0]


def test_rows_of_a_million_fields_are_rejected_and_the_others_are_not(run: Run) -> None:
    result = run(HEADER + (b"1" + b"," * 1_000_000 + b"\n") * 3 + b"ann,Ann\n", PROFILES)
    assert result.codes == {"too_many_fields": 3}
    assert result.report["accepted_rows"] == 1


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [64, 1000, 100_000])
def test_json_that_nests_too_deep_is_one_rejected_row(run: Run, depth: int) -> None:
    """Short lines go to polars and long ones do not; the record itself is the first level."""
    for contract, body in (
        (EVENTS, event(f',"p":{nested(depth)}') + event("")),
        (EVENTS, event(f',"p":{"[" * depth}') + event("")),
        (USERPILOT, TRACK % f'{{"p":{nested(depth)}}}' + TRACK % "{}"),
    ):
        result = run(body, contract, name="a.ndjson")
        assert set(result.codes) <= {"too_deep", "malformed_json"}
        assert (result.report["rejected_rows"], result.report["accepted_rows"]) == (1, 1)
    assert result.problem("too_deep")["message"] == "nested deeper than 64 levels"
    assert result.problem("too_deep")["hint"] == "Flatten the value."


@pytest.mark.parametrize("depth", [64, 100_000])
def test_a_json_value_of_a_csv_that_nests_too_deep_is_one_rejected_row(run: Run, depth: int) -> None:
    rows = "".join(
        f'track,e,backend-http,1,2024-07-01T10:00:00Z,"{value}"\n' for value in (f'{{""p"":{nested(depth)}}}', "{}")
    )
    result = run("event_type,event_name,source,user_id,inserted_at,metadata\n" + rows, USERPILOT)
    assert result.codes["too_deep"] == 1
    assert (result.report["rejected_rows"], result.report["accepted_rows"]) == (1, 1)


def test_tags_and_form_columns_that_nest_without_end_crash_nothing(run: Run) -> None:
    result = run(f'identity,Tags\n1,"{nested(100_000)}"\n2,"{"[" * 100_000}"\n3,a\n', PROFILES)
    assert result.codes == {"bad_tags": 2}
    result = run(f"email,name,timestamp,data[x]\na@b.example,e,1719828000,{nested(100_000)}\n", "customerio-events")
    assert result.report["accepted_rows"] == 1


@pytest.mark.parametrize(("depth_max", "rejected"), [(1, 1), (2, 1), (3, 0)])
def test_a_feed_says_how_deep_json_may_nest(run: Run, depth_max: int, rejected: int) -> None:
    result = run(TRACK % '{"a":[1]}', USERPILOT, name="a.ndjson", json_depth_max=depth_max)
    assert result.report["rejected_rows"] == rejected


@pytest.mark.parametrize(
    ("text", "deep"),
    [('["' + "[" * 99 + '"]', False), ('["\\"' + "[" * 99, False), ("[]" * 99, False), ("[" * 65, True),
     ('["\\\\",' + "[" * 64, True), ('["\n\\\n[' + "[" * 99, False)],
)  # fmt: skip
def test_brackets_in_strings_do_not_nest(text: str, deep: bool) -> None:
    assert is_too_deep(text, 64) is deep


def test_huge_numbers_and_values_are_told_as_what_they_are(run: Run) -> None:
    digits = "9" * 5_000_000
    result = run(f"identity,Age\n1,1e999999999\n2,{digits}\n3,30\n", PROFILES)
    assert result.codes == {"not_integer": 2}
    times = '{"identity":"1","evtName":"e","ts":%s}\n'
    result = run(times % "1e999999999" + times % digits + event(f',"x":{digits}'), EVENTS, name="a.ndjson")
    assert result.codes == {"bad_unix_time": 2}
    assert result.files["accepted"].decode().count("9") >= len(digits)


def test_a_key_many_times_and_a_value_of_15_mib_are_read(run: Run) -> None:
    result = run(event(',"x":1' * 300_000) + event(f',"x":"{"y" * 15 * MIB}"'), EVENTS, name="a.ndjson")
    assert result.report["accepted_rows"] == 2
    many = "{" + ",".join(f'"k{number}":{number}' for number in range(100_000)) + "}"
    assert run(TRACK % many, USERPILOT, name="a.ndjson").report["accepted_rows"] == 1


def test_half_a_character_in_a_key_is_no_column(run: Run) -> None:
    result = run((TRACK % "{}").replace("{", '{"\\ud800":1,', 1), USERPILOT, name="a.ndjson")
    assert result.codes == {"malformed_json": 1}


FRAMES = {
    "stray": (HEADER + b'a"b,c\n' * 5_000, PROFILES, {"stray_quote": 5_000}),
    "escapes": (event(',"x":' + '\\"' * 200_000).encode(), EVENTS, {"malformed_json": 1}),
    "unclosed": (event(',"x":"' + '\\"' * 200_000).encode(), EVENTS, {"malformed_json": 1}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_quotes_that_mislead_are_told_row_by_row(run: Run, name: str) -> None:
    """Each of these took minutes when what was read was read again from every quote on."""
    body, contract, codes = FRAMES[name]
    assert run(body, contract, name="a").codes == codes


@pytest.mark.parametrize("agent", ["(Linux; Android " * 60_000, "Mozilla/5.0 " + " " * MIB, "a;" * 500_000])
def test_a_user_agent_without_end_is_looked_at_in_its_beginning(run: Run, agent: str) -> None:
    result = run((TRACK % "{}").replace("{", f'{{"user_agent":"{agent}",', 1), USERPILOT, name="a.ndjson")
    assert result.report["accepted_rows"] == 1


def test_values_that_backtracking_engines_choke_on_are_judged(run: Run) -> None:
    rows = ["a." * MIB + "@" + "b." * MIB + "!", "a" * MIB, "@" * MIB]
    result = run("identity,Email\n" + "".join(f"{at},{value}\n" for at, value in enumerate(rows)), PROFILES)
    assert result.codes == {"bad_email": 3}
    members = {"browser_language": "a-" * MIB + "a", "url": "http://" + "a@" * MIB, "hostname": "a." * MIB + "-"}
    for key, value in members.items():
        line = (TRACK % "{}").replace("{", f'{{"{key}":"{value}",', 1)
        assert run(line, USERPILOT, name="a.ndjson").report["rejected_rows"] == 1


OWN = """
name = "own"
title = "Own"
kind = "profiles"
formats = ["csv"]
identity = ["identity"]
header_columns = [["identity"]]
[[columns]]
name = "identity"
pattern = '{pattern}'
"""


def own_contract(folder: Path, pattern: str) -> Contract:
    (folder / "contracts").mkdir(exist_ok=True)
    (folder / "contracts" / "own.toml").write_text(OWN.format(pattern=pattern))
    return contracts.load("own", folder)


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(.*a){20}$"])
def test_a_pattern_that_is_catastrophic_elsewhere_is_matched_in_linear_time(tmp_path: Path, pattern: str) -> None:
    result = run_pipeline(tmp_path, b"identity\n" + b"a" * 100_000 + b"!\n", own_contract(tmp_path, pattern))
    assert result.codes == {"pattern_mismatch": 1}


@pytest.mark.parametrize(
    ("pattern", "told"), [("a" * 1001, "1000 characters"), (r"\w{1000}{1000}", "regular expression")]
)
def test_a_pattern_of_a_contract_has_a_size(tmp_path: Path, pattern: str, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        own_contract(tmp_path, pattern)


FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\uff1d1+1",
    " =1+1",
    "'=1",
    "\u200b=1",
    "\ufeff+1",
    '"=1"',
]


def test_no_cell_of_an_errors_file_is_a_formula_and_what_came_stays_as_it_came(run: Run) -> None:
    header = ["identity", "Age", *FORMULAS]
    rows = [["", text, *[""] * len(FORMULAS)] for text in FORMULAS] + [["ann", "=1", *FORMULAS]]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    result = run(text.getvalue(), PROFILES)
    cells = [cell for row in csv.reader(io.StringIO(result.files["errors"].decode(), newline="")) for cell in row]
    dangerous = [cell for cell in cells if cell.lstrip(' "\u200b\ufeff')[:1] in tuple("=+-@\uff1d\t\r")]
    assert [cell for cell in dangerous if cell] == []
    lines = text.getvalue().encode().split(b"\n")
    assert result.files["rejected"] == b"\n".join(lines[: 1 + len(FORMULAS)]) + b"\n"
    assert result.accepted[0]["=cmd|' /C calc'!A0"] == "=cmd|' /C calc'!A0"


SCRIPTS = [
    "</script><script>alert(1)</script>",
    "<!--",
    "]]>",
    "--!>",
    "\u2028alert(1)",
    "' onload='x",
    '" onload="x',
    "{{7*7}}",
]


def test_no_text_of_a_partner_becomes_a_part_of_the_page(run: Run, tmp_path: Path) -> None:
    header = ["identity", "Age", *(text + "<x>" for text in SCRIPTS)]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *(["", one, *[""] * len(SCRIPTS)] for one in SCRIPTS)])
    run(text.getvalue(), PROFILES, name="<script>x</script><!--\u2028.csv")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "alert(1)" in page
    assert not re.search(r"<script|<x>|<!--(?! )|\u2028|onload=.x", html_without_text(page), re.IGNORECASE)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page


def html_without_text(page: str) -> str:
    """Its tags, with their attributes, and its comments."""
    return "".join(re.findall(r"<[^<>]*>", page))


MEASURE = """
import resource, sys
from pathlib import Path
from tests.pipeline import test_hostile_files as hostile
from tests.pipeline.conftest import run_pipeline
run_pipeline(Path(sys.argv[1]), b"identity,Name\\n1,a\\n", hostile.PROFILES)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for bomb in ("zeros", "one line", "frames"):
    run_pipeline(Path(sys.argv[1]), hostile.BOMBS[bomb][0], hostile.PROFILES, name="a.csv.gz")
run_pipeline(Path(sys.argv[1]), hostile.HEADER + b"1" + b"," * (34 << 20) + b"\\n", hostile.PROFILES)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_bombs_and_endless_lines_take_bounded_memory(tmp_path: Path) -> None:
    """A line is framed up to 32 MiB, with 8 bytes a delimiter; what a bomb expands to is never in memory."""
    ran = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 700 * 1024, f"{ran.stdout} KiB"


@pytest.mark.parametrize(
    ("contract", "name", "body", "code"),
    [
        (EVENTS, "a.csv", "identity,evtName,ts\nann,e,-99999999999\nann,e,1719828000\n", "bad_unix_time"),
        (PROFILES, "a.csv", "identity,seen<dd/MM/yyyy HH:mm:ss>\nann,01/01/0000\nbob,01/01/2024\n", "bad_date"),
        (USERPILOT, "a.ndjson", (TRACK % "{}").replace("2024-07", "0000-07") + TRACK % "{}", "bad_time"),
        (USERPILOT, "a.ndjson", (TRACK % "{}").replace("00Z", "00-14:00").replace("2024-07-01T10", "9999-12-31T23")
         + TRACK % "{}", "bad_time"),
    ],
)  # fmt: skip
def test_a_time_before_the_year_1_or_after_9999_is_no_time(
    run: Run, contract: str, name: str, body: str, code: str
) -> None:
    result = run(body.encode(), contract, name=name)
    assert result.report["total_rows"] == 2
    assert code in result.codes, result.codes
    assert result.report["accepted_rows"] >= 1
