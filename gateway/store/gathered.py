"""The profile rows of a commit in groups that fit into memory: all rows of an identity are in one group.

A group is all identities whose hash leaves the same rest. The updates of a very large drop wait for their turn in files
of a scratch folder, so that neither it nor a large store is ever held whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from gateway.store.buckets import bucket_of, factor_for, hashes
from gateway.store.contribution import KEY, Brought, TableName

# So many attributes of updates are taken at once, and so many rows (stored ones and updates) make a group.
BATCH_ATTRIBUTES = 2_000_000
GROUP_ROWS = 200_000
# With more attributes than this (about 1 GB), the groups wait in files.
KEPT_ATTRIBUTES = 15_000_000


class Gathered:
    """The rows of some jobs for one table (with `at` and `hash`), and the buckets that they touch."""

    def __init__(self, brought: Brought, table: TableName, files: pl.DataFrame, scratch: Path) -> None:
        self._rows = brought.rows(table)
        self._folder = scratch / table
        self._parts: dict[int, list[pl.DataFrame]] = {}
        self.count = brought.count(table)
        self.touched: set[int] = set()
        if not self.count:
            self.groups = 1
            return
        self._batch_rows = self._rows_at_once()
        buckets = [int(bucket) for bucket in files["partition"]]
        for batch in self._batches(KEY):
            self.touched |= set(bucket_of(batch["hash"].unique(), buckets))
        stored = sum(files.filter(pl.col("partition").cast(pl.Int64).is_in(list(self.touched)))["rows"])
        self.groups = factor_for(self.count * self._wide + stored, GROUP_ROWS)
        for number, batch in enumerate(self._batches(None)):
            self._divide(batch, number)

    def _rows_at_once(self) -> int:
        """How many rows make a batch, by how many attributes the first ones have; few of them may be very wide."""
        found = self._rows.head(1_000).select(pl.col("attributes").list.len().mean()).collect().item()
        mean = max(1.0, found or 1.0)
        self._wide = max(1, round(mean / 20))
        self._spills = self.count * mean > KEPT_ATTRIBUTES
        return max(1_000, int(BATCH_ATTRIBUTES / mean))

    def _batches(self, columns: list[str] | None) -> Iterator[pl.DataFrame]:
        """All rows in the order of the commit, some at a time, with their hash."""
        rows = self._rows if columns is None else self._rows.select(columns)
        for start in range(0, self.count, self._batch_rows):
            batch = rows.slice(start, self._batch_rows).collect()
            yield batch.with_columns(hashes(batch))

    def _divide(self, batch: pl.DataFrame, number: int) -> None:
        """Give the rows of a batch to their groups."""
        if self.groups == 1 and not self._spills:
            self._parts.setdefault(0, []).append(batch)
            return
        parts = batch.with_columns(group=pl.col("hash") % self.groups).partition_by("group", as_dict=True)
        for (name,), part in parts.items():
            group = int(str(name))
            if not self._spills:
                self._parts.setdefault(group, []).append(part.drop("group"))
                continue
            folder = self._folder / str(group)
            folder.mkdir(parents=True, exist_ok=True)
            part.drop("group").write_ipc(folder / f"{number:06d}.arrow", compression="lz4")

    def group(self, number: int) -> pl.DataFrame:
        """The rows of one group; they are given once."""
        files = sorted((self._folder / str(number)).glob("*.arrow"))
        frames = [*self._parts.pop(number, []), *(pl.read_ipc(file) for file in files)]
        for file in files:
            file.unlink()
        return pl.concat(frames) if frames else self._rows.head(0).collect().with_columns(hash=pl.lit(0, pl.UInt32))
