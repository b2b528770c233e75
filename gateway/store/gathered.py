"""The profile rows of a commit in groups that fit into memory: all rows of an identity are in one group.

A group is all identities whose hash leaves the same rest. The updates of a very large drop wait for their turn in files
of a scratch folder, so that neither it nor a large store is ever held whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from gateway.store.buckets import bucket_of, factor_for, hashes
from gateway.store.contribution import KEY, Brought, Part, TableName
from gateway.store.entries import count_of, is_attribute

# So many attributes of updates are taken at once, and so many rows (stored ones and updates) make a group.
BATCH_ATTRIBUTES = 2_000_000
GROUP_ROWS = 120_000
# With more attributes than this (about 1 GB), the groups wait in files.
KEPT_ATTRIBUTES = 15_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """Rows of jobs with the `hashes` of their identities, and how many `values` of attributes they take about."""

    part: Part
    hashes: pl.Series
    values: int
    batch_rows: int

    @property
    def weight(self) -> int:
        """For how many rows they count in a group: a few can be very wide."""
        return max(self.part.count, self.values // 20)

    def batches(self) -> Iterator[pl.DataFrame]:
        """All rows in the order of the commit, some at a time, with their hash."""
        for start in range(0, self.part.count, self.batch_rows):
            rows = self.part.rows.slice(start, self.batch_rows).collect()
            yield rows.with_columns(self.hashes.slice(start, self.batch_rows))


def measured(part: Part) -> Measured:
    """How many attributes the first rows have tells how many all have."""
    some = part.rows.head(1_000).collect()
    width = max(1, count_of(some) // some.height, sum(map(is_attribute, part.columns)))
    batch_rows = max(1_000, BATCH_ATTRIBUTES // width)
    keys = (part.rows.select(KEY).slice(start, batch_rows).collect() for start in range(0, part.count, batch_rows))
    return Measured(part, pl.concat(map(hashes, keys)), part.count * width, batch_rows)


class Gathered:
    """The rows of some jobs for one table (with `at` and `hash`), and the buckets that they touch."""

    def __init__(self, brought: Brought, table: TableName, files: pl.DataFrame, scratch: Path) -> None:
        self._folder = scratch / table
        self._kept: dict[int, list[pl.DataFrame | Path]] = {}
        self.count = brought.count(table)
        self.groups = 1
        self.touched: set[int] = set()
        found = [measured(part) for part in brought.parts(table)]
        self._spills = sum(one.values for one in found) > KEPT_ATTRIBUTES
        if self.count:
            hashed = pl.concat(one.hashes for one in found).unique()
            self.touched = set(bucket_of(hashed, [int(bucket) for bucket in files["partition"]]))
            stored = files.filter(pl.col("partition").cast(pl.Int64).is_in(list(self.touched)))["rows"].sum()
            self.groups = factor_for(sum(one.weight for one in found) + int(stored), GROUP_ROWS)
        for one in found:
            for batch in one.batches():
                self._divide(batch)

    def _divide(self, batch: pl.DataFrame) -> None:
        """Give the rows of a batch to their groups."""
        if self.groups == 1 and not self._spills:
            self._kept.setdefault(0, []).append(batch)
            return
        parts = batch.with_columns(group=pl.col("hash") % self.groups).partition_by("group", as_dict=True)
        for (name,), part in parts.items():
            kept, rows = self._kept.setdefault(int(str(name)), []), part.drop("group")
            kept.append(self._spilled(rows, f"{name}-{len(kept)}") if self._spills else rows)

    def _spilled(self, rows: pl.DataFrame, name: str) -> Path:
        """The rows in a file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.arrow"
        rows.write_ipc(path, compression="lz4")
        return path

    def group(self, number: int) -> list[pl.DataFrame]:
        """The rows of one group, those that have the same columns in one frame; they are given once."""
        at_once: dict[tuple[str, ...], list[pl.DataFrame]] = {}
        for kept in self._kept.pop(number, []):
            rows = kept if isinstance(kept, pl.DataFrame) else unspilled(kept)
            at_once.setdefault(tuple(rows.columns), []).append(rows)
        return [pl.concat(frames) for frames in at_once.values()]


def unspilled(path: Path) -> pl.DataFrame:
    """The rows of such a file, which is removed."""
    rows = pl.read_ipc(path)
    path.unlink()
    return rows
