"""Rows that may be alike, brought together: all with the same hash are in one shard, and shards fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateway.contracts import Contract
from gateway.pipeline.order import KEY, key_of, newest_values
from gateway.pipeline.pieces.alike import hashes
from gateway.pipeline.pieces.disk import Disk
from gateway.pipeline.pieces.runs import Runs, joined
from gateway.pipeline.rows import PLACE, ROW

SHARD_BYTES = 64 << 20
SHARDS_MAX = 256


def scattered(runs: Runs, candidates: NDArray[np.bool_], contract: Contract, folder: Path, disk: Disk) -> list[Runs]:
    """The rows of the candidates, by record number, in shards. Each shard has its runs in the order of the file."""
    count = min(int(runs.bytes * candidates.mean()) // SHARD_BYTES + 1, SHARDS_MAX)
    shards = [Runs(folder / f"shard-{at}", disk, by_time=runs.by_time) for at in range(count)]
    for at in range(len(runs)):
        frame = runs.run(at)
        frame = frame.filter(candidates[frame[ROW].to_numpy()])
        found = hashes(frame, contract)
        if found is None or frame.height == 0:
            continue
        shard_of = (found >> np.uint64(32)) % np.uint64(count)
        for number, shard in enumerate(shards):
            shard.add(frame.filter(shard_of == number))
    return [shard for shard in shards if len(shard)]


def repeats(shards: Sequence[Runs], contract: Contract) -> Iterator[NDArray[np.int64]]:
    """The record numbers of rows that equal an earlier one (see `order.first_of_equals`)."""
    for shard in shards:
        seen = pl.DataFrame()
        for batch in shard.batches(SHARD_BYTES):
            frame = joined([seen, batch.sort(ROW)])
            names = list(contract.unique) or [name for name in frame.columns if name not in PLACE]
            first = frame.select(pl.struct(names).is_first_distinct()).to_series()
            yield frame.filter(~first)[ROW].to_numpy()
            seen = frame.filter(first)
        shard.remove()


def merged(shards: Sequence[Runs], contract: Contract, target: Runs) -> int:
    """One row an identity into `target`, each shard as a run (see `order.merge_profiles`); returns how many."""
    count = 0
    for shard in shards:
        kept = pl.DataFrame()
        # From the oldest row to the newest: what was merged so far is older than all that comes.
        for begin, end in shard.ranges(SHARD_BYTES):
            frame = joined([kept, *shard.between(begin, end)]).sort(shard.keys)
            kept = newest_values(frame.with_columns(key_of(contract).alias(KEY)))
        count += kept.height
        target.add(kept.sort(ROW))
        shard.remove()
    return count
