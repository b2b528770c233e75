"""What a job brings to the store: the files in which the pipeline left it, and how the store shall take it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import polars as pl

from gateway.store.shapes import EVENT_ROWS, PROFILE_ROWS

TableName = Literal["profiles", "companies", "events"]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One job of a commit. `folder` is `<staging>/store`; a file that is not there brings nothing.

    `accumulating`: its profile rows are identify records (U109-U119), of which each should carry all properties.
    """

    job: str
    feed: str
    as_of: datetime
    folder: Path
    unknown_identity: Literal["accept", "reject", "hold"] = "accept"
    allow_repeats: bool = False
    accumulating: bool = False

    def has(self, table: TableName) -> bool:
        return self._path(table).exists()

    def rows(self, table: TableName) -> pl.LazyFrame:
        """Its rows for a table, as `PROFILE_ROWS` or `EVENT_ROWS` have them; none where there is no file."""
        schema = EVENT_ROWS if table == "events" else PROFILE_ROWS
        if not self.has(table):
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(self._path(table), glob=False, hive_partitioning=False).select(list(schema))

    def _path(self, table: TableName) -> Path:
        return self.folder / f"{table}.parquet"


def rows_of(contributions: list[Contribution], table: TableName) -> pl.LazyFrame:
    """The rows of all, with `at`: which of them each came from, in the order of the commit."""
    schema = EVENT_ROWS if table == "events" else PROFILE_ROWS
    frames = [
        one.rows(table).with_columns(at=pl.lit(at, pl.Int32)) for at, one in enumerate(contributions) if one.has(table)
    ]
    return pl.concat(frames) if frames else pl.LazyFrame(schema={**schema, "at": pl.Int32})
