"""The result files of a job: accepted rows, rejected records and errors.csv."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import IO, Literal

import polars as pl

from gateway.contracts import Contract
from gateway.contracts.model import Column
from gateway.pipeline import json_text
from gateway.pipeline.ahead import mapped
from gateway.pipeline.drop import Drop
from gateway.pipeline.rows import PLACE, START, STOP
from gateway.pipeline.source import Source
from gateway.pipeline.validate import TIME, has_value

SLICE_ROWS = 50_000
FEW_ROWS = 5_000
FEW_VALUES = 2_000
FEW_TYPES = frozenset({pl.String, pl.Int64})
# A row as the line that is written.
RENDERED = "\x1frendered"
# A spreadsheet runs a cell that begins so as a formula (OWASP, CSV injection), some of them also behind spaces, quotes
# and characters without width, and in the wide forms of East Asia.
FORMULA = r"^(?:[\t\r\n]|[\s\"'\p{Cf}]*[=+\-@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}])"
JSON_TYPES = frozenset({"integer", "number", "boolean", "object", "tags", "unix_time"})


def write_csv(frame: pl.DataFrame, columns: list[str], delimiter: str, path: Path) -> None:
    """The rows as CSV with a header, nulls as empty fields."""
    with path.open("wb") as file:
        append_csv(frame, columns, delimiter, file, header=True)


def append_csv(frame: pl.DataFrame, columns: list[str], delimiter: str, file: IO[bytes], *, header: bool) -> None:
    append_text(frame[:, columns], file, include_header=header, separator=delimiter)


def append_text(
    frame: pl.DataFrame,
    file: IO[bytes],
    *,
    include_header: bool = True,
    separator: str = ",",
    quote_style: Literal["necessary", "never"] = "necessary",
) -> None:
    """The frame as text; polars' way to write into a file costs more than the writing where there are few rows."""
    if frame.height * frame.width <= FEW_VALUES and FEW_TYPES.issuperset(frame.dtypes):
        written = str if quote_style == "never" else partial(quoted_where_needed, needing_quotes(separator))
        columns = [["" if value is None else written(value) for value in column] for column in frame.iter_columns()]
        lines = [separator.join(line) for line in zip(*columns, strict=True)]
        if include_header:
            lines.insert(0, separator.join(map(written, frame.columns)))
        file.write("".join(f"{line}\n" for line in lines).encode())
    elif frame.height <= FEW_ROWS:
        text = frame.write_csv(include_header=include_header, separator=separator, quote_style=quote_style)
        file.write(text.encode())
    else:
        frame.write_csv(file, include_header=include_header, separator=separator, quote_style=quote_style)


@cache
def needing_quotes(separator: str) -> re.Pattern[str]:
    """What a value in quotes has and another one has not. An empty text is no null."""
    return re.compile(f'[{re.escape(separator)}"\r\n]|^$')


def quoted_where_needed(needing: re.Pattern[str], value: object) -> str:
    """A value as polars writes it with `quote_style="necessary"`."""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if needing.search(text) else text


def write_ndjson(
    frame: pl.DataFrame,
    drop: Drop,
    columns: list[str],
    json_columns: Collection[str],
    escapes: bool,
    path: Path,
) -> None:
    """The rows as NDJSON, null keys left out. Without `escapes` no text holds a character that JSON escapes."""
    with path.open("wb") as file:
        append_ndjson(frame, drop, columns, json_columns, escapes, file)


def append_ndjson(
    frame: pl.DataFrame,
    drop: Drop,
    columns: list[str],
    json_columns: Collection[str],
    escapes: bool,
    file: IO[bytes],
) -> None:
    line = ndjson_line(frame, drop, columns, json_columns, escapes)
    threads = 2 if frame.height > SLICE_ROWS else 0
    for rows in mapped(partial(lines_of, line), frame.iter_slices(SLICE_ROWS), threads):
        rows.write_csv(file, include_header=False, quote_style="never")


def write_rendered(frame: pl.DataFrame, path: Path) -> None:
    """Rows that are rendered already, one a line."""
    with path.open("wb") as file:
        append_rendered(frame, file)


def append_rendered(frame: pl.DataFrame, file: IO[bytes]) -> None:
    append_text(frame.select(RENDERED), file, include_header=False, quote_style="never")


def rendered(frame: pl.DataFrame, drop: Drop, json_columns: Collection[str], escapes: bool) -> pl.DataFrame:
    """PLACE, TIME and RENDERED: the rows as the lines of an NDJSON.

    In the order of the file their values lie side by side in memory; once rows are sorted they do not, and putting
    a line together takes several times as long.
    """
    declared = [column.name for column in drop.contract.columns]
    columns = [name for name in [*declared, *sorted(json_columns)] if has_value(frame[name])]
    line = ndjson_line(frame, drop, columns, json_columns, escapes)
    kept = [name for name in frame.columns if name in PLACE or name == TIME]
    return frame.select(*kept, line.alias(RENDERED))


def ndjson_line(
    frame: pl.DataFrame, drop: Drop, columns: list[str], json_columns: Collection[str], escapes: bool
) -> pl.Expr:
    """The text of a row as one JSON object."""
    parts: list[str | pl.Expr] = ["{"]
    for name in columns:
        value = json_value(frame, name, drop, json_columns, escapes)
        member = [f"{', ' if len(parts) > 1 else ''}{json_key(name)}: ", *value]
        # A member that some rows lack is null there as a whole; the others are put together in one go.
        parts += [pl.concat_str(expressions(member))] if frame[name].null_count() else member
    line = pl.concat_str(expressions([*parts, "}"]), ignore_nulls=True)
    if columns and frame[columns[0]].null_count():
        # Rows that lack the first member begin with the comma of the next one.
        line = line.str.replace(r"^\{, ", "{")
    return line


def json_value(
    frame: pl.DataFrame, name: str, drop: Drop, json_columns: Collection[str], escapes: bool
) -> list[str | pl.Expr]:
    """The parts of a column's JSON text."""
    column = drop.contract.by_name.get(name)
    own = column is not None and column.default is not None
    if is_json(name, drop.contract, json_columns):
        return [marked_as_text(name, drop.policy.null_marker)]
    return quoted(frame, name, escapes or own)


def is_json(name: str, contract: Contract, json_columns: Collection[str]) -> bool:
    """Whether the text of a column is JSON as it is."""
    column = contract.by_name.get(name)
    return name in json_columns or (column is not None and column.type in JSON_TYPES)


def marked_as_text(name: str, null_marker: str | None) -> pl.Expr:
    """A column that is JSON already; but for the null marker, which stays the text that it is."""
    value = pl.col(name)
    if null_marker is None:
        return value
    return pl.when(value == null_marker).then(pl.lit(json_key(null_marker))).otherwise(value)


def expressions(parts: list[str | pl.Expr]) -> Iterator[pl.Expr]:
    """The parts of a text, with what is the same in all rows in as few pieces as can be."""
    for same, group in groupby(parts, key=lambda part: isinstance(part, str)):
        if same:
            yield pl.lit("".join(map(str, group)))
        else:
            yield from (part for part in group if isinstance(part, pl.Expr))


def lines_of(line: pl.Expr, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(line.alias("line"))


def json_key(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def quoted(frame: pl.DataFrame, name: str, escapes: bool) -> list[str | pl.Expr]:
    """The parts of a JSON string of a column; escaping is only paid for where a value needs it."""
    if escapes and frame[name].str.contains(json_text.ESCAPED).any():
        return [json_text.quoted(pl.col(name))]
    return ['"', pl.col(name), '"']


def write_parquet(frame: pl.DataFrame, drop: Drop, columns: list[str], path: Path) -> None:
    """The rows as Parquet."""
    typed(frame, drop, columns).write_parquet(path)


def typed(frame: pl.DataFrame, drop: Drop, columns: list[str]) -> pl.DataFrame:
    """The rows as Parquet has them: numbers, booleans and times typed, all else text.

    A null marker stays in a text, and is null in all else, which has no place for it.
    """
    contract, marker = drop.contract, drop.policy.null_marker
    types = {"integer": pl.Int64, "number": pl.Float64}
    declared: dict[str, Column] = contract.by_name
    casts = [
        unmarked(name, marker).cast(types[declared[name].type])
        for name in columns
        if name in declared and declared[name].type in types
    ]
    casts += [unmarked(c.name, marker) == "true" for c in contract.columns if c.type == "boolean" and c.name in columns]
    if contract.time and contract.time.column in columns:
        casts.append(pl.col(TIME).dt.replace_time_zone("UTC").alias(contract.time.column))
    return frame.with_columns(casts).select(columns)


def unmarked(name: str, null_marker: str | None) -> pl.Expr:
    """A column, null where it holds the null marker."""
    value = pl.col(name)
    return value if null_marker is None else pl.when(value != null_marker).then(value).alias(name)


def write_rejected(source: Source, header: bytes, rejected: pl.DataFrame, path: Path) -> None:
    """The rejected records byte for byte as they came, behind the header; they are a drop again."""
    with path.open("wb") as file:
        file.write(head_of_rejected(source, header))
        append_rejected(source, rejected, file)


def head_of_rejected(source: Source, header: bytes) -> bytes:
    """What stands before rejected records: the header in the encoding of the drop."""
    if source.encoding == "utf-8":
        return header
    return source.bom + header.decode().encode(source.encoding)


def append_rejected(source: Source, rejected: pl.DataFrame, file: IO[bytes]) -> None:
    for start, stop in runs(rejected):
        file.write(source.raw(start, stop))


def runs(places: pl.DataFrame) -> Iterator[tuple[int, int]]:
    """Neighbouring records as one span of bytes."""
    apart = places.select(
        start=START, stop=STOP, run=(pl.col(START) != pl.col(STOP).shift(1)).fill_null(True).cum_sum()
    )
    spans = apart.group_by("run", maintain_order=True).agg(pl.col("start").first(), pl.col("stop").last())
    yield from spans.select("start", "stop").iter_rows()


def write_errors(problems: pl.DataFrame, path: Path) -> None:
    """One line a problem (RULES.md section 8); what a spreadsheet would run gets a leading apostrophe."""
    texts = [name for name, dtype in problems.schema.items() if dtype == pl.String]
    harmless = (
        pl.when(pl.col(name).str.contains(FORMULA)).then("'" + pl.col(name)).otherwise(pl.col(name)).alias(name)
        for name in texts
    )
    with path.open("wb") as file:
        append_text(problems.with_columns(harmless), file)
