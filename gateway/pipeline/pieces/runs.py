"""Sorted runs of rows in a file, of which any range can be read without the rest.

A run is a chunk's rows, sorted. It is written as blocks, each with its first and last key, so that the rows between
two keys are found in a few blocks of each run.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateway.pipeline.pieces.disk import Disk
from gateway.pipeline.rows import ROW
from gateway.pipeline.validate import TIME

BLOCK_BYTES = 512 << 10
# What a column takes of a block in any case: its name and type.
COLUMN_BYTES = 1 << 10
NO_TIME = -(1 << 63)

# Time in µs, NO_TIME for none, and record number. Where rows are in the order of the file the time is NO_TIME.
Key = tuple[int, int]
Range = tuple[Key, Key]
LOWEST: Key = (NO_TIME, -1)
HIGHEST: Key = ((1 << 63) - 1, 0)


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a run: where they are in the file, and the keys of the first and the last."""

    offset: int
    length: int
    first: Key
    last: Key


class Runs:
    """The runs in one file, each sorted by time and place, or by place only."""

    def __init__(self, path: Path, disk: Disk, *, by_time: bool) -> None:
        self.by_time = by_time
        self._path = path
        self._disk = disk
        self._size = 0
        self._runs: list[list[Block]] = []

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def bytes(self) -> int:
        return self._size

    @property
    def keys(self) -> list[str]:
        """The columns by which each run is sorted."""
        return [TIME, ROW] if self.by_time else [ROW]

    def remove(self) -> None:
        """Give the space back."""
        self._path.unlink(missing_ok=True)
        self._runs.clear()

    def add(self, frame: pl.DataFrame) -> None:
        """Write the rows, which are sorted, as one run."""
        if frame.height == 0:
            return
        block_bytes = max(BLOCK_BYTES, COLUMN_BYTES * frame.width)
        rows = max(1, frame.height * block_bytes // max(int(frame.estimated_size()), 1))
        with self._path.open("ab") as file:
            self._runs.append([self._written(part, file) for part in frame.iter_slices(rows)])

    def run(self, at: int) -> pl.DataFrame:
        """All rows of one run."""
        return joined([self._read(block) for block in self._runs[at]])

    def batches(self, bytes_max: int) -> Iterator[pl.DataFrame]:
        """All rows, as many runs at once as have about so many bytes."""
        held: list[Block] = []
        for run in self._runs:
            held += run
            if sum(block.length for block in held) >= bytes_max:
                yield joined([self._read(block) for block in held])
                held = []
        if held:
            yield joined([self._read(block) for block in held])

    def ranges(self, bytes_max: int) -> list[Range]:
        """All keys, in ranges of about so many bytes."""
        firsts = sorted((block.first, block.length) for run in self._runs for block in run)
        cuts: list[Key] = []
        held = 0
        for first, length in firsts:
            if held >= bytes_max and first != (cuts[-1] if cuts else LOWEST):
                cuts.append(first)
                held = 0
            held += length
        return list(pairwise([LOWEST, *cuts, HIGHEST]))

    def between(self, begin: Key, end: Key) -> list[pl.DataFrame]:
        """The rows from `begin` up to `end`, a frame or more of each run that has some, in the order of the runs."""
        return [frame for run in self._runs for frame in self._of_run(run, begin, end)]

    def _of_run(self, run: list[Block], begin: Key, end: Key) -> Iterator[pl.DataFrame]:
        for block in run:
            if block.last < begin or block.first >= end:
                continue
            frame = self._read(block)
            if block.first < begin or block.last >= end:
                times, rows = self._keys(frame)
                frame = frame.slice(low := below(times, rows, begin), below(times, rows, end) - low)
            yield frame

    def _written(self, frame: pl.DataFrame, file: io.BufferedWriter) -> Block:
        written = io.BytesIO()
        frame.write_ipc_stream(written)
        length = len(written.getbuffer())
        self._disk.room_for(length)
        file.write(written.getbuffer())
        times, rows = self._keys(frame[[0, -1]])
        first, last = ((int(times[at]), int(rows[at])) for at in (0, 1))
        self._size += length
        return Block(self._size - length, length, first, last)

    def _read(self, block: Block) -> pl.DataFrame:
        with self._path.open("rb") as file:
            file.seek(block.offset)
            return pl.read_ipc_stream(io.BytesIO(file.read(block.length)))

    def _keys(self, frame: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = frame[ROW].to_numpy()
        if not self.by_time:
            return np.full(len(rows), NO_TIME), rows
        return times_of(frame), rows


def joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Rows one after the other; a column that some do not have is null in theirs."""
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame()


def below(times: NDArray[np.int64], rows: NDArray[np.int64], key: Key) -> int:
    """How many of the sorted keys are smaller."""
    time, row = key
    low, high = (int(np.searchsorted(times, time, side)) for side in ("left", "right"))
    return low + int(np.searchsorted(rows[low:high], row, "left"))


def times_of(frame: pl.DataFrame) -> NDArray[np.int64]:
    """The times of rows in µs; NO_TIME for none."""
    times = frame[TIME].cast(pl.Int64)
    return (times.fill_null(NO_TIME) if times.null_count() else times).to_numpy()
