"""The events that a commit appends: none twice, oldest first, by month of their time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import polars as pl

from gateway.store.contribution import KEY, Brought, Part
from gateway.store.facts import Facts
from gateway.store.identities import jobs_of
from gateway.store.index import Index
from gateway.store.known import unknown_of
from gateway.store.newest import Newest
from gateway.store.repeats import Repeats
from gateway.store.shapes import EVENT_ROWS, MOMENT
from gateway.store.table import Change, Table

# So many rows are read, judged and written at once.
BATCH_ROWS = 250_000
# Times before this share a partition, so that no file can make one for each month since the beginning of time.
FIRST_MONTH = "2015-01"
BEFORE = "earlier"


class Events:
    """Resolves the events of a commit; `jobs` are those that go, `facts` theirs, in the order of the commit."""

    def __init__(self, table: Table, brought: Brought, facts: list[Facts], newest: Newest) -> None:
        self.table = table
        self.newest = newest
        self.brought = brought
        self.contributions = brought.contributions
        self.facts = facts
        self.jobs = jobs_of(self.contributions)
        parts = brought.parts("events")
        self.part = parts[0] if parts else Part(pl.DataFrame(schema=EVENT_ROWS), list(EVENT_ROWS), 0)
        self._batch: pl.DataFrame | None = None
        self._latest: list[pl.DataFrame] = []
        self.count = brought.count("events")

    def resolve(self, profiles: Index, companies: Index, sequence: int, *, write: bool) -> Change:
        """The change, its files written (unless nothing shall be); the jobs' facts are added to."""
        change = Change(self.table.version)
        unknown = unknown_of(self.brought.people("events"), profiles, companies, self.brought)
        stays = self._judge(unknown.with_columns(unknown=pl.lit(value=True)))
        before = self._newest_before(int(stays.sum()), write=write)
        for start, batch in self._batches():
            mine = batch.filter(stays.slice(start, batch.height))
            for at, count in mine.filter(pl.col("time") < before).group_by("at").len().iter_rows():
                self.facts[at].late += count
            for at, count in mine.group_by("at").len().iter_rows():
                self.facts[at].events += count
            if write:
                change.added += [self.table.write(part, month, sequence) for month, part in self._parts(mine)]
        return change

    def _batches(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """The rows in the order of the commit, with the place of the first."""
        for start in range(0, self.count, BATCH_ROWS):
            if self._batch is None or self.count > BATCH_ROWS:
                self._batch = self.part.some(start, BATCH_ROWS)
            yield start, self._batch

    def _judge(self, unknown: pl.DataFrame) -> pl.Series:
        """Whether each row stays; unknown identities and duplicates are told as facts."""
        repeats = Repeats(self.table, self.contributions)
        rejecting = [at for at, one in enumerate(self.contributions) if one.unknown_identity == "reject"]
        strangers = []
        for _, batch in self._batches():
            found = batch.select("at", "row", *KEY).join(unknown, on=KEY, how="left", maintain_order="left")
            strangers.append(found.filter("unknown"))
            rejected = pl.col("unknown").fill_null(value=False) & pl.col("at").is_in(rejecting)
            taken = found.select(~rejected).to_series()
            repeats.look_at(batch, taken)
            self._latest.append(batch.filter(taken).group_by("at").agg(pl.col("time").max()))
        self._tell_unknown(pl.concat(strangers))
        judged = repeats.judged()
        for at, rows in judged.filter("duplicate").group_by("at").agg(pl.col("row").sort()).iter_rows():
            self.facts[at].duplicates = pl.Series("row", rows, dtype=pl.Int64)
        return judged.select(pl.col("stays") & ~pl.col("duplicate")).to_series()

    def _newest_before(self, rows: int, *, write: bool) -> pl.Expr:
        """The newest event that the feed of a row had before the row's job: of the store, or of an earlier job here."""
        newest = self.newest.of({one.feed for one in self.contributions})
        before: dict[int, datetime] = {}
        for at, latest in pl.concat(self._latest).group_by("at").agg(pl.col("time").max()).sort("at").iter_rows():
            feed = self.contributions[at].feed
            if feed in newest:
                before[at] = newest[feed]
            newest[feed] = max(latest, newest.get(feed, latest))
        if write:
            self.newest.expect(newest, rows)
        return pl.col("at").replace_strict(before, default=None, return_dtype=MOMENT)

    def _tell_unknown(self, strangers: pl.DataFrame) -> None:
        told = strangers.group_by("at").agg(pl.col("row").sort(), people=pl.struct(KEY).n_unique())
        for at, rows, people in told.iter_rows():
            self.facts[at].unknown = pl.Series("row", rows, dtype=pl.Int64)
            self.facts[at].unknown_identities = people

    def _parts(self, rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
        """The rows as they are stored, by month, oldest first; equal times in the order of the commit."""
        month = pl.col("time").dt.strftime("%Y-%m")
        rows = (
            rows.sort("time", maintain_order=True)
            .join(self.jobs.rename({"as_of": "received"}), on="at", how="left", maintain_order="left")
            .with_columns(month=pl.when(month < FIRST_MONTH).then(pl.lit(BEFORE)).otherwise(month))
        )
        for (name,), part in rows.partition_by("month", as_dict=True).items():
            yield str(name), part
