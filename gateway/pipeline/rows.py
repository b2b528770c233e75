"""Records to rows: frames of text columns, and the CSV records that no row can be made of."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateway.pipeline.quotes import CR, LF
from gateway.pipeline.records import Records
from gateway.pipeline.source import Octets, Source
from gateway.pipeline.traces import can_hold_escaped, traces

SPLIT_BYTES_MAX = 8 << 10
SPACE = 32
# Whether a byte is none of those that `bytes.strip` takes off.
SOLID = np.isin(np.arange(256), list(b" \t\n\r\v\f"), invert=True)

# Our own columns begin with a control character, which no column of a partner may hold.
ROW, LINE, START, STOP, INDEX = "\x1frow", "\x1fline", "\x1fstart", "\x1fstop", "\x1findex"

# The place of a row in its file: record number (1-based), physical line, first byte and the byte behind its ending.
PLACE = {ROW: pl.Int64, LINE: pl.Int64, START: pl.Int64, STOP: pl.Int64}
NO_RECORDS = pl.DataFrame(schema=PLACE | {"code": pl.String, "message": pl.String})


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one chunk of a drop.

    frame: PLACE columns, then one String column for each column of the file; null is absent.
    broken: PLACE columns, `code` and `message` (String): the records that are no row.
    blank: how many blank lines there were.
    json_columns: columns whose text is JSON (`"a"`, `1`, `{"b": 2}`), so that types survive.
    traces: the kinds of damage that the bytes can have (see `damage`), and what else is known of them (see `traces`).
    canonical: whether JSON text is in canonical form already (see `json_text`).
    unknown: JSON keys that are none of the contract's, with row and line of the first.
    no_text: by column, the record numbers where JSON has an object, an array or a boolean instead of text.
    """

    frame: pl.DataFrame
    broken: pl.DataFrame
    blank: int = 0
    json_columns: frozenset[str] = field(default_factory=frozenset)
    traces: frozenset[str] = field(default_factory=frozenset)
    canonical: bool = False
    unknown: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    no_text: Mapping[str, list[int]] = field(default_factory=dict)


def csv_rows(source: Source, records: Records, header: list[str], delimiter: str, first_row: int) -> Rows:
    """The rows of framed CSV records, none of them blank (C27).

    A record with too few or too many fields or a stray quote is broken.
    """
    places = place_of(records, first_row)
    broken = records.stray | (records.fields != len(header))
    unread = NO_RECORDS
    if broken.any():
        unread = broken_records(records.where(broken), places.filter(pl.Series(broken)), len(header))
        records, places = records.where(~broken), places.filter(pl.Series(~broken))
    body = gathered(source.octets, records)
    frame = fields(body, header, delimiter)
    if frame.height != len(records):
        raise AssertionError(f"polars read {frame.height} of {len(records)} framed records")
    found = traces(body) | ({"escaped"} if can_hold_escaped(body, delimiter) else frozenset())
    return Rows(places.hstack(frame), unread, traces=found)


def fields(body: bytes, header: list[str], delimiter: str) -> pl.DataFrame:
    """The fields of records that are whole, each ending in a line feed: a String column for each name of the header."""
    schema = dict.fromkeys(header, pl.String)
    if not body:
        return pl.DataFrame(schema=schema)
    if len(body) <= SPLIT_BYTES_MAX and b'"' not in body and not body.startswith(codecs.BOM_UTF8):
        return split_fields(body.decode(), schema, delimiter)
    return pl.read_csv(
        body, has_header=False, schema=schema, infer_schema=False,
        separator=delimiter, raise_if_empty=False,
    )  # fmt: skip


def split_fields(text: str, schema: dict[str, type[pl.String]], delimiter: str) -> pl.DataFrame:
    """As `fields`, of a few records without quotes: to start polars' reader takes ten times as long."""
    values = text.replace("\r\n", "\n").removesuffix("\n").replace("\n", delimiter).split(delimiter)
    given = [value or None for value in values]
    return pl.DataFrame([pl.Series(name, given[at :: len(schema)], dtype=pl.String) for at, name in enumerate(schema)])


def broken_records(records: Records, places: pl.DataFrame, width: int) -> pl.DataFrame:
    """What is wrong with records that are no row, those with a stray quote first: PLACE columns, code, message."""
    faults = {
        "stray_quote": (records.stray, "a quote stands inside a value that is not quoted, or behind one that is"),
        "too_few_fields": (~records.stray & (records.fields < width), ""),
        "too_many_fields": (~records.stray & (records.fields > width), ""),
    }
    found = pl.Series("fields", records.fields)
    counted = pl.format("{} fields where the header has {}", found, pl.lit(width))
    return pl.concat(
        places.with_columns(code=pl.lit(code), message=pl.lit(message) if message else counted).filter(pl.Series(mask))
        for code, (mask, message) in faults.items()
    )


def is_blank(octets: Octets, records: Records) -> NDArray[np.bool_]:
    """Records of nothing but white space."""
    blank: NDArray[np.bool_] = records.end == records.start
    if len(octets) == 0 or len(records) == 0:
        return blank
    # Only what begins with a space can be blank, and that is rare.
    first = octets[np.minimum(records.start, len(octets) - 1)]
    maybe = np.flatnonzero((first <= SPACE) & ~blank & (records.fields == 1))
    if len(maybe):
        begin, stop = int(records.start[0]), int(records.stop[-1])
        solid = begin + np.flatnonzero(SOLID[octets[begin:stop]])
        among = np.searchsorted(solid, records.start[maybe]), np.searchsorted(solid, records.end[maybe])
        blank[maybe] = among[0] == among[1]
    return blank


def first_solid(octets: Octets, records: Records) -> int | None:
    """The index of the first record that is not blank; mostly that is the first one."""
    if octets[records.start[0]] > SPACE:
        return 0
    solid = np.flatnonzero(~is_blank(octets, records))
    return int(solid[0]) if len(solid) else None


def place_of(records: Records, first_row: int) -> pl.DataFrame:
    count = len(records)
    rows = np.arange(first_row, first_row + count, dtype=np.int64)
    # One column cut into four is made sooner than four are.
    numbers = pl.Series(np.concatenate([rows, records.line, records.start, records.stop]))
    return pl.DataFrame([numbers.slice(at * count, count).alias(name) for at, name in enumerate(PLACE)])


def gathered(octets: Octets, records: Records) -> bytes:
    """The bytes of the records, one after the other, each ending in a line feed."""
    if len(records) == 0:
        return b""
    apart = np.flatnonzero(records.start[1:] != records.stop[:-1])
    begins = records.start[np.concatenate([[0], apart + 1])]
    ends = records.stop[np.append(apart, len(records) - 1)]
    body = b"".join(octets[begin:end].data for begin, end in zip(begins, ends, strict=True))
    if b"\r" in body and (lone := octets[records.stop - 1] == CR).any():
        # Polars does not take a lone CR for the end of a line.
        changed = bytearray(body)
        np.frombuffer(changed, dtype=np.uint8)[(np.cumsum(records.stop - records.start) - 1)[lone]] = LF
        body = bytes(changed)
    return body if body.endswith(b"\n") else body + b"\n"
