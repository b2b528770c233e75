"""The spool of a drop: what is judged of it is laid down on the disk, chunk by chunk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from gateway.pipeline import results
from gateway.pipeline.drop import Drop
from gateway.pipeline.header import Header
from gateway.pipeline.pieces.alike import hashes
from gateway.pipeline.pieces.disk import Disk
from gateway.pipeline.pieces.numbers import Numbers
from gateway.pipeline.pieces.pages import let_go
from gateway.pipeline.pieces.runs import Runs, joined, times_of
from gateway.pipeline.rows import LINE, ROW, START, STOP
from gateway.pipeline.source import Source
from gateway.pipeline.validate import TIME

# In the staging folder: what a killed try leaves goes with it.
FOLDER: Final = "pieces"
# So many bytes of rows are sorted at once. Longer runs are fewer, and a range is then in fewer places of the disk.
RUN_BYTES = 64 << 20


class Spool:
    """Takes the rows of one drop (see `judge.Keeper`); `close` ends it.

    good: runs of the good rows without what only rejected ones need. rows, times, hashes: a number for each good row
    in the order of the file. rejected: the numbers of the rejected rows. present: the columns of good rows; valued:
    those with a value in some.
    """

    def __init__(self, staging: Path, drop: Drop) -> None:
        self.folder = staging / FOLDER
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.disk = Disk(self.folder, drop.disk_free_min)
        self.good = Runs(self.folder / "good", self.disk, by_time=False)
        self.rows = Numbers(self.folder / "rows", np.int64)
        self.times = Numbers(self.folder / "times", np.int64)
        self.hashes = Numbers(self.folder / "hashes", np.uint64)
        self.rejected_path = self.folder / "rejected"
        self.rejected = Numbers(self.folder / "rejected-rows", np.int64)
        self.row_max = 0
        self.present: set[str] = set()
        self.valued: set[str] = set()
        self._contract = drop.contract
        self._source: Source | None = None
        self._pending: list[pl.DataFrame] = []
        self._pending_bytes = 0

    def begin(self, source: Source, header: Header) -> None:
        """Raises OSError where the disk has no room for about as much as the text has."""
        self.disk.room_for(len(source.octets))
        self._source = source
        self.rejected_path.write_bytes(results.head_of_rejected(source, header.raw))

    def add(self, good: pl.DataFrame, rejected: pl.DataFrame) -> None:
        """The good rows of the next chunk, and the places of the rejected ones. Raises OSError for a full disk."""
        self.present.update(good.columns)
        self.valued.update(name for name in good.columns if good[name].null_count() < good.height)
        self._add_rejected(rejected)
        self._add_numbers(good)
        kept = good.drop(LINE, START, STOP)
        self._pending.append(kept)
        self._pending_bytes += int(kept.estimated_size())
        if self._pending_bytes >= RUN_BYTES:
            self.close()
        if self._source:
            let_go(self._source.octets, max((frame[STOP][-1] for frame in (good, rejected) if frame.height), default=0))

    def close(self) -> None:
        """Write what waits to be written."""
        frame = joined(self._pending)
        self._pending, self._pending_bytes = [], 0
        self.good.add(frame.sort(TIME, maintain_order=True) if self.good.by_time and frame.height else frame)

    def _add_rejected(self, rejected: pl.DataFrame) -> None:
        if rejected.height and self._source:
            self.disk.room_for(int((rejected[STOP] - rejected[START]).sum()))
            with self.rejected_path.open("ab") as file:
                results.append_rejected(self._source, rejected, file)
            self.rejected.add(rejected[ROW].to_numpy())

    def _add_numbers(self, good: pl.DataFrame) -> None:
        if good.height == 0:
            return
        self.rows.add(good[ROW].to_numpy())
        self.row_max = int(good[ROW][-1])
        if TIME in good.columns:
            self.good.by_time = True
            self.times.add(times_of(good))
        if (found := hashes(good, self._contract)) is not None:
            self.hashes.add(found)
