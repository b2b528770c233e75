"""The final order of spooled rows, part by part; what it is, `order.ordered` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from gateway.contracts import Contract
from gateway.pipeline.ahead import mapped
from gateway.pipeline.order import LeftOut
from gateway.pipeline.pieces import shards
from gateway.pipeline.pieces.alike import alike
from gateway.pipeline.pieces.runs import NO_TIME, Range, Runs, joined
from gateway.pipeline.pieces.spool import Spool
from gateway.pipeline.rows import ROW
from gateway.pipeline.validate import TIME

# What is sorted at once; another range is read meanwhile.
RANGE_BYTES = 96 << 20


@dataclass(frozen=True, slots=True)
class Arranged:
    """The accepted rows in order, in parts that are not empty, and what became of the others.

    left_out: by record number, the rows that repeat another one; None where there is none.
    """

    parts: Iterator[pl.DataFrame]
    height: int
    merged: int = 0
    duplicates: int = 0
    moved: int = 0
    left_out: LeftOut | None = None


def arranged(spool: Spool, contract: Contract) -> Arranged:
    """The good rows of a spool that is closed, merged or deduplicated and in order."""
    candidates = alike(spool.hashes, spool.rows, spool.row_max)
    found = []
    if candidates.any():
        found = shards.scattered(spool.good, candidates, contract, spool.folder, spool.disk)
    if contract.kind == "profiles":
        return profiles(spool, contract, candidates, found)
    return events(spool, contract, candidates, found)


def profiles(spool: Spool, contract: Contract, candidates: LeftOut, found: list[Runs]) -> Arranged:
    merged = Runs(spool.folder / "merged", spool.disk, by_time=False)
    count = shards.merged(found, contract, merged)
    gone = int(candidates.sum()) - count
    return Arranged(in_place(spool.good, candidates, merged), len(spool.rows) - gone, merged=gone)


def events(spool: Spool, contract: Contract, left_out: LeftOut, found: list[Runs]) -> Arranged:
    left_out[:] = False
    for rows in shards.repeats(found, contract):
        left_out[rows] = True
    duplicates = int(left_out.sum())
    moved = moved_rows(spool, left_out)
    parts = oldest_first(spool.good, left_out) if moved else in_place(spool.good, left_out)
    height = len(spool.rows) - duplicates
    return Arranged(parts, height, duplicates=duplicates, moved=moved, left_out=left_out if duplicates else None)


def moved_rows(spool: Spool, left_out: LeftOut) -> int:
    """How many rows stand behind a later one."""
    count, latest = 0, NO_TIME
    for times, rows in zip(spool.times.parts(), spool.rows.parts(), strict=False):
        kept = times[~left_out[rows] & (times != NO_TIME)]
        if len(kept):
            before = np.maximum(np.maximum.accumulate(kept), latest)
            count += int((kept < before).sum())
            latest = int(before[-1])
    return count


def in_place(runs: Runs, left_out: LeftOut, more: Runs | None = None) -> Iterator[pl.DataFrame]:
    """The rows in the order of the file, a run at a time; those of `more` at their places between them."""
    done = 0
    for at in range(len(runs)):
        frame = runs.run(at)
        last = int(frame[ROW].to_numpy().max())
        frame = frame.filter(~left_out[frame[ROW].to_numpy()])
        between = more.between((NO_TIME, done + 1), (NO_TIME, last + 1)) if more else []
        done = last
        frame = joined([frame, *between]).sort(ROW)
        if frame.height:
            yield frame


def oldest_first(runs: Runs, left_out: LeftOut) -> Iterator[pl.DataFrame]:
    """The rows by time; equal times keep the file's order."""
    ranges = runs.ranges(RANGE_BYTES)
    yield from filter(len, mapped(partial(sorted_range, runs, left_out), ranges, threads=1))


def sorted_range(runs: Runs, left_out: LeftOut, span: Range) -> pl.DataFrame:
    frame = joined(runs.between(*span))
    if frame.height == 0:
        return frame
    return frame.filter(~left_out[frame[ROW].to_numpy()]).sort(TIME, maintain_order=True)
