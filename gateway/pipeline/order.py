"""The order of accepted rows: profiles merged by identity, repeated events dropped, events oldest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateway.contracts import Contract
from gateway.contracts.value_types import FEW
from gateway.pipeline.drop import Counts
from gateway.pipeline.findings import none_of
from gateway.pipeline.report import Facts
from gateway.pipeline.rows import PLACE, ROW
from gateway.pipeline.validate import TIME, has_value

KEY = "\x1fkey"
# By record number, whether a row repeats another one.
LeftOut = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ordered:
    """Rows as they are written, and what became of the others.

    frame: as `validated` gives it. moved: rows that stood behind a later one in the file.
    first, last: the earliest and the latest time, in the stored form; None where rows have no time.
    """

    frame: pl.DataFrame
    merged: int = 0
    duplicates: int = 0
    moved: int = 0


@dataclass(frozen=True, slots=True)
class Concluded:
    """What became of the rows of a drop; `reason` is why it fails as a whole, or nothing.

    rejected: the record numbers of the rejected rows, in parts.
    """

    counts: Counts
    facts: Facts
    reason: str = ""
    left_out: LeftOut | None = None
    rejected: Iterable[NDArray[np.int64]] = ()


def left_out_of(good: pl.DataFrame, done: Ordered) -> LeftOut | None:
    """The good rows that are left out since they repeat another one; None where there is none."""
    if not done.duplicates:
        return None
    left_out = np.zeros(int(good[ROW].to_numpy().max()) + 1, dtype=np.bool_)
    left_out[good[ROW].to_numpy()] = True
    left_out[done.frame[ROW].to_numpy()] = False
    return left_out


def ordered(frame: pl.DataFrame, contract: Contract) -> Ordered:
    """The good rows of a drop, merged or deduplicated and in order. The same rows always give the same order."""
    if frame.height == 0:
        return Ordered(frame)
    if contract.kind == "profiles":
        kept = merge_profiles(frame, contract)
        return Ordered(kept, merged=frame.height - kept.height)
    kept = frame if contract.allow_repeats else first_of_equals(frame, contract)
    duplicates = frame.height - kept.height
    if TIME not in kept.columns:
        return Ordered(kept, duplicates=duplicates)
    times = kept[TIME]
    if times.null_count() == 0 and times.is_sorted():
        return Ordered(kept, duplicates=duplicates)
    moved = int((times < times.cum_max()).sum())
    # Equal times keep the file's order, so a rerun is identical (F17, F18).
    return Ordered(kept.sort(TIME, maintain_order=True) if moved else kept, duplicates=duplicates, moved=moved)


def merge_profiles(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """One row an identity: each attribute keeps its newest value, by the row's time, then by its place in the file.

    A row that has several identities goes by the first that the contract names. The merged row takes the place of
    its newest one (C2, C3, B3 to B5).
    """
    given = [name for name in contract.identity if has_value(frame[name])]
    if len(given) == 1 and frame[given[0]].n_unique() == frame.height:
        return frame
    keyed = frame.with_columns(key_of(contract).alias(KEY))
    several = keyed[KEY].is_duplicated()
    if not several.any():
        return frame
    by_age = [TIME, ROW] if TIME in frame.columns else [ROW]
    merged = newest_values(keyed.filter(several).sort(by_age))
    return pl.concat([frame.filter(~several), merged.select(frame.columns)]).sort(ROW)


def key_of(contract: Contract) -> pl.Expr:
    """Whom a row is about."""
    return pl.coalesce(pl.lit(f"{at} ") + pl.col(name) for at, name in enumerate(contract.identity))


def newest_values(keyed: pl.DataFrame) -> pl.DataFrame:
    """One row a KEY: the last place, and the last value of each other column. Rows come oldest first."""
    places = [name for name in keyed.columns if name in PLACE]
    values = [name for name in keyed.columns if name not in PLACE and name != KEY]
    return (
        keyed.group_by(KEY, maintain_order=True)
        .agg(*(pl.col(name).last() for name in places), *(pl.col(name).drop_nulls().last() for name in values))
        .drop(KEY)
    )


def first_of_equals(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Without the rows that equal an earlier one in the contract's `unique` columns, else in all of them."""
    names = list(contract.unique) or [name for name in frame.columns if name not in PLACE]
    # Equal rows have equal times, and times are quicker to compare than rows.
    if TIME in names and frame.height <= FEW and frame[TIME].n_unique() == frame.height:
        return frame
    some = frame.filter(frame[TIME].is_duplicated()) if TIME in names else frame
    # Equal hashes are rare unless the rows are equal, so only these few are compared in full.
    alike = some.select(names).hash_rows().is_duplicated() if some.height else none_of(0)
    if not alike.any():
        return frame
    candidates = some.filter(alike).select(ROW, pl.struct(names).is_first_distinct().alias(KEY))
    repeats = candidates.filter(~pl.col(KEY))[ROW]
    return frame.filter(~pl.col(ROW).is_in(repeats.implode()))
