"""The new contents of `profiles` or `companies`: only of the buckets that are touched."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import polars as pl
from deltalake.transaction import AddAction

from gateway.store.buckets import BUCKET_ROWS_MAX, bucket_of, factor_for, hashes, size_of
from gateway.store.contribution import KEY, Brought, Contribution, TableName
from gateway.store.facts import Facts
from gateway.store.gathered import Gathered
from gateway.store.merge import Merged, merge
from gateway.store.shapes import MOMENT, PROFILE_ROWS
from gateway.store.shrinking import shrinking
from gateway.store.table import Change, Table

# Files are compressed and made durable beside the merge of the next group.
WRITERS = 2
NAMES = pl.Schema({"name": pl.String, "at": pl.Int32})
NO_ROWS = pl.DataFrame(schema={**PROFILE_ROWS, "at": pl.Int32, "hash": pl.UInt32})


class Identities:
    """Resolves the profile rows of a commit against one table; `names` are the attributes that had values, by job."""

    def __init__(self, table: Table, brought: Brought, facts: list[Facts], sequence: int, *, write: bool) -> None:
        self.table = table
        self.brought = brought
        self.facts = facts
        self.sequence = sequence
        self.write = write
        self.change = Change(table.version)
        self.files = table.files().with_columns(bucket=pl.col("partition").cast(pl.Int32))
        self.buckets = set(self.files["bucket"])
        self.jobs = jobs_of(brought.contributions)
        self._names: list[pl.DataFrame] = []
        self._writing: list[Future[list[AddAction]]] = []

    def resolve(self, name: TableName, scratch: Path) -> Change:
        """The change, its files written (unless nothing shall be); the jobs' facts are added to."""
        gathered = Gathered(self.brought, name, self.files, scratch)
        if gathered.count:
            with ThreadPoolExecutor(WRITERS, "store-writer") as self._writers, ThreadPoolExecutor(1) as reader:
                reading = reader.submit(self._read, gathered, 0)
                for number in range(gathered.groups):
                    sources, stored = reading.result()
                    if number + 1 < gathered.groups:
                        # The next group is read beside the merge of this one.
                        reading = reader.submit(self._read, gathered, number + 1)
                    self._resolve_group(gathered, number, sources, stored)
                self._collect_written()
        return self.change

    @property
    def names(self) -> pl.DataFrame:
        """name, at: the first job of the commit in which the attribute had a value."""
        if not self._names:
            return pl.DataFrame(schema=NAMES)
        return pl.concat(self._names).group_by("name").agg(pl.col("at").min()).sort("at", "name")

    def _read(self, gathered: Gathered, number: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The files that a group is about, and what is stored of it."""
        sources = self._sources(gathered.touched, gathered.groups, number)
        return sources, self._stored(sources, gathered.groups, number)

    def _resolve_group(self, gathered: Gathered, number: int, sources: pl.DataFrame, stored: pl.DataFrame) -> None:
        parts, groups = gathered.group(number) or [NO_ROWS], gathered.groups
        if parts[0] is NO_ROWS and not sources.height:
            return
        people = people_of(parts, stored)
        # What is not split as finely as the groups is written anew in halves, so that each is in one group.
        home = bucket_of(people["hash"], self.buckets).to_frame("home")
        fine = pl.when(pl.col("home") < groups).then(groups + number).otherwise("home").cast(pl.Int32)
        people = people.with_columns(home.select(fine).to_series().alias("bucket"))
        stored = stored.with_columns(numbers_of_stored(stored, people))
        parts = [rows.with_columns(numbers_of(rows, people)) for rows in parts]
        merged = merge(stored.filter(pl.col("who").is_not_null()), parts, self.jobs)
        self._tell(merged, parts)
        if self.write:
            self._write(stored, people, merged, sources, groups)

    def _sources(self, touched: set[int], groups: int, number: int) -> pl.DataFrame:
        """path, bucket, rows of the files with stored identities of this group that may change."""
        bucket = pl.col("bucket")
        here = [one for one in touched if (one - size_of(one)) % groups == number % min(size_of(one), groups)]
        return self.files.filter(bucket.is_in(here)).select("path", "bucket", "rows").sort("bucket")

    def _stored(self, sources: pl.DataFrame, groups: int, number: int) -> pl.DataFrame:
        """Their rows, with the bucket that each will be in."""
        paths = sources["path"].to_list()
        with self.table.place.reached("read"):
            stored = self.table.scan(paths).collect()
        bucket = sources.select(pl.col("bucket").repeat_by("rows").explode()).to_series().cast(pl.Int32)
        stored = stored.with_columns(bucket)
        if all(bucket >= groups for bucket in sources["bucket"]):
            return stored
        fine = stored.filter(pl.col("bucket") >= groups)
        coarse = stored.filter(pl.col("bucket") < groups)
        coarse = coarse.filter(hashes(coarse) % groups == number)
        return pl.concat([fine, coarse.with_columns(bucket=pl.lit(groups + number, pl.Int32))])

    def _write(
        self, stored: pl.DataFrame, people: pl.DataFrame, merged: Merged, sources: pl.DataFrame, groups: int
    ) -> None:
        fresh = merged.rows.join(people.select("who", *KEY, "bucket"), on="who", how="left")
        coarse = sources.filter(pl.col("bucket") < groups)["bucket"]
        buckets = set(fresh["bucket"]) | (set(stored["bucket"]) - self.buckets if len(coarse) else set())
        kept = slices(stored, ~stored["who"].is_in(fresh["who"].implode()).fill_null(value=False))
        made = fresh.partition_by("bucket", as_dict=True)
        columns, writing = self.table.shape.columns, []
        for bucket in sorted(buckets):
            parts = [frame.select(columns) for frame in (kept.get(bucket), made.get((bucket,))) if frame is not None]
            writing.append(self._writers.submit(self._write_bucket, bucket, pl.concat(parts)))
        # While these are written the next group is merged; not more than two groups are in memory.
        self._collect_written()
        self._writing = writing
        self.change.replaced |= {str(bucket) for bucket in [*(buckets & self.buckets), *coarse]}

    def _write_bucket(self, bucket: int, rows: pl.DataFrame) -> list[AddAction]:
        return [self.table.write(part, str(number), self.sequence) for number, part in split(bucket, rows)]

    def _collect_written(self) -> None:
        for future in self._writing:
            self.change.added += future.result()
        self._writing = []

    def _tell(self, merged: Merged, parts: list[pl.DataFrame]) -> None:
        created, changed = pl.col("created"), pl.col("changed") & ~pl.col("created")
        told = merged.outcomes.group_by("at").agg(
            created.sum(), changed.sum(), pl.col("blanked").sum(), unchanged=(~created & ~pl.col("changed")).sum()
        )
        for at, new, updated, blanked, unchanged in told.iter_rows():
            facts = self.facts[at]
            facts.created += new
            facts.updated += updated
            facts.blanked += blanked
            facts.unchanged += unchanged
        for at, names in merged.changed.group_by("at").agg(pl.col("key").cast(pl.String)).iter_rows():
            self.facts[at].add_changed(names)
        brought = merged.entries.lazy().filter(pl.col("at") >= 0, pl.col("value").is_not_null())
        names = brought.group_by("key").agg(pl.col("at").min()).select(name=pl.col("key").cast(pl.String), at="at")
        self._names.append(names.collect())
        self._tell_shrinking(merged, parts)

    def _tell_shrinking(self, merged: Merged, parts: list[pl.DataFrame]) -> None:
        told = [at for at, one in enumerate(self.brought.contributions) if one.accumulating]
        records = [rows.select("who", "at", "time", "row").filter(pl.col("at").is_in(told)) for rows in parts]
        rows = pl.concat(records)
        if not rows.height:
            return
        found = shrinking(merged.entries, rows, self.jobs)
        named = dict(found.rows.group_by("at").agg(pl.struct("row", "names")).iter_rows())
        for at, count in found.counts.iter_rows():
            self.facts[at].add_shrinking(((one["row"], one["names"]) for one in named.get(at, ())), count)


def people_of(parts: list[pl.DataFrame], stored: pl.DataFrame) -> pl.DataFrame:
    """namespace, identity, hash of each identity in rows of jobs; `who`, and `place` among the stored rows (or null).

    Those that are stored are numbered first and in that order, so that a merge need not sort what is stored.
    """
    people = pl.concat(rows.select(*KEY, "hash") for rows in parts).unique(KEY, maintain_order=True)
    people = people.with_row_index("number")
    # The larger side is looked through, and the smaller one in the memory.
    places = stored.select(KEY).with_row_index("place").join(people.select("number", *KEY), on=KEY, how="inner")
    found = people.join(places.select("number", "place"), on="number", how="left", maintain_order="left")
    return found.drop("number").sort("place", nulls_last=True, maintain_order=True).with_row_index("who")


def numbers_of_stored(stored: pl.DataFrame, people: pl.DataFrame) -> pl.Series:
    """`who` of each stored row, null where it is none of the people."""
    found = people.drop_nulls("place")
    empty = pl.Series("who", [None], dtype=pl.UInt32).new_from_index(0, stored.height)
    return empty.scatter(found["place"], found["who"]) if found.height else empty


def numbers_of(rows: pl.DataFrame, people: pl.DataFrame) -> pl.Series:
    """`who` of each row of a job."""
    return rows.select(KEY).join(people.select("who", *KEY), on=KEY, how="left", maintain_order="left")["who"]


def slices(stored: pl.DataFrame, kept: pl.Series) -> dict[int, pl.DataFrame]:
    """The rows of each bucket that are kept; the rows of a bucket follow each other."""
    found, start = {}, 0
    for bucket, count in zip(*stored["bucket"].rle().struct.unnest().select("value", "len").get_columns(), strict=True):
        found[bucket] = stored.slice(start, count).filter(kept.slice(start, count))
        start += count
    return found


def split(bucket: int, rows: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """The bucket's rows, in as many buckets as they need now."""
    factor = factor_for(rows.height, BUCKET_ROWS_MAX)
    if factor == 1:
        if rows.height:
            yield bucket, rows
        return
    size = size_of(bucket) * factor
    for (rest,), part in rows.with_columns(rest=hashes(rows) % size).partition_by("rest", as_dict=True).items():
        yield size + int(str(rest)), part


def jobs_of(contributions: list[Contribution]) -> pl.DataFrame:
    """at, job, feed, as_of of each."""
    return pl.DataFrame(
        [(at, one.job, one.feed, one.as_of) for at, one in enumerate(contributions)],
        schema={"at": pl.Int32, "job": pl.String, "feed": pl.String, "as_of": MOMENT},
        orient="row",
    )
