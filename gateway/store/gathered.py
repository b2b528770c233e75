"""The profile rows of a commit in groups that fit into memory: all rows of an identity are in one group.

A group is all identities whose hash leaves the same rest. The updates of a very large drop wait for their turn in files
of a scratch folder, so that neither it nor a large store is ever held whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from gateway.store.buckets import factor_for, hashes
from gateway.store.contribution import KEY, Part
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
            rows = self.part.some(start, self.batch_rows)
            yield rows.with_columns(self.hashes.slice(start, self.batch_rows))


def measured(part: Part) -> Measured:
    """How many attributes the first rows have tells how many all have."""
    some = part.some(0, 1_000)
    width = max(1, count_of(some) // some.height, sum(map(is_attribute, part.columns)))
    batch_rows = max(1_000, BATCH_ATTRIBUTES // width)
    keys = (part.some(start, batch_rows, KEY) for start in range(0, part.count, batch_rows))
    return Measured(part, pl.concat(map(hashes, keys)), part.count * width, batch_rows)


class Gathered:
    """The rows of some jobs (with `at` and `hash`) in groups, as many as they and the rows of `files` need.

    `apart` are people whose rows are in none of the groups but apart, all in memory.
    """

    def __init__(
        self, parts: list[Measured], files: pl.DataFrame, folder: Path, apart: pl.DataFrame | None = None
    ) -> None:
        self.files = files
        self.apart: list[pl.DataFrame] = []
        self._folder = folder
        self._kept: dict[int, list[pl.DataFrame | Path]] = {}
        self._spills = sum(one.values for one in parts) > KEPT_ATTRIBUTES
        self.count = factor_for(sum(one.weight for one in parts) + int(files["rows"].sum()), GROUP_ROWS)
        for one in parts:
            for batch in one.batches():
                if apart is not None:
                    self.apart.append(batch.join(apart, on=KEY, how="semi", maintain_order="left"))
                    batch = batch.join(apart, on=KEY, how="anti", maintain_order="left")
                self._divide(batch)

    def _divide(self, batch: pl.DataFrame) -> None:
        """Give the rows of a batch to their groups."""
        if self.count == 1 and not self._spills:
            self._kept.setdefault(0, []).append(batch)
            return
        parts = batch.with_columns(group=pl.col("hash") % self.count).partition_by("group", as_dict=True)
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
