"""Records to rows: frames of text columns, and the records that no row can be made of."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateway.contracts import Contract
from gateway.pipeline import json_text
from gateway.pipeline.json_text import JsonFault
from gateway.pipeline.records import CR, LF, Records
from gateway.pipeline.source import Octets, Source

# Our own columns begin with a control character, which no column of a partner may hold.
ROW, LINE, START, STOP, INDEX = "\x1frow", "\x1fline", "\x1fstart", "\x1fstop", "\x1findex"

# The place of a row in its file: record number (1-based), physical line, first byte and the byte behind its ending.
PLACE = {ROW: pl.Int64, LINE: pl.Int64, START: pl.Int64, STOP: pl.Int64}


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one chunk of a drop.

    frame: PLACE columns, then one String column for each column of the file; null is absent.
    broken: PLACE columns, `code` and `message` (String): the records that are no row.
    blank: how many blank lines there were.
    json_columns: columns whose text is JSON (`"a"`, `1`, `{"b": 2}`), so that types survive.
    traces: the kinds of damage that the bytes can have (see `damage`).
    """

    frame: pl.DataFrame
    broken: pl.DataFrame
    blank: int = 0
    json_columns: frozenset[str] = field(default_factory=frozenset)
    traces: frozenset[str] = field(default_factory=frozenset)


def csv_rows(source: Source, records: Records, header: list[str], delimiter: str, first_row: int) -> Rows:
    """The rows of framed CSV records; a record with too few or too many fields or a stray quote is broken (C27)."""
    blank = is_blank(source.octets, records)
    places = place_of(records, blank, first_row)
    records = records.where(~blank)
    width = len(header)
    faults = {
        "stray_quote": (records.stray, "a quote stands inside a value that is not quoted, or behind one that is"),
        "too_few_fields": (records.fields < width, ""),
        "too_many_fields": (records.fields > width, ""),
    }
    broken = np.zeros(len(records), dtype=bool)
    parts = []
    for code, (mask, message) in faults.items():
        mask &= ~broken
        broken |= mask
        found = pl.Series("fields", records.fields)
        said = pl.lit(message) if message else pl.format("{} fields where the header has {}", found, pl.lit(width))
        parts.append(places.with_columns(code=pl.lit(code), message=said).filter(pl.Series(mask)))
    good = records.where(~broken)
    schema = dict.fromkeys(header, pl.String)
    frame = pl.DataFrame(schema=schema)
    if len(good):
        frame = pl.read_csv(
            io.BytesIO(gathered(source.octets, good)), has_header=False, schema=schema, infer_schema=False,
            separator=delimiter, raise_if_empty=False,
        )  # fmt: skip
    if frame.height != len(good):
        raise AssertionError(f"polars read {frame.height} of {len(good)} framed records")
    placed = pl.concat([places.filter(pl.Series(~broken)), frame], how="horizontal")
    return Rows(placed, pl.concat(parts), int(blank.sum()))


def ndjson_rows(source: Source, records: Records, contract: Contract, first_row: int) -> Rows:
    """The rows of framed NDJSON lines; a line that is not a JSON object is broken (U20, C27).

    Columns of the contract come as text; with `further_columns = "keep"` every other key comes as JSON text.
    """
    blank = is_blank(source.octets, records)
    places = place_of(records, blank, first_row)
    records = records.where(~blank)
    lines = pl.read_csv(
        io.BytesIO(gathered(source.octets, records)), has_header=False, schema={"line": pl.String},
        infer_schema=False, separator="\0", quote_char=None, raise_if_empty=False,
    )["line"] if len(records) else pl.Series("line", dtype=pl.String)  # fmt: skip
    declared = [column.name for column in contract.columns]
    exact = needs_exact_reading(lines, contract) | pl.Series(
        records.end - records.start > json_text.LINE_BYTES_UNSCREENED
    )
    frame, extras, exact = read_by_polars(lines, exact, declared, contract.further_columns == "keep")
    exact_frame, faults = read_exactly(lines, exact, declared, contract)
    frame = pl.concat([frame, exact_frame], how="diagonal").sort(INDEX)
    extras = [name for name in frame.columns if name not in declared and name != INDEX]
    broken = pl.DataFrame(
        {
            INDEX: list(faults),
            "code": [f.code for f in faults.values()],
            "message": [f.message for f in faults.values()],
        },
        schema={INDEX: pl.Int64, "code": pl.String, "message": pl.String},
    )
    places = places.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(INDEX))
    return Rows(
        places.join(frame, on=INDEX, how="inner", maintain_order="left").drop(INDEX),
        places.join(broken, on=INDEX, how="inner", maintain_order="left").drop(INDEX),
        int(blank.sum()),
        frozenset(extras),
    )


def needs_exact_reading(lines: pl.Series, contract: Contract) -> pl.Series:
    """The lines of which polars would lose something that the contract wants to know."""
    texts = "|".join(escaped(c.name) for c in contract.columns if c.type != "object")
    objects = "|".join(escaped(c.name) for c in contract.columns if c.type == "object")
    patterns = [json_text.INEXACT]
    # A number with a fraction, a boolean or a nested value where text is expected: as text they all look alike.
    patterns += [rf'"(?:{texts})"\s*:\s*(?:-?[0-9]+\.|[{{\[tf])'] if texts else []
    patterns += [rf'"(?:{objects})"\s*:\s*[^{{\s]'] if objects else []
    return lines.str.contains("|".join(patterns)).fill_null(False)


def escaped(name: str) -> str:
    return pl.escape_regex(name)


def read_by_polars(
    lines: pl.Series, exact: pl.Series, declared: list[str], keep: bool
) -> tuple[pl.DataFrame, list[str], pl.Series]:
    """The lines that polars reads; returns also the lines that are left to be read exactly.

    The first attempt takes all, so that a file without a bad line is parsed once. Where it fails, the lines that
    are not surely sound are left out; should the parser still refuse, all lines are read exactly.
    """
    attempts: list[Callable[[], pl.Series]] = [
        lambda: exact,
        lambda: exact | ~lines.str.contains(json_text.SOUND_OBJECT).fill_null(False),
    ]
    for attempt in attempts:
        left = attempt()
        try:
            frame, extras, mixed = parse_lines(lines.filter(~left), declared, keep)
        except pl.exceptions.PolarsError:
            continue
        index = (~left).arg_true().cast(pl.Int64).alias(INDEX)
        frame = frame.with_columns(index)
        left = left.scatter(index.filter(mixed), True) if mixed.any() else left
        return frame.filter(~mixed), extras, left
    everything = pl.Series([True]).new_from_index(0, len(lines))
    return pl.DataFrame(schema={INDEX: pl.Int64} | dict.fromkeys(declared, pl.String)), [], everything


def parse_lines(lines: pl.Series, declared: list[str], keep: bool) -> tuple[pl.DataFrame, list[str], pl.Series]:
    """Sound lines as text columns, the names of the further ones, and a mask of lines whose types differ.

    Further columns become JSON text: what polars infers tells a string "1" from a number 1, and where a column has
    both, its numbers' lines are masked.
    """
    body = io.BytesIO(pl.DataFrame({"line": lines}).write_csv(include_header=False, quote_style="never").encode())
    mixed = pl.Series([False]).new_from_index(0, len(lines))
    further: dict[str, Any] = {}
    if keep and len(lines):
        inferred = pl.read_ndjson(body, infer_schema_length=None, n_rows=None).schema
        further = {name: dtype for name, dtype in inferred.items() if name not in declared}
        if any(not is_usable(name) for name in further):
            raise pl.exceptions.ComputeError("a key holds control characters")
        body.seek(0)
    names = declared + list(further)
    frame = (
        pl.read_ndjson(body, schema=dict.fromkeys(names, pl.String))
        if len(lines)
        else pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    )
    if frame.height != len(lines):
        raise AssertionError(f"polars read {frame.height} of {len(lines)} lines")
    strings = [name for name, dtype in further.items() if dtype == pl.String]
    if strings:
        mixed = lines.str.contains(rf'"(?:{"|".join(map(escaped, strings))})"\s*:\s*[-0-9tf\[{{]')
        frame = frame.with_columns(json_quoted(pl.col(name)).alias(name) for name in strings)
    return frame, list(further), mixed


def json_quoted(text: pl.Expr) -> pl.Expr:
    """The text as a JSON string; null stays null."""
    encoded = pl.struct(text.alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}")
    return pl.when(text.is_not_null()).then(encoded)


def read_exactly(
    lines: pl.Series, chosen: pl.Series, declared: list[str], contract: Contract
) -> tuple[pl.DataFrame, dict[int, JsonFault]]:
    """The chosen lines one by one: the broken few, and those that polars would not read exactly."""
    objects = {column.name for column in contract.columns if column.type in ("object", "tags")}
    found: dict[str, list[str | None]] = {name: [] for name in declared}
    index: list[int] = []
    faults: dict[int, JsonFault] = {}
    for at in chosen.arg_true().to_list():
        value = json_text.parse(lines[at])
        if isinstance(value, JsonFault):
            faults[at] = value
        elif not isinstance(value, dict):
            faults[at] = JsonFault("not_an_object", f"expected a JSON object, found {json_text.kind(value)}")
        elif not all(map(is_usable, value)):
            faults[at] = JsonFault("malformed_json", "a key holds control characters")
        else:
            index.append(at)
            take = value if contract.further_columns == "keep" else {k: v for k, v in value.items() if k in found}
            for name in take.keys() - found.keys():
                found[name] = [None] * (len(index) - 1)
            for name, column in found.items():
                inner = value.get(name)
                column.append(None if inner is None else as_text(inner, name in declared and name not in objects))
    frame = pl.DataFrame({INDEX: index} | found, schema={INDEX: pl.Int64} | dict.fromkeys(found, pl.String))
    return frame, faults


def is_usable(key: str) -> bool:
    return not any(character < " " for character in key)


def as_text(value: Any, plain: bool) -> str:
    """A value as a text column holds it: strings and numbers bare where `plain`, else JSON text."""
    if plain and isinstance(value, str):
        return str(value)
    return json_text.canonical(value)


def is_blank(octets: Octets, records: Records) -> NDArray[np.bool_]:
    """Records of nothing but spaces and tabs."""
    blank: NDArray[np.bool_] = records.end == records.start
    for at in np.flatnonzero((records.end - records.start < 64) & ~blank & (records.fields == 1)):
        blank[at] = not octets[records.start[at] : records.end[at]].tobytes().strip()
    return blank


def place_of(records: Records, blank: NDArray[np.bool_], first_row: int) -> pl.DataFrame:
    kept = records.where(~blank)
    rows = np.arange(first_row, first_row + len(kept), dtype=np.int64)
    return pl.DataFrame({ROW: rows, LINE: kept.line, START: kept.start, STOP: kept.stop}, schema=PLACE)


def gathered(octets: Octets, records: Records) -> bytes:
    """The bytes of the records, one after the other, each ending in a line feed."""
    if len(records) == 0:
        return b""
    apart = np.flatnonzero(records.start[1:] != records.stop[:-1])
    begins = records.start[np.concatenate([[0], apart + 1])]
    ends = records.stop[np.append(apart, len(records) - 1)]
    body = np.concatenate([octets[begin:end] for begin, end in zip(begins, ends, strict=True)])
    lengths = records.stop - records.start
    finals = np.cumsum(lengths) - 1
    # A record that ends in a lone CR, which polars does not take for a line ending.
    body[finals[body[finals] == CR]] = LF
    return body.tobytes() if body[-1] == LF else body.tobytes() + b"\n"
