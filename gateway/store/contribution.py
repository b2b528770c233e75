"""What a job brings to the store: the files in which the pipeline left it, and how the store shall take it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import polars as pl

from gateway.store.shapes import EVENT_ROWS, PROFILE_ROWS

TableName = Literal["profiles", "companies", "events"]
KEY = ["namespace", "identity"]
# So many rows are kept in memory between the steps of a commit.
FEW_ROWS = 2_000


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
        return self._path(table).exists()

    def rows(self, table: TableName) -> pl.LazyFrame:
        """Its rows for a table, as `PROFILE_ROWS` or `EVENT_ROWS` have them; none where there is no file."""
        schema = schema_of(table)
        if not self.has(table):
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(self._path(table), glob=False, hive_partitioning=False).select(list(schema))

    def _path(self, table: TableName) -> Path:
        return self.folder / f"{table}.parquet"


class Brought:
    """What some jobs bring, in the order of the commit: read once where it is little, as it mostly is."""

    def __init__(self, contributions: list[Contribution]) -> None:
        self.contributions = contributions
        self._rows: dict[TableName, tuple[int, pl.LazyFrame]] = {}
        self._people: dict[TableName, pl.DataFrame] = {}

    def rows(self, table: TableName) -> pl.LazyFrame:
        """The rows of all, with `at`: which of the jobs each came from."""
        return self._counted(table)[1]

    def count(self, table: TableName) -> int:
        """How many rows."""
        return self._counted(table)[0]

    def people(self, table: TableName) -> pl.DataFrame:
        """Each namespace and identity in the rows for a table, once."""
        if table not in self._people:
            keys = self.rows(table).select(KEY)
            self._people[table] = keys.unique().collect(engine="streaming") if self.count(table) else keys.collect()
        return self._people[table]

    def _counted(self, table: TableName) -> tuple[int, pl.LazyFrame]:
        if table not in self._rows:
            self._rows[table] = self._read(table)
        return self._rows[table]

    def _read(self, table: TableName) -> tuple[int, pl.LazyFrame]:
        frames = [
            one.rows(table).with_columns(at=pl.lit(at, pl.Int32))
            for at, one in enumerate(self.contributions)
            if one.has(table)
        ]
        if not frames:
            return 0, pl.LazyFrame(schema={**schema_of(table), "at": pl.Int32})
        rows = pl.concat(frames)
        count: int = rows.select(pl.len()).collect().item()
        return count, rows.collect().lazy() if count <= FEW_ROWS else rows


def schema_of(table: TableName) -> pl.Schema:
    return EVENT_ROWS if table == "events" else PROFILE_ROWS
