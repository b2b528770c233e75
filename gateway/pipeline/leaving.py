"""Rows that leave the accepted file after it was staged: the store has them already, or does not take them.

What the job brings to the store tells the order of the accepted rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateway.pipeline import contribution_files
from gateway.pipeline.histogram import Bucket, Histogram

TABLES: Final = ("profiles", "companies", "events")
Places = NDArray[np.int64]


def accepted_rows(folder: Path, count: int) -> pl.DataFrame:
    """`row`, `time` of the accepted rows in their order, by what they bring to the store: oldest first, then by row."""
    found = [table for table in TABLES if contribution_files.has(folder, table)]
    rows = pl.concat([contribution_files.read(folder, table, ["row", "time"]) for table in found])
    if rows.height != count:
        raise AssertionError(f"{rows.height:,} rows go to the store, and {count:,} are accepted")
    return rows.sort("time", "row")


def without(source: Path, places: Places, target: Path) -> None:
    """The accepted file without the records at these places (0 is the first)."""
    if source.suffix == ".parquet":
        kept = pl.scan_parquet(source).with_row_index("place").filter(~pl.col("place").is_in(places.tolist()))
        kept.drop("place").sink_parquet(target)
        return
    gone = set(places.tolist())
    with source.open("rb") as file, target.open("wb") as kept_file:
        is_csv = source.suffix == ".csv"
        for at, record in enumerate(records(file) if is_csv else file):
            # The header of a CSV is no row.
            if at - is_csv not in gone:
                kept_file.write(record)


def records(file: IO[bytes]) -> Iterator[bytes]:
    """The records of a CSV as we write it: a line break inside quotes ends none."""
    pending = b""
    for line in file:
        pending += line
        if not pending.count(b'"') % 2:
            yield pending
            pending = b""


def thinned(histogram: Histogram, times: pl.Series) -> Histogram | None:
    """The histogram without rows of these times; None when no row is left."""
    starts = pl.Series([bucket.start for bucket in histogram.buckets], dtype=times.dtype).to_physical().to_numpy()
    at = np.searchsorted(starts, times.to_physical().to_numpy(), side="right") - 1
    gone = np.bincount(np.clip(at, 0, None), minlength=len(starts))
    left = [Bucket(one.start, one.count - int(less)) for one, less in zip(histogram.buckets, gone, strict=True)]
    return replace(histogram, buckets=tuple(left)) if any(one.count for one in left) else None
