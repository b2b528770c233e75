"""Framing: where records begin and end, and which of them are broken."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import DropRefused
from gateway.pipeline import records
from gateway.pipeline.records import Records, framed
from gateway.pipeline.rows import csv_rows, is_blank
from gateway.pipeline.source import Source

CELLS = st.text(st.sampled_from('ab",\n\r é;0'), max_size=6)


def source(body: bytes) -> Source:
    return Source(np.frombuffer(body, dtype=np.uint8), "csv", "utf-8")


def read(body: bytes, width: int) -> tuple[list[list[str]], list[tuple[int, int, str]], int]:
    """The rows as lists of text, the broken records as (row, line, code), and how many lines are blank."""
    drop = source(body)
    rows: list[list[str]] = []
    broken: list[tuple[int, int, str]] = []
    blank, row = 0, 1
    for chunk in framed(drop.octets, ord(","), 64):
        empty = is_blank(drop.octets, chunk)
        found = csv_rows(drop, chunk.where(~empty), [f"c{at}" for at in range(width)], ",", row)
        row += found.frame.height + found.broken.height
        rows += [[cell or "" for cell in values[4:]] for values in found.frame.iter_rows()]
        broken += [(values[0], values[1], values[4]) for values in found.broken.sort("\x1frow").iter_rows()]
        blank += int(empty.sum())
    return rows, broken, blank


@pytest.mark.rule("C27")
@settings(max_examples=300, deadline=None)
@given(
    table=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=12),
    ending=st.sampled_from(["\n", "\r\n"]),
    block=st.sampled_from([3, 16, 61, 4 << 20]),
)
def test_whatever_a_csv_writer_quotes_is_read_back(table: list[list[str]], ending: str, block: int) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK_BYTES", block)
        patch.setattr(records, "PLAIN_BYTES_MAX", 0)
        rows, broken, blank = read(text.getvalue().encode(), 3)
    assert (rows, broken, blank) == (table, [], 0)


def attempt(body: bytes) -> list[Records] | str:
    """The framed records, or the code of the refusal."""
    try:
        return list(framed(np.frombuffer(body, dtype=np.uint8), ord(","), 1 << 20))
    except DropRefused as refusal:
        return refusal.code


@pytest.mark.rule("C27")
@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200).filter(lambda body: b"\0" not in body), block=st.sampled_from([5, 64]))
def test_any_bytes_are_framed_into_records_that_cover_them(body: bytes, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK_BYTES", block)
        patch.setattr(records, "PLAIN_BYTES_MAX", 0)
        found = attempt(body)
    if isinstance(found, str):
        assert found in {"bad_encoding", "unterminated_quote"}
        return
    covered = b"".join(body[start:stop] for chunk in found for start, stop in zip(chunk.start, chunk.stop, strict=True))
    assert covered == body


MIXED = st.lists(st.sampled_from(['"', ",", "\n", "\r", "\r\n", "a", '","', '"b,c"', '"d""e"', '"f\ng"']), max_size=120)


@pytest.mark.rule("C27")
@settings(max_examples=300, deadline=None)
@given(parts=MIXED, block=st.sampled_from([7, 64, 65, 1 << 20]))
def test_masks_of_bits_tell_the_same_records_as_offsets_of_quotes(parts: list[str], block: int) -> None:
    body = "".join(parts).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK_BYTES", block)
        patch.setattr(records, "PLAIN_BYTES_MAX", 0)
        by_bits = attempt(body)
        patch.setattr(records, "outside", lambda block, delimiter: None)
        by_offsets = attempt(body)
    assert str(by_bits) == str(by_offsets)


@pytest.mark.rule("C27")
def test_a_broken_row_is_one_rejection_and_the_rows_around_it_go_on() -> None:
    body = b'a,b,c\n1,2\n1,2,3,4\n1,x"y,3\n1,"open,3\n1,"shut"x,3\n"d\ne",f,g\nh,i,j'
    rows, broken, _ = read(body, 3)
    assert rows == [["a", "b", "c"], ["d\ne", "f", "g"], ["h", "i", "j"]]
    assert broken == [
        (2, 2, "too_few_fields"),
        (3, 3, "too_many_fields"),
        (4, 4, "stray_quote"),
        (5, 5, "stray_quote"),
        (6, 6, "stray_quote"),
    ]


@pytest.mark.rule("C27")
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_endings_of_every_kind_and_blank_lines_are_normal(ending: str) -> None:
    body = f"a,b{ending}{ending}c,d{ending}   {ending}e,f".encode()
    assert read(body, 2) == ([["a", "b"], ["c", "d"], ["e", "f"]], [], 2)


@pytest.mark.rule("C27")
def test_rows_count_records_and_lines_count_physical_lines() -> None:
    drop = source(b'a,"x\ny\r\nz"\nb,c\n')
    (chunk,) = framed(drop.octets, ord(","), 1 << 20)
    assert chunk.line.tolist() == [1, 4]


@pytest.mark.rule("C27")
def test_a_quote_that_is_never_closed_refuses_the_file_with_its_line() -> None:
    with pytest.raises(DropRefused) as caught:
        read(b'a,b\n1,2\n3,"4\n5,6\n', 2)
    assert (caught.value.code, caught.value.line) == ("unterminated_quote", 3)


@pytest.mark.rule("C26")
@pytest.mark.parametrize(
    ("body", "code"), [(b"a,b\n1,\x002\n", "nul_bytes"), ("a,b\n1,é\n".encode("latin-1"), "bad_encoding")]
)
def test_what_is_not_text_is_refused_with_line_and_offset(body: bytes, code: str) -> None:
    with pytest.raises(DropRefused) as caught:
        read(body, 2)
    assert (caught.value.code, caught.value.line) == (code, 2)
    assert "offset 6" in caught.value.message
