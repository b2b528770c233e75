"""Events that were there before: in the commit, or among the stored ones of the same feed.

Two events are the same when identity, name, time and properties are, or, where the contract names `unique` columns,
when those are. They are compared by a hash of 128 bits, its seeds new in each commit, so that millions fit.
"""

from __future__ import annotations

import secrets

import polars as pl

from gateway.store.contribution import Contribution
from gateway.store.table import Table

HASHES = ["hash_1", "hash_2"]
WHOLE = ["feed", "namespace", "identity", "name", "time", "properties"]
UNIQUE = ["feed", "unique_key"]
# Up to so many times are looked up one by one; with more, all stored events between the first and the last are.
TIMES_MAX = 100_000


class Repeats:
    """Looks at the rows of a commit, some at a time and in order, and then says which are duplicates."""

    def __init__(self, table: Table, contributions: list[Contribution]) -> None:
        self.table = table
        self.repeating = [at for at, one in enumerate(contributions) if one.allow_repeats]
        self.feeds = {at: one.feed for at, one in enumerate(contributions) if not one.allow_repeats}
        self.seeds = [secrets.randbits(63) for _ in HASHES]
        self.lines: list[pl.DataFrame] = []

    def look_at(self, batch: pl.DataFrame, stays: pl.Series) -> None:
        """Rows of `Brought.rows("events")`; those that do not stay make no other a duplicate."""
        feed = pl.col("at").replace_strict(self.feeds, default=None, return_dtype=pl.String)
        rows = batch.with_columns(feed=feed, stays=stays)
        by_key = pl.col("unique_key").is_not_null()
        one, two = self._hashes(WHOLE), self._hashes(UNIQUE)
        chosen = [pl.when(by_key).then(b).otherwise(a).alias(name) for a, b, name in zip(one, two, HASHES, strict=True)]
        self.lines.append(rows.select("at", "row", "stays", "time", by_key.alias("by_key"), *chosen))

    def _hashes(self, columns: list[str]) -> list[pl.Expr]:
        return [pl.struct(columns).hash(seed).alias(name) for seed, name in zip(self.seeds, HASHES, strict=True)]

    def judged(self) -> pl.DataFrame:
        """at, row, stays, duplicate, in the order in which they were looked at."""
        lines = pl.concat(self.lines)
        compared = pl.col("stays") & ~pl.col("at").is_in(self.repeating)
        asked = lines.filter(compared)
        stored = pl.concat([self._stored_whole(asked), self._stored_unique(asked)]).with_columns(stored=True)
        again = pl.struct(compared.alias("compared"), *HASHES).is_first_distinct().not_()
        lines = lines.join(stored, on=HASHES, how="left", maintain_order="left")
        repeated = compared & (again | pl.col("stored").is_not_null())
        return lines.select("at", "row", "stays", repeated.alias("duplicate"))

    def _stored_whole(self, asked: pl.DataFrame) -> pl.DataFrame:
        """Those of the hashes that a stored event has, by identity, name, time and properties."""
        asked = asked.filter(~pl.col("by_key"))
        if not asked.height:
            return asked.select(HASHES)
        times = asked["time"].unique()
        first, last = asked.select(first=pl.col("time").min(), last=pl.col("time").max()).row(0)
        files = self.table.files().filter(
            pl.col("first").is_null() | ((pl.col("first") <= last) & (pl.col("last") >= first))
        )
        within = pl.col("time").is_between(first, last)
        if times.len() <= TIMES_MAX:
            within &= pl.col("time").is_in(times.implode())
        return self._stored(files["path"], within, WHOLE, asked)

    def _stored_unique(self, asked: pl.DataFrame) -> pl.DataFrame:
        """Those that a stored event has, by its unique key: at whatever time."""
        asked = asked.filter("by_key")
        if not asked.height:
            return asked.select(HASHES)
        return self._stored(self.table.files()["path"], pl.col("unique_key").is_not_null(), UNIQUE, asked)

    def _stored(self, paths: pl.Series, where: pl.Expr, columns: list[str], asked: pl.DataFrame) -> pl.DataFrame:
        if not len(paths):
            return asked.select(HASHES).clear()
        feeds = sorted(set(self.feeds.values()))
        with self.table.place.reached("read"):
            return (
                self.table.scan(paths)
                .filter(where & pl.col("feed").is_in(feeds))
                .select(self._hashes(columns))
                .join(asked.lazy().select(HASHES), on=HASHES, how="semi")
                .unique()
                .collect(engine="streaming")
            )
