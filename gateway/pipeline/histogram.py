"""How the times of rows are spread: counts in buckets of a width that people think in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl

from gateway.contracts.times import EPOCH, MICROSECOND

BUCKETS_MAX = 48
MOMENT = pl.Datetime("us")
# The first day of the calendar is a Monday, so that weeks begin on one.
CALENDAR = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Width:
    """The length of a bucket: so many months, or a time that is the same for each. The words follow "per"."""

    words: str
    months: int = 0
    length: timedelta = timedelta()

    def starts(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """The starts of the buckets from the one that holds `first` to the one that holds `last`."""
        if self.months:
            at = max(12, months(first) - months(first) % self.months)
            for start in range(at, months(last) + 1, self.months):
                yield datetime(start // 12, start % 12 + 1, 1, tzinfo=UTC)
            return
        at = (first - CALENDAR) // self.length
        for start in range(at, (last - CALENDAR) // self.length + 1):
            yield CALENDAR + start * self.length

    def count(self, first: datetime, last: datetime) -> int:
        """How many buckets there would be, or one more."""
        if self.months:
            return (months(last) - months(first)) // self.months + 2
        return (last - first) // self.length + 2


def months(moment: datetime) -> int:
    return moment.year * 12 + moment.month - 1


WIDTHS = (
    Width("second", length=timedelta(seconds=1)),
    Width("5 seconds", length=timedelta(seconds=5)),
    Width("15 seconds", length=timedelta(seconds=15)),
    Width("minute", length=timedelta(minutes=1)),
    Width("5 minutes", length=timedelta(minutes=5)),
    Width("15 minutes", length=timedelta(minutes=15)),
    Width("hour", length=timedelta(hours=1)),
    Width("3 hours", length=timedelta(hours=3)),
    Width("6 hours", length=timedelta(hours=6)),
    Width("12 hours", length=timedelta(hours=12)),
    Width("day", length=timedelta(days=1)),
    Width("week", length=timedelta(weeks=1)),
    Width("month", months=1),
    Width("quarter", months=3),
    Width("year", months=12),
    Width("5 years", months=60),
    Width("25 years", months=300),
    Width("100 years", months=1200),
    Width("500 years", months=6000),
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """`count` rows from `start` (UTC) until the next bucket."""

    start: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Buckets of one width without gaps, oldest first; `width` is in words (`day`, `5 minutes`)."""

    width: str
    buckets: tuple[Bucket, ...]

    @property
    def rows(self) -> int:
        return sum(bucket.count for bucket in self.buckets)

    @property
    def fullest(self) -> Bucket:
        """The first of the largest ones."""
        return max(self.buckets, key=lambda bucket: bucket.count)


def spread(frame: pl.DataFrame, time: str) -> Histogram | None:
    """The histogram of a Datetime column (UTC, without a zone) in BUCKETS_MAX buckets at most.

    None where no row has a time.
    """
    return spread_over(lambda: iter([frame[time]])) if time in frame.columns else None


def spread_over(parts: Callable[[], Iterator[pl.Series]]) -> Histogram | None:
    """As `spread`, of moments that come in parts, and are gone through twice."""
    ends = [moment for part in parts() for moment in (part.min(), part.max()) if isinstance(moment, datetime)]
    if not ends:
        return None
    first, last = (moment.replace(tzinfo=UTC) for moment in (min(ends), max(ends)))
    width = next((width for width in WIDTHS if width.count(first, last) <= BUCKETS_MAX), WIDTHS[-1])
    starts = list(width.starts(first, last))
    ticks = [(start - EPOCH) // MICROSECOND for start in starts]
    below = [0] * (len(starts) + 1)
    for part in parts():
        moments = part.drop_nulls() if part.null_count() else part
        sorted_numbers = moments.cast(pl.Int64).sort().to_numpy()
        found = [*map(int, np.searchsorted(sorted_numbers, ticks)), len(moments)]
        below = [before + here for before, here in zip(below, found, strict=True)]
    buckets = zip(starts, pairwise(below), strict=True)
    return Histogram(width.words, tuple(Bucket(start, upper - lower) for start, (lower, upper) in buckets))
