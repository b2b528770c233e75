"""The files in which a job leaves what it brings to the store, one a table: an Arrow stream of few rows, or Parquet.

Writing and reading a stream takes a tenth of the time where there are few rows; many take far less room as Parquet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import polars as pl
from polars.io.plugins import register_io_source

from gateway.durable import create
from gateway.pipeline.rows import ROW
from gateway.pipeline.validate import TIME

FOLDER: Final = "store"
# A stream has no more than this; the store reads it whole.
FEW_ROWS, FEW_BYTES = 2_000, 1 << 20
# As many rows make a row group as polars has it where it writes a frame as a whole, and no more than so many values.
ROW_GROUP_ROWS = 512 * 512
ROW_GROUP_VALUES = 8_000_000
ABSENT = pl.Series([None])


def write(folder: Path, table: str, schema: pl.Schema, first: pl.DataFrame, more: Iterator[pl.DataFrame]) -> int:
    """The rows of a table, in parts of which none is empty, as a durable file; returns how many there are.

    Parts have TIME and ROW for `time` and `row`; a column that some lack is null in theirs.
    """
    second = next(more, None)
    if second is None and first.height <= FEW_ROWS and first.estimated_size() <= FEW_BYTES:
        stream = as_stored(first, schema).write_ipc_stream(None, compression="uncompressed")
        create(folder / f"{table}.arrows", stream.getvalue())
        return first.height
    path = folder / f"{table}.parquet"
    rows = write_parquet(path, schema, chain([first], [] if second is None else [second], more))
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return rows


def write_parquet(path: Path, schema: pl.Schema, parts: Iterator[pl.DataFrame]) -> int:
    """The parts as one file; returns how many rows it has."""
    rows = 0
    group_rows = min(ROW_GROUP_ROWS, max(1, ROW_GROUP_VALUES // len(schema)))

    def shaped(*_: object) -> Iterator[pl.DataFrame]:
        nonlocal rows
        for part in parts:
            rows += part.height
            yield from (as_stored(some, schema) for some in part.iter_slices(group_rows))

    source = register_io_source(shaped, schema=schema)
    source.sink_parquet(path, compression="zstd", compression_level=1, statistics=False, row_group_size=group_rows)
    return rows


def as_stored(part: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The columns of the schema, in its order."""
    own = {"time": TIME, "row": ROW}
    columns = (
        part[own.get(name, name)] if own.get(name, name) in part.columns else ABSENT.new_from_index(0, part.height)
        for name in schema
    )
    # A time without a zone is UTC.
    return pl.DataFrame(
        [column.cast(dtype).alias(name) for column, (name, dtype) in zip(columns, schema.items(), strict=True)]
    )


def has(folder: Path, table: str) -> bool:
    """Whether there are rows for a table."""
    return any((folder / f"{table}{form}").exists() for form in (".arrows", ".parquet"))


def read(folder: Path, table: str, columns: list[str]) -> pl.DataFrame:
    """These columns of the rows for a table, which there are."""
    stream = folder / f"{table}.arrows"
    if stream.exists():
        return pl.read_ipc_stream(stream.read_bytes(), columns=columns).select(columns)
    return pl.read_parquet(folder / f"{table}.parquet", columns=columns)
