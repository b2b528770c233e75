"""What a job brings to the store: the files in which the pipeline left it, and how the store shall take it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

TableName = Literal["profiles", "companies", "events"]
KEY = ["namespace", "identity"]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One job of a commit. `folder` is `<staging>/store`; a file that is not there brings nothing.

    `accumulating`: its profile rows are identify records (U109-U119), of which each should carry all properties.
    `rejections_max`: with the policy "reject", a job with more events of unknown identities than this fails as a whole.
    """

    job: str
    feed: str
    as_of: datetime
    folder: Path
    unknown_identity: Literal["accept", "reject", "hold"] = "accept"
    allow_repeats: bool = False
    accumulating: bool = False
    rejections_max: int | None = None

    def has(self, table: TableName) -> bool:
        return os.path.exists(self._stream(table)) or os.path.exists(self._file(table))

    def rows(self, table: TableName) -> pl.DataFrame | pl.LazyFrame | None:
        """Its rows for a table: all of them where they are few, else read as they are asked for; None without a file.

        They have the columns of `EVENT_ROWS`, or those of `PROFILE_ROWS` and then their attributes.
        """
        try:
            with open(self._stream(table), "rb") as stream:
                return pl.read_ipc_stream(stream.read())
        except FileNotFoundError:
            path = self._file(table)
            return pl.scan_parquet(path, glob=False, hive_partitioning=False) if os.path.exists(path) else None

    # As text: there are six for each of many small jobs, and to put a Path together takes as long as to look there.
    def _stream(self, table: TableName) -> str:
        return f"{self.folder}/{table}.arrows"

    def _file(self, table: TableName) -> str:
        return f"{self.folder}/{table}.parquet"


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of some jobs that have the same columns, with `at`: which of the jobs each came from."""

    rows: pl.DataFrame | pl.LazyFrame
    columns: list[str]
    count: int

    def some(self, start: int, count: int, columns: list[str] | None = None) -> pl.DataFrame:
        """So many of the rows, with all columns or these."""
        rows = (self.rows if columns is None else self.rows.select(columns)).slice(start, count)
        return rows if isinstance(rows, pl.DataFrame) else rows.collect()


class Brought:
    """What some jobs bring, in the order of the commit: read once where it is little, as it mostly is."""

    def __init__(self, contributions: list[Contribution]) -> None:
        self.contributions = contributions
        self._parts: dict[TableName, list[Part]] = {}
        self._people: dict[TableName, pl.DataFrame] = {}

    def parts(self, table: TableName) -> list[Part]:
        """The rows of all; those for `events` are one part, in the order of the commit, if there are any."""
        if table not in self._parts:
            self._parts[table] = list(self._read(table))
        return self._parts[table]

    def count(self, table: TableName) -> int:
        """How many rows."""
        return sum(part.count for part in self.parts(table))

    def people(self, table: TableName) -> pl.DataFrame:
        """Each namespace and identity in the rows for a table, once."""
        if table not in self._people:
            keys = [part.rows.lazy().select(KEY) for part in self.parts(table)]
            empty = pl.DataFrame(schema=dict.fromkeys(KEY, pl.String))
            self._people[table] = pl.concat(keys).unique().collect(engine="streaming") if keys else empty
        return self._people[table]

    def _read(self, table: TableName) -> Iterator[Part]:
        alike: dict[tuple[str, ...], list[tuple[int, pl.DataFrame | pl.LazyFrame]]] = {}
        for at, one in enumerate(self.contributions):
            if (rows := one.rows(table)) is not None:
                columns = rows.columns if isinstance(rows, pl.DataFrame) else rows.collect_schema().names()
                alike.setdefault(tuple(columns), []).append((at, rows))
        for names, found in alike.items():
            few = [(at, rows) for at, rows in found if isinstance(rows, pl.DataFrame)]
            if len(few) == len(found):
                # A column for all of them: one for each of many small jobs takes longer than all else.
                counts = [rows.height for _, rows in few]
                places = pl.Series("at", np.repeat([at for at, _ in few], counts), dtype=pl.Int32)
                yield Part(pl.concat(rows for _, rows in few).with_columns(places), [*names], sum(counts))
            else:
                together = pl.concat(rows.lazy().with_columns(at=pl.lit(at, pl.Int32)) for at, rows in found)
                yield Part(together, [*names], together.select(pl.len()).collect().item())
