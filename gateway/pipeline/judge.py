"""A whole drop read and validated: chunk by chunk, two at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import polars as pl

from gateway.config import FeedSettings
from gateway.errors import DropRefused
from gateway.pipeline import csv_lines
from gateway.pipeline.ahead import mapped
from gateway.pipeline.contribution import Brought, brought
from gateway.pipeline.cut_off import cut_of_header, cut_of_line, cut_of_record, tell
from gateway.pipeline.drop import Drop
from gateway.pipeline.header import Header, read_header
from gateway.pipeline.ndjson import NdjsonReader, refuse_too_many
from gateway.pipeline.problems import Problems
from gateway.pipeline.records import Records, framed
from gateway.pipeline.results import rendered
from gateway.pipeline.rows import PLACE, Rows, csv_rows, is_blank
from gateway.pipeline.source import Source
from gateway.pipeline.unknown import tell_unknown
from gateway.pipeline.validate import Tallies, Terms, Validated, has_value, validated

CHUNK_BYTES = 32 << 20
# What is known of a row takes more memory than a row of one byte does.
CHUNK_ROWS = 250_000
# A text that is no longer is read where it is judged.
READ_AHEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Judged:
    """A drop after validation.

    good: as `validated` gives it, or as the `rendered` of its format does. rejected: PLACE columns. json_columns:
    columns whose text is JSON; further: those of them that good rows have a value in.
    escapes: whether a text can hold a character that JSON escapes.
    """

    good: pl.DataFrame
    rejected: pl.DataFrame
    blank: int
    header: Header
    json_columns: frozenset[str]
    further: frozenset[str]
    escapes: bool
    tallies: Tallies


class Keeper(Protocol):
    """Who takes the rows of a drop that is too large to be held as a whole, chunk by chunk."""

    def begin(self, source: Source, header: Header) -> None: ...
    def add(self, good: pl.DataFrame, rejected: pl.DataFrame) -> None: ...


class Taker(Protocol):
    """Who takes what the good rows bring to the store, chunk by chunk."""

    def take(self, brought: Brought) -> None: ...


def judge(
    source: Source,
    drop: Drop,
    problems: Problems,
    *,
    render: bool = False,
    keeper: Keeper | None = None,
    taker: Taker | None = None,
) -> Judged:
    """Read and validate the whole drop; with `render` good rows are kept as lines of its format only.

    With a `keeper` the rows are given to it, and what is returned holds none.
    Raises DropRefused; CutOff for a drop that looks cut off, unless it is to be processed as far as it is whole.
    """
    header, reader, found = read(source, drop, problems)
    if keeper:
        keeper.begin(source, header)
    terms = Terms(
        drop.contract, drop.as_of, drop.timezone, drop.retention_days, drop.policy.strict, drop.policy.null_marker,
        tuple(header.dates.items()), drop.policy.json_depth_max,
    )  # fmt: skip

    def judged(piece: Piece) -> Chunk:
        rows = reader(piece)
        kept = rows if not header.ignored else replace(rows, frame=rows.frame.drop(header.ignored))
        found = validated(kept, terms)
        further = {name for name in rows.json_columns if has_value(found.good[name])}
        good = lines(found.good, rows, header, drop) if render else found.good
        return Chunk(rows, found, further, good, brings(found, rows, header, drop) if taker else {})

    goods, rejecteds, blank, count = [], [], 0, 0
    json_columns: set[str] = set()
    further: set[str] = set()
    unknown: dict[str, tuple[int, int]] = {}
    escapes = source.format == "csv"
    tallies = Tallies()
    for chunk in mapped(judged, found, threads_for(source)):
        rows, good, rejected = chunk.rows, chunk.good, chunk.validated.rejected
        chunk.validated.tell(problems, tallies)
        further |= chunk.further
        refuse_too_many(json_columns | rows.json_columns, drop.policy.columns_max)
        count += good.height + rejected.height
        if taker:
            taker.take(chunk.brought)
        if keeper:
            keeper.add(good, rejected)
        else:
            goods.append(good)
            rejecteds.append(rejected)
        blank += rows.blank
        json_columns |= rows.json_columns
        for name, place in rows.unknown.items():
            unknown.setdefault(name, place)
        escapes = escapes or "backslash" in rows.traces
    for name, (row, line) in unknown.items():
        tell_unknown(name, unknown, drop.contract, problems, line, row)
    tallies.ids.tell(problems)
    if source.format == "ndjson" and blank and not count:
        raise DropRefused("empty_file", "the file has only blank lines", line=1)
    good = pl.concat(goods, how="diagonal") if goods else pl.DataFrame(schema=PLACE)
    rejected = pl.concat(rejecteds) if rejecteds else pl.DataFrame(schema=PLACE)
    return Judged(good, rejected, blank, header, frozenset(json_columns), frozenset(further), escapes, tallies)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk after validation, with its good rows as they are kept; `further` as in Judged."""

    rows: Rows
    validated: Validated
    further: set[str]
    good: pl.DataFrame
    brought: Brought


def lines(good: pl.DataFrame, rows: Rows, header: Header, drop: Drop) -> pl.DataFrame:
    """The good rows as lines of the format that they came in."""
    if header.names:
        return csv_lines.rendered(good, header, drop.contract, drop.policy.null_marker)
    return rendered(good, drop, rows.json_columns, "backslash" in rows.traces)


def brings(found: Validated, rows: Rows, header: Header, drop: Drop) -> Brought:
    """What the good rows bring to the store."""
    escapes = ("escaped" if header.names else "backslash") in rows.traces
    return brought(found, drop, header, rows.json_columns, escapes)


def read(source: Source, drop: Drop, problems: Problems) -> tuple[Header, Callable[[Piece], Rows], Iterator[Piece]]:
    """The header, what makes rows of a piece, and the pieces of the drop."""
    if source.cut:
        tell(source.cut, drop, problems)
    if source.format == "ndjson":
        if cut := cut_of_line(source.octets):
            tell(cut, drop, problems)
        reader = NdjsonReader(source, drop.contract, drop.policy)
        return Header([]), partial(ndjson_piece, reader), pieces(source, drop.policy, None, 0)
    header = read_header(source.octets, drop.contract, problems, drop.policy.columns_max)
    if cut := cut_of_header(header, source.octets, drop.contract):
        tell(cut, drop, problems)
    return header, partial(csv_piece, source, header), csv_pieces(source, header, drop, problems)


def csv_piece(source: Source, header: Header, piece: Piece) -> Rows:
    read = csv_rows(source, piece.records, header.names, header.delimiter, piece.first_row)
    return replace(read, blank=piece.blank)


def ndjson_piece(reader: NdjsonReader, piece: Piece) -> Rows:
    return replace(reader.rows(piece.records, piece.first_row), blank=piece.blank)


def csv_pieces(source: Source, header: Header, drop: Drop, problems: Problems) -> Iterator[Piece]:
    for piece in pieces(source, drop.policy, ord(header.delimiter), header.stop):
        if cut := cut_of_record(source, piece.records, len(header.names)):
            tell(cut, drop, problems)
        yield piece


def threads_for(source: Source) -> int:
    """How many threads read and judge the chunks of a text, apart from each other."""
    return 2 if len(source.octets) > READ_AHEAD_BYTES else 0


@dataclass(frozen=True, slots=True)
class Piece:
    """The records of one chunk that are not blank, the number of the first, and how many blank lines were left out."""

    records: Records
    first_row: int
    blank: int


def pieces(source: Source, policy: FeedSettings, delimiter: int | None, begin: int) -> Iterator[Piece]:
    """The records from `begin` on, in chunks that can be read apart from each other.

    Raises DropRefused for a record that is longer, and for more rows, than the feed allows.
    """
    row = 1
    for records in parts(framed(source.octets, delimiter, CHUNK_BYTES)):
        body = records.where(slice(int(np.searchsorted(records.start, begin)), None))
        blank = is_blank(source.octets, body)
        kept = body.where(~blank) if blank.any() else body
        refuse_long(kept, policy.line_bytes_max)
        if row - 1 + len(kept) > policy.rows_max:
            line = int(kept.line[policy.rows_max - row + 1])
            raise DropRefused(
                "too_many_rows", f"line {line}: this feed takes {policy.rows_max:,} rows in a file", line=line
            )
        yield Piece(kept, row, int(blank.sum()))
        row += len(kept)


def parts(chunks: Iterator[Records]) -> Iterator[Records]:
    """The records in pieces of at most CHUNK_ROWS."""
    for records in chunks:
        if len(records) <= CHUNK_ROWS:
            yield records
            continue
        for at in range(0, len(records), CHUNK_ROWS):
            yield records.where(slice(at, at + CHUNK_ROWS))


def refuse_long(records: Records, bytes_max: int) -> None:
    length = records.end - records.start
    if len(length) and length.max() > bytes_max:
        at = int((length > bytes_max).argmax())
        line = int(records.line[at])
        raise DropRefused(
            "record_too_long", f"line {line}: the record has {length[at]:,} bytes; {bytes_max:,} are allowed", line=line
        )
