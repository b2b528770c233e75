"""Rows as the lines of a CSV, put together chunk by chunk in the order of the file.

There the values of a row lie side by side in memory. Once rows are sorted they do not, and writing them takes several
times as long; so what is sorted are the lines.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import polars as pl

from gateway.contracts import Contract
from gateway.contracts.model import ColumnType
from gateway.pipeline import few, results
from gateway.pipeline.header import Header
from gateway.pipeline.nested import nested_columns
from gateway.pipeline.results import RENDERED
from gateway.pipeline.rows import PLACE
from gateway.pipeline.validate import TIME, has_value

# The normal form of these has no delimiter, quote or line break.
UNQUOTED: frozenset[ColumnType] = frozenset(
    {"integer", "number", "boolean", "digits", "country", "language", "hostname", "iso_time", "unix_time"}
)


def columns_of_header(header: Header, contract: Contract) -> list[str]:
    """The columns of an accepted CSV that are known before a row is read, in its order."""
    nested = {contract.nested} if nested_columns(header.names, contract) else set()
    return [name for name in header.names if name not in header.ignored and name not in nested]


def rendered(frame: pl.DataFrame, header: Header, contract: Contract, null_marker: str | None) -> pl.DataFrame:
    """PLACE, TIME and RENDERED, the rows as lines of the columns of the header; and the columns that a rule filled in.

    Which of those are written is only known after the last chunk, so they follow then.
    """
    columns = columns_of_header(header, contract)
    # A null marker can be any text.
    plain = {c.name for c in contract.columns if c.type in UNQUOTED} if null_marker is None else set()
    known = {*columns, contract.nested} if nested_columns(header.names, contract) else set(columns)
    kept = [
        name for name in frame.columns
        if name in PLACE or name == TIME or (name not in known and has_value(frame[name]))
    ]  # fmt: skip
    line = line_of(frame, columns, header.delimiter, plain).alias(RENDERED)
    return few.select(frame, [*map(pl.col, kept), line])


def line_of(frame: pl.DataFrame, columns: list[str], delimiter: str, plain: set[str]) -> pl.Expr:
    """The fields of each row with delimiters between them; a null is an empty field."""
    parts: list[pl.Expr] = []
    between = ""
    for name in columns:
        if has_value(frame[name]):
            parts += [pl.lit(between)] if between else []
            parts.append(pl.col(name) if name in plain else field(frame[name], delimiter))
            between = ""
        between += delimiter
    trailing = between.removesuffix(delimiter)
    return pl.concat_str([*parts, pl.lit(trailing)], ignore_nulls=True)


def field(texts: pl.Series, delimiter: str) -> pl.Expr:
    """A text as a field, in quotes where it needs them: polars' own `quote_style="necessary"`."""
    value = pl.col(texts.name)
    if not few.may_hold(texts, results.needing_quotes(delimiter)):
        return value
    needing = texts.str.contains(rf'[{pl.escape_regex(delimiter)}"\r\n]')
    if texts.str.len_bytes().min() == 0:
        # An empty text is no null.
        needing |= texts == ""
    if not needing.any():
        return value
    doubled = value.str.replace_all('"', '""', literal=True)
    in_quotes = pl.concat_str(pl.lit('"'), doubled, pl.lit('"'))
    return in_quotes if needing.all() else pl.when(pl.lit(needing)).then(in_quotes).otherwise(value)


def write(frame: pl.DataFrame, columns: list[str], delimiter: str, path: Path) -> None:
    """Rows that are rendered, with a header of the columns."""
    with path.open("wb") as file:
        append(frame, columns, delimiter, file, header=True)


def append(frame: pl.DataFrame, columns: list[str], delimiter: str, file: IO[bytes], *, header: bool) -> None:
    """`columns` are those of the header, and behind them others that the frame has by name."""
    if header:
        results.append_csv(
            pl.DataFrame(schema=dict.fromkeys(columns, pl.String)), columns, delimiter, file, header=True
        )
    further = [name for name in columns if name in frame.columns]
    if further:
        filled = line_of(frame, further, delimiter, set())
        frame = frame.with_columns(pl.concat_str(pl.col(RENDERED), pl.lit(delimiter), filled).alias(RENDERED))
    results.append_rendered(frame, file)
