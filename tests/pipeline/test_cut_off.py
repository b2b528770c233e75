"""Drops that were cut off: which of them are seen, and what each policy makes of them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import contracts
from gateway.config import FeedSettings
from gateway.engine import Engine, Task
from gateway.pipeline import records as framing
from gateway.pipeline.drop import Drop, Outcome, Suspect
from gateway.pipeline.process import process
from tests.pipeline.conftest import AS_OF, Result, records, run_pipeline

PROFILES, EVENTS, USERPILOT = "clevertap-profiles", "clevertap-events", "userpilot-import"
HEADER = b"identity,Name,plan\n"
ROWS = HEADER + b"1,Ann,pro\n2,Bob,basic\n"
EVENT = b'{"identity": "1", "evtName": "e", "ts": 1}\n'
CHECKED_ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress


def drop_of(folder: Path, body: bytes, contract: str, name: str, on_cut_off: Any) -> Drop:
    path = folder / "original"
    path.write_bytes(body)
    return Drop(
        job_id="0190f0f0-0000-7000-8000-000000000001", tenant="acme", feed="feed", name=name, generation=1, path=path,
        sha256=hashlib.sha256(body).hexdigest(), as_of=AS_OF, uploaded_by=None, contract=contracts.load(contract),
        policy=FeedSettings(contract=contract), on_cut_off=on_cut_off,
    )  # fmt: skip


def held(folder: Path, body: bytes, contract: str = PROFILES, name: str = "a.csv") -> Suspect | list[dict[str, Any]]:
    """What `process` gives where a cut is held: the suspicion, else the accepted rows."""
    answer = process(drop_of(folder, body, contract, name, "hold"), folder / "out")
    if isinstance(answer, Suspect):
        assert list((folder / "out").iterdir()) == []
        return answer
    accepted = [folder / "out" / file.staged for file in answer.files if file.staged.startswith("accepted")]
    return records(accepted[0].read_bytes()) if accepted else []


def processed(folder: Path, body: bytes, contract: str = PROFILES, name: str = "a.csv") -> Result:
    """What is made of a drop that was released; its rows are all accounted for."""
    result = run_pipeline(folder, body, contract, name=name, on_cut_off="process")
    assert result.outcome.counts.add_up
    return result


SIGNS = [
    pytest.param(ROWS + b"3,Cy", PROFILES, "a.csv", 4, id="a CSV record with too few fields"),
    pytest.param(ROWS + b'3,"Cy', PROFILES, "a.csv", 4, id="a quote that is open"),
    pytest.param(ROWS + b'3,Cy,"a\nb', PROFILES, "a.csv", 4, id="a quote that is open over lines"),
    pytest.param(ROWS + b"3,Cy,caf\xc3", PROFILES, "a.csv", 4, id="a half character"),
    pytest.param(ROWS + b"\xe2\x82", PROFILES, "a.csv", 4, id="a half character behind a line break"),
    pytest.param(b"\xff\xfe" + ROWS.decode().encode("utf-16-le")[:-1], PROFILES, "a.csv", 3, id="half a UTF-16 unit"),
    pytest.param(b"\xff\xfe" + "identity\n\U0001f600".encode("utf-16-le")[:-2], PROFILES, "a.csv", 2, id="half a pair"),
    pytest.param(b"iden", PROFILES, "a.csv", 1, id="a header without its key column"),
    pytest.param(b"identity,", PROFILES, "a.csv", 1, id="a header that ends behind a comma"),
    pytest.param(b"identity,Na", PROFILES, "a.csv", 1, id="a header that ends in a name"),
    pytest.param(b'\nidentity,"Na', PROFILES, "a.csv", 2, id="a header that ends in a quoted name"),
    pytest.param(b"event_type,event_na", USERPILOT, "a.csv", 1, id="an optional header that ends in a name"),
    pytest.param(b"track,clicked,back", USERPILOT, "a.csv", 1, id="a first row without a header"),
    pytest.param(b'{"identity": "1", "evtName": "e"}\n{"identity": "2', EVENTS, "a.ndjson", 2, id="half an object"),
    pytest.param(b'{"evtName": "e"}\r{"a": {"b": 1}', EVENTS, "a.ndjson", 2, id="half an object behind a CR"),
    pytest.param(b'{"iden', EVENTS, "a", 1, id="the first object"),
    pytest.param(b'{"a":' * 70, EVENTS, "a", 1, id="a deep object"),
    pytest.param(b'{"identity": "\xc3', EVENTS, "a.ndjson", 1, id="an object that ends in half a character"),
    pytest.param(b"\x1f", PROFILES, "a.csv.gz", None, id="half the signature of gzip"),
    pytest.param(b"\x28\xb5\x2f", PROFILES, "a.csv.zst", None, id="three quarters of the signature of zstd"),
    pytest.param(b"\xff", PROFILES, "a.csv", None, id="half a byte-order mark of UTF-16"),
    pytest.param(b"\xef\xbb", PROFILES, "a.csv", None, id="half a byte-order mark of UTF-8"),
]


@pytest.mark.rule("C26")
@pytest.mark.rule("C27")
@pytest.mark.parametrize(("body", "contract", "name", "line"), SIGNS)
def test_a_drop_that_ends_in_the_middle_is_held_or_refused_whole(
    tmp_path: Path, body: bytes, contract: str, name: str, line: int | None
) -> None:
    suspect = held(tmp_path, body, contract, name)
    assert isinstance(suspect, Suspect)
    assert suspect.line == line
    assert suspect.message.startswith(f"line {line}: " if line else "the file ends after ")
    assert suspect.hint.startswith("Upload the whole file again.")
    result = run_pipeline(tmp_path, body, contract, name=name)
    assert (result.report["status"], result.report["total_rows"]) == ("failed", 0)
    assert result.codes == {"suspect_cut_off": 1}
    assert result.report["reason_for_failure"] == [suspect.message]
    assert not {"accepted", "rejected"} & set(result.files)


NORMAL = [
    pytest.param(ROWS[:-1], "a.csv", PROFILES, 2, id="a CSV without a final line break"),
    pytest.param(ROWS + b'3,Cy,"a\nb"', "a.csv", PROFILES, 3, id="a quoted value at the end"),
    pytest.param(ROWS + b"3,Cy\n", "a.csv", PROFILES, 2, id="a short record with its line break"),
    pytest.param(ROWS + b"3,Cy\r", "a.csv", PROFILES, 2, id="a short record with half a CRLF"),
    pytest.param(ROWS + b"3,Cy,pro,x", "a.csv", PROFILES, 2, id="a last record with too many fields"),
    pytest.param(ROWS + b"  ", "a.csv", PROFILES, 2, id="blanks at the end"),
    pytest.param(b"identity,Name", "a.csv", PROFILES, 0, id="a header alone"),
    pytest.param(b"identity,plan", "a.csv", PROFILES, 0, id="a header alone with a property"),
    pytest.param(EVENT[:-1], "a.ndjson", EVENTS, 1, id="NDJSON without a final line break"),
    pytest.param(EVENT + rb'{"p": "\ud800"}', "a.ndjson", EVENTS, 1, id="a last line that is wrong in another way"),
    pytest.param(EVENT + b"[1]", "a.ndjson", EVENTS, 1, id="a last line that is no object"),
    pytest.param(EVENT + b'{"a\n', "a.ndjson", EVENTS, 1, id="half an object and a line break"),
]


@pytest.mark.rule("C27")
@pytest.mark.parametrize(("body", "name", "contract", "accepted"), NORMAL)
def test_a_missing_final_line_break_is_no_sign_by_itself(
    tmp_path: Path, body: bytes, name: str, contract: str, accepted: int
) -> None:
    rows = held(tmp_path, body, contract, name)
    assert not isinstance(rows, Suspect)
    assert len(rows) == accepted


@pytest.mark.rule("C26")
@pytest.mark.rule("C27")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"", "empty_file", id="no bytes"),
        pytest.param(b"\xef\xbb\xbf", "empty_file", id="a byte-order mark alone"),
        pytest.param(gzip.compress(b""), "empty_file", id="a gz of nothing"),
        pytest.param(ROWS + b'3,"Cy,pro\n', "unterminated_quote", id="an open quote and a final line break"),
        pytest.param("identity,Name\n1,José\n2,José".encode("latin-1"), "bad_encoding", id="Latin-1"),
        pytest.param(ROWS + b"\x00\n3,C", "nul_bytes", id="a NUL byte before"),
        pytest.param(b"PK\x03\x04abc", "not_text", id="an Excel workbook"),
        pytest.param(b"Name\nAnn", "missing_column", id="a header without the key, and a row"),
    ],
)
def test_what_is_wrong_in_another_way_is_refused_and_not_held(tmp_path: Path, body: bytes, code: str) -> None:
    assert held(tmp_path, body) == []
    assert run_pipeline(tmp_path, body, PROFILES).codes == {code: 1}


def rejected_codes(result: Result) -> list[tuple[str, str, str]]:
    return [(error["line"], error["level"], error["code"]) for error in result.errors]


@pytest.mark.rule("C27")
def test_a_released_csv_has_its_cut_record_as_one_rejected_row(tmp_path: Path) -> None:
    result = processed(tmp_path, ROWS + b"3,Cy")
    assert [row["identity"] for row in result.accepted] == ["1", "2"]
    assert rejected_codes(result) == [("4", "warning", "suspect_cut_off"), ("4", "error", "too_few_fields")]
    assert result.files["rejected"] == HEADER + b"3,Cy"
    assert (result.report["total_rows"], result.report["rejected_rows"]) == (3, 1)


@pytest.mark.rule("C27")
def test_a_released_ndjson_has_its_cut_record_as_one_rejected_row(tmp_path: Path) -> None:
    result = processed(tmp_path, EVENT + b'{"identity": "2', EVENTS, "a.ndjson")
    assert [row["identity"] for row in result.accepted] == ["1"]
    assert rejected_codes(result) == [("2", "warning", "suspect_cut_off"), ("2", "error", "malformed_json")]
    assert result.files["rejected"] == b'{"identity": "2'


@pytest.mark.rule("C27")
@pytest.mark.parametrize(
    ("tail", "left_out"),
    [
        pytest.param(b'3,"Cy', 5, id="an open quote"),
        pytest.param(b'3,Cy,"a\nb', 9, id="an open quote over lines"),
        pytest.param("3,Cy,café".encode()[:-1], 8, id="a half character"),
    ],
)
def test_released_bytes_that_frame_no_record_are_told_and_are_no_row(
    tmp_path: Path, tail: bytes, left_out: int
) -> None:
    result = processed(tmp_path, ROWS + tail)
    assert [row["identity"] for row in result.accepted] == ["1", "2"]
    assert result.report["total_rows"] == 2
    assert result.codes["suspect_cut_off"] in (1, 2)
    assert set(result.codes) == {"suspect_cut_off"}
    told = [error["message"] for error in result.errors]
    assert told[-1].startswith("line 4: ")
    assert any(f"the last {left_out} bytes are in no row" in message for message in told)
    assert "rejected" not in result.files


@pytest.mark.rule("C27")
def test_what_is_left_out_begins_at_the_cut_record_however_far_into_the_file_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "BLOCK_BYTES", 16)
    monkeypatch.setattr(framing, "PLAIN_BYTES_MAX", 0)
    result = processed(tmp_path, ROWS + b'3,"C\ny",pro\n4,"Di')
    assert [row["Name"] for row in result.accepted] == ["Ann", "Bob", "C\ny"]
    assert "the last 5 bytes are in no row" in result.errors[0]["message"]


@pytest.mark.rule("C26")
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_released_stream_is_processed_as_far_as_it_expands(tmp_path: Path, pack: Any) -> None:
    lines = (f"{at},Name {at},{hashlib.sha256(b'%d' % at).hexdigest()}\n" for at in range(9000))
    body = HEADER + "".join(lines).encode()
    whole = processed(tmp_path, body).accepted
    packed = pack(body)
    result = processed(tmp_path, packed[: len(packed) // 2], name="a.csv.gz")
    assert result.accepted == whole[: len(result.accepted)]
    assert 1000 < len(result.accepted) < 9000
    assert any("stream ends early, after " in error["message"] for error in result.errors)
    assert {error["level"] for error in result.errors if error["code"] == "suspect_cut_off"} == {"warning"}
    assert result.report["status"] == "completed"


@pytest.mark.rule("C26")
@pytest.mark.parametrize("pack", [gzip.compress, CHECKED_ZSTD])
@pytest.mark.parametrize(
    ("tail", "plans"),
    [
        pytest.param(b"2,Bob,basic", ["pro"], id="a value at the end"),
        pytest.param(b'2,Bob,"basic"', ["pro"], id="a quoted value at the end"),
        pytest.param(b'2,Bob,"basic\n', ["pro"], id="an open quote and a line break"),
        pytest.param(b"2,Bob,basic\n", ["pro", "basic"], id="a record with its line break"),
    ],
)
def test_the_last_value_of_a_stream_that_ends_early_is_never_taken_for_whole(
    tmp_path: Path, pack: Any, tail: bytes, plans: list[str]
) -> None:
    # Without the end of its checksum the stream expands to all of the text.
    result = processed(tmp_path, pack(HEADER + b"1,Ann,pro\n" + tail)[:-1], name="a.csv.gz")
    assert result.report["status"] == "completed"
    assert [row["plan"] for row in result.accepted] == plans


def streams() -> list[Any]:
    more = "3,Zoë,x\n".encode() * 40
    text = ROWS + more
    unsized = zstandard.ZstdCompressor().compressobj()
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"
    return [
        pytest.param(gzip.compress(text), (), id="gzip"),
        pytest.param(gzip.compress(text, 0), (), id="stored gzip"),
        pytest.param(gzip.compress(ROWS) + gzip.compress(more), (len(gzip.compress(ROWS)),), id="two gzip members"),
        pytest.param(CHECKED_ZSTD(text), (), id="zstd"),
        pytest.param(unsized.compress(text) + unsized.flush(), (), id="zstd that does not know its size"),
        pytest.param(CHECKED_ZSTD(ROWS) + CHECKED_ZSTD(more), (len(CHECKED_ZSTD(ROWS)),), id="two zstd frames"),
        pytest.param(CHECKED_ZSTD(text) + skippable, (len(CHECKED_ZSTD(text)),), id="zstd before a skippable frame"),
    ]


@pytest.mark.rule("C26")
@pytest.mark.parametrize(("packed", "unseen"), streams())
def test_a_stream_that_is_cut_anywhere_is_suspect_but_between_two_frames(
    tmp_path: Path, packed: bytes, unseen: tuple[int, ...]
) -> None:
    name = "a.csv.gz" if packed.startswith(b"\x1f") else "a.csv.zst"
    whole = held(tmp_path, packed, name=name)
    assert not isinstance(whole, Suspect)
    assert len(whole) == 3
    seen = {cut for cut in range(1, len(packed)) if isinstance(held(tmp_path, packed[:cut], name=name), Suspect)}
    assert set(range(1, len(packed))) - seen == set(unseen)


@pytest.mark.rule("C26")
@pytest.mark.parametrize("pack", [gzip.compress, CHECKED_ZSTD])
def test_a_stream_that_is_damaged_in_its_middle_is_refused_and_not_held(tmp_path: Path, pack: Any) -> None:
    packed = bytearray(pack(ROWS * 50))
    packed[-6] ^= 1
    assert held(tmp_path, bytes(packed)) == []
    assert run_pipeline(tmp_path, bytes(packed), PROFILES).codes == {"bad_compression": 1}


def test_zeros_behind_a_gzip_member_are_padding(tmp_path: Path) -> None:
    padded = gzip.compress(ROWS) + bytes(5000) + gzip.compress(b"3,Cy,pro\n") + bytes(9000)
    rows = held(tmp_path, padded, name="a.csv.gz")
    assert not isinstance(rows, Suspect)
    assert [row["identity"] for row in rows] == ["1", "2", "3"]


CELLS = st.text(st.sampled_from('ab",\n é0'), max_size=5)
relaxed = settings(max_examples=60, deadline=None)


@pytest.mark.rule("C27")
@relaxed
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
    share=st.floats(0, 1, exclude_max=True),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_a_csv_cut_anywhere_is_suspect_or_gives_whole_rows_only(
    rows: list[tuple[str, str]], share: float, ending: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=ending)
    writer.writerow(["identity", "Name", "plan"])
    writer.writerows([f"id{at}", name, plan] for at, (name, plan) in enumerate(rows))
    body = text.getvalue().encode()
    with tempfile.TemporaryDirectory() as folder:
        original = held(Path(folder), body)
        assert not isinstance(original, Suspect)
        cut = body[: 1 + int(share * (len(body) - 1))]
        found = held(Path(folder), cut)
    if isinstance(found, Suspect):
        return
    # Of a record without its line break that has all its fields, the end of the last one cannot be seen.
    ends_open = not cut.endswith((b"\n", b"\r"))
    sure = found[:-1] if ends_open and found else found
    assert sure == original[: len(sure)]
    if len(found) > len(sure):
        last, whole = found[-1], original[len(sure)]
        assert (last["identity"], last["Name"]) == (whole["identity"], whole["Name"])
        assert whole.get("plan", "").startswith(last.get("plan", "").rstrip('"'))


@pytest.mark.rule("C27")
@relaxed
@given(texts=st.lists(st.text(max_size=6), min_size=1, max_size=6), share=st.floats(0, 1, exclude_max=True))
def test_an_ndjson_cut_anywhere_is_suspect_or_gives_whole_rows_only(texts: list[str], share: float) -> None:
    lines = [{"identity": f"id{at}", "evtName": "e", "ts": at + 1, "p": {"t": text}} for at, text in enumerate(texts)]
    body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode(errors="replace")
    at = 1 + int(share * (len(body) - 1))
    with tempfile.TemporaryDirectory() as folder:
        original = held(Path(folder), body, EVENTS, "a.ndjson")
        found = held(Path(folder), body[:at], EVENTS, "a.ndjson")
    assert not isinstance(original, Suspect)
    within = not body[:at].endswith((b"\n", b"}\n")) and body[at : at + 1] != b"\n"
    assert isinstance(found, Suspect) == within
    if not isinstance(found, Suspect):
        assert found == original[: len(found)]


def test_a_suspicion_comes_back_from_a_worker_process(tmp_path: Path) -> None:
    engine = Engine(1)
    engine.start()
    try:
        drop = drop_of(tmp_path, ROWS + b"3,Cy", PROFILES, "a.csv", "hold")
        (answer,) = engine.run([Task(drop, tmp_path / "out")], lambda left: None)
        whole = drop_of(tmp_path, ROWS, PROFILES, "a.csv", "hold")
        (again,) = engine.run([Task(whole, tmp_path / "out")], lambda left: None)
    finally:
        engine.stop()
    assert isinstance(answer, Suspect)
    assert answer.line == 4
    assert isinstance(again, Outcome)
