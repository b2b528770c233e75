"""The profile rows of a commit in groups that fit into memory: all rows of an identity are in one group.

A group is all identities whose hash leaves the same rest. A few rows stay in memory as one group; many go through
files in a scratch folder, so that neither a large drop nor a large store is ever held whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from gateway.store.buckets import bucket_of, factor_for, hashes
from gateway.store.contribution import Contribution, TableName, rows_of

# So many attributes of updates are taken at once, and so many rows (stored ones and updates) make a group.
BATCH_ATTRIBUTES = 2_000_000
GROUP_ROWS = 200_000
KEY = ["namespace", "identity"]


class Gathered:
    """The rows of some jobs for one table (`rows_of`, with `hash`), and the buckets that they touch."""

    def __init__(self, contributions: list[Contribution], table: TableName, files: pl.DataFrame, scratch: Path) -> None:
        self._rows = rows_of(contributions, table)
        self._folder = scratch / table
        self._at_once: pl.DataFrame | None = None
        self.count = self._rows.select(pl.len()).collect().item()
        self.touched: set[int] = set()
        if not self.count:
            self.groups = 1
            return
        self._batch_rows = self._rows_at_once()
        buckets = [int(bucket) for bucket in files["partition"]]
        for batch in self._batches(KEY):
            self.touched |= set(bucket_of(batch["hash"].unique(), buckets))
        stored = files.filter(pl.col("partition").cast(pl.Int64).is_in(list(self.touched)))["rows"].sum()
        self.groups = factor_for(self.count * self._wide + stored, GROUP_ROWS)
        if self.groups > 1 or self.count > self._batch_rows:
            self._spill()
        else:
            self._at_once = next(self._batches(None))

    def _rows_at_once(self) -> int:
        """How many rows make a batch, by how many attributes the first ones have; few of them may be very wide."""
        mean = self._rows.head(1_000).select(pl.col("attributes").list.len().mean()).collect().item()
        self._wide = max(1, round((mean or 1) / 20))
        return max(1_000, int(BATCH_ATTRIBUTES / max(1.0, mean or 1)))

    def _batches(self, columns: list[str] | None) -> Iterator[pl.DataFrame]:
        """All rows in the order of the commit, some at a time, with their hash."""
        rows = self._rows if columns is None else self._rows.select(columns)
        for start in range(0, self.count, self._batch_rows):
            batch = rows.slice(start, self._batch_rows).collect()
            yield batch.with_columns(hashes(batch))

    def _spill(self) -> None:
        for number, batch in enumerate(self._batches(None)):
            parts = batch.with_columns(group=pl.col("hash") % self.groups).partition_by("group", as_dict=True)
            for (group,), part in parts.items():
                folder = self._folder / str(group)
                folder.mkdir(parents=True, exist_ok=True)
                part.drop("group").write_ipc(folder / f"{number:06d}.arrow", compression="lz4")

    def group(self, number: int) -> pl.DataFrame:
        """The rows of one group."""
        if self._at_once is not None:
            return self._at_once
        parts = sorted((self._folder / str(number)).glob("*.arrow"))
        frames = [pl.read_ipc(part) for part in parts]
        for part in parts:
            part.unlink()
        return pl.concat(frames) if frames else self._rows.head(0).collect().with_columns(hash=pl.lit(0, pl.UInt32))
