"""Few rows are read and written by shorter ways, which give what polars' own ways give."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contracts.model import Column, ColumnType
from gateway.contracts.value_types import FEW, RULES
from gateway.pipeline import damage, few
from gateway.pipeline.damage import IdWidths
from gateway.pipeline.findings import Check
from gateway.pipeline.records import Records, frame, plain_records
from gateway.pipeline.results import append_text
from gateway.pipeline.rows import LINE, ROW, SPLIT_BYTES_MAX, fields, split_fields
from gateway.pipeline.rules import column_rules

DELIMITERS = st.sampled_from(",;\t|")
UNQUOTED = st.text(st.sampled_from("ab ,;|\té\ufeff#\\'\x0b\u2028"), max_size=4)
Style = Literal["necessary", "never"]
STYLES: list[Style] = ["necessary", "never"]
WRITTEN = st.none() | st.text(st.sampled_from('ab",;\n\r é\u2028'), max_size=5)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), delimiter=DELIMITERS, width=st.integers(1, 3))
def test_records_without_quotes_are_split_as_polars_reads_them(data: st.DataObject, delimiter: str, width: int) -> None:
    value = UNQUOTED.map(lambda text: text.replace(delimiter, "x"))
    ends = st.sampled_from(["\n", "\r\n"])
    record = st.tuples(st.lists(value, min_size=width, max_size=width).map(delimiter.join), ends)
    # Blank records and a byte-order mark at the start do not come here.
    records = data.draw(st.lists(record.filter(lambda one: one[0].strip() and one[0][0] != "\ufeff"), min_size=1))
    text = "".join(line + end for line, end in records)
    schema = {f"column {at}": pl.String for at in range(width)}
    read = pl.read_csv(text.encode(), has_header=False, schema=schema, infer_schema=False, separator=delimiter)
    assert split_fields(text, schema, delimiter).equals(read)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from('a,;"\n\r '), min_size=1, max_size=12), delimiter=st.sampled_from([None, ",", ";"]))
def test_the_lines_of_a_short_text_are_framed_as_any_others_are(text: str, delimiter: str | None) -> None:
    mark = ord(delimiter) if delimiter else None
    octets = np.frombuffer(text.encode(), dtype=np.uint8)
    plain = plain_records(text.encode(), mark)
    assert (plain is None) == ("\r" in text.replace("\r\n", "") or ('"' in text and delimiter is not None))
    if plain:
        framed, _ = frame(octets, mark, final=True, at=0, line=1)
        for name in Records.__slots__:
            np.testing.assert_array_equal(getattr(plain, name), getattr(framed, name), strict=True)


@pytest.mark.parametrize("repeats", [1, SPLIT_BYTES_MAX])
@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b"a,b\n,\nc,d\n", [("a", "b"), (None, None), ("c", "d")]),
        (b'a,""\n"b,c",d\r\n', [("a", ""), ("b,c", "d")]),
        (b"\xef\xbb\xbfa,b\n", None),
    ],
)
def test_the_fields_are_the_same_in_a_short_body_and_a_long_one(
    body: bytes, rows: list[tuple[str | None, ...]] | None, repeats: int
) -> None:
    found = fields(body * repeats, ["x", "y"], ",").rows()
    assert found[: len(rows or ())] == (rows or [])
    assert found[0] == fields(body, ["x", "y"], ",").row(0)


@settings(max_examples=200, deadline=None)
@given(
    ids=st.lists(st.none() | st.text(st.sampled_from("019a\n٣ "), max_size=3) | st.sampled_from(["9" * 18, "9" * 19]))
)
def test_the_widths_of_few_ids_are_those_of_many(ids: list[str | None]) -> None:
    frame = pl.DataFrame(
        {ROW: range(1, len(ids) + 1), LINE: range(2, len(ids) + 2), "id": ids}, schema_overrides={"id": pl.String}
    )
    few_ids, many_ids = IdWidths(), IdWidths()
    few_ids.add(frame, "id")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(damage, "FEW", -1)
        many_ids.add(frame, "id")
    assert few_ids == many_ids


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), WRITTEN, WRITTEN), max_size=12),
    names=st.lists(st.text(st.sampled_from('ab",;\n\r é'), max_size=5), min_size=3, max_size=3, unique=True),
    separator=DELIMITERS,
    header=st.booleans(),
    style=st.sampled_from(STYLES),
    width=st.integers(1, 3),
)
def test_few_values_are_written_as_polars_writes_them(
    rows: list[tuple[object, ...]], names: list[str], separator: str, header: bool, style: Style, width: int
) -> None:
    schema = dict(zip(names, (pl.Int64, pl.String, pl.String), strict=True))
    frame = pl.DataFrame(rows, schema=schema, orient="row")[names[-width:]]
    file = io.BytesIO()
    append_text(frame, file, include_header=header, separator=separator, quote_style=style)
    written = frame.write_csv(include_header=header, separator=separator, quote_style=style)
    assert file.getvalue().decode() == written


TYPED: list[ColumnType] = [name for name, rule in RULES.items() if rule.normal]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(TYPED))
def test_what_is_seen_to_be_in_normal_form_is(data: st.DataObject, name: ColumnType) -> None:
    rule = RULES[name]
    assert rule.normal
    texts = pl.Series(data.draw(st.lists(st.from_regex(rule.normal, fullmatch=True), min_size=1)), dtype=pl.String)
    assert texts.to_frame("a").select(rule.normalise(pl.col("a"))).to_series().equals(texts)


RULED = Column(
    name="a", allowed=("5", "10", "none", "bb"), placeholders=("None", "5"), min=0, max=9, length_min=2, length_max=3
)
RULE_CHECKS = [check for check in column_rules(RULED)[1] if check.all_fit]


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(
        st.none() | st.sampled_from(["5", "10", "none", "bb", " NONE\u2003", "nan", "1_0", "-0", "1e0"]) | WRITTEN,
        min_size=1,
        max_size=3,
    ),
    check=st.sampled_from(RULE_CHECKS),
)
def test_few_values_that_are_said_to_fit_break_no_rule(values: list[str | None], check: Check) -> None:
    frame = pl.DataFrame({"a": values}, schema={"a": pl.String})
    is_broken = frame.select(check.broken.fill_null(True).any()).item()
    assert check.can_break(frame) or not is_broken


def test_each_rule_is_seen_to_be_kept() -> None:
    kept = {
        "not_allowed": "bb",
        "placeholder_identity": "b",
        "out_of_range": "7.5",
        "too_short": "éé",
        "too_long": "abc",
    }
    assert {check.code for check in RULE_CHECKS} == set(kept)
    for check in RULE_CHECKS:
        assert not check.can_break(pl.DataFrame({"a": [kept[check.code], None]}))


@pytest.mark.parametrize("height", [0, 1, FEW, FEW + 1])
def test_expressions_give_the_same_over_few_rows_and_many(height: int) -> None:
    frame = pl.DataFrame({"a": range(height)}, schema={"a": pl.Int64})
    doubled = [(pl.col("a") * 2).alias("a"), (pl.col("a") + 1).alias("b")]
    assert few.select(frame, doubled).equals(frame.select(doubled))
    assert few.with_columns(frame, doubled).equals(frame.with_columns(doubled))
    nulls = frame.with_columns(b=pl.lit(None, dtype=pl.String), c=pl.lit(None, dtype=pl.String))
    assert few.with_nulls(frame, ["b", "c"]).equals(nulls)
    assert few.with_nulls(frame, ["b", "c"]).schema == nulls.schema
