"""The new contents of `profiles` or `companies`: only of the files that a commit touches.

Few rows: those of people who are new make one more file, a recent one, which upkeep puts in its place later, many at
once; else a commit of 1,000 new people would rewrite 1,000 buckets. Many rows go to their buckets at once, and take
the recent ones along.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from deltalake.transaction import AddAction

from gateway.store import gathered
from gateway.store.buckets import BUCKET_ROWS_MAX, bucket_of, factor_for, free, hashes, size_of
from gateway.store.contribution import KEY, Brought, Contribution, TableName
from gateway.store.facts import Facts
from gateway.store.gathered import Gathered, Measured, measured
from gateway.store.index import Index
from gateway.store.merge import Merged, merge
from gateway.store.newcomers import newcomers
from gateway.store.shapes import IDENTITIES, MOMENT, PROFILE_ROWS
from gateway.store.shrinking import shrinking
from gateway.store.table import Change

# Files are compressed and made durable beside the merge of the next group.
WRITERS = 2
NO_ROWS = pl.DataFrame(schema={**PROFILE_ROWS, "at": pl.Int32, "hash": pl.UInt32})
NOBODY = pl.DataFrame(schema={name: kind for name, kind in IDENTITIES.items() if name != "bucket"})
NOTHING_MADE = NOBODY.drop(KEY).with_columns(who=pl.lit(None, pl.UInt32))


@dataclass(frozen=True, slots=True)
class Held:
    """What is stored of a group, with the bucket that each row will be in; rows of a bucket follow each other.

    anew: the buckets that are written though nothing in them may change; gone: those whose rows are in others then.
    """

    rows: pl.DataFrame
    anew: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)


class Identities:
    """Resolves the profile rows of a commit against one table."""

    def __init__(self, index: Index, brought: Brought, facts: list[Facts], sequence: int, *, write: bool) -> None:
        self.index = index
        self.table = index.table
        self.brought = brought
        self.facts = facts
        self.sequence = sequence
        self.write = write
        self.change = Change(self.table.version)
        self.files = index.files
        self.buckets = set(self.files["bucket"])
        self.leaves = [bucket for bucket in self.buckets if bucket > 0]
        self.newest = next(free(self.buckets))
        """The bucket of a further recent file."""
        self.jobs = jobs_of(brought.contributions)
        self._arrived: list[pl.DataFrame] = []
        self.names: dict[str, int] = {}
        """The first job of the commit in which each attribute had a value."""
        self._writing: list[Future[list[AddAction]]] = []

    def resolve(self, name: TableName, scratch: Path) -> Change:
        """The change, its files written (unless nothing shall be); the jobs' facts are added to."""
        parts = [measured(part) for part in self.brought.parts(name)]
        with ThreadPoolExecutor(WRITERS, "store-writer") as self._writers:
            if sum(one.weight for one in parts) <= BUCKET_ROWS_MAX:
                self._resolve_few(parts, scratch / name)
            else:
                self._resolve_many(parts, scratch / name)
            self._collect_written()
        return self.change

    def put_in_place(self, scratch: Path) -> Change:
        """The recent identities go to their buckets; nothing else changes."""
        with ThreadPoolExecutor(WRITERS, "store-writer") as self._writers:
            self._resolve_many([], scratch)
            self._collect_written()
        return self.change

    def _resolve_few(self, parts: list[Measured], scratch: Path) -> None:
        """Only files are read that have some of the people."""
        brought = [rows for one in parts for rows in one.batches()]
        people = once_each(brought)
        files = self.index.files_with(people).sort("bucket")
        if int(files["rows"].sum()) <= gathered.GROUP_ROWS:
            self._resolve_group(brought, Held(self._rows(files)), people.with_columns(home=self.newest))
        else:
            recent = self._rows(files.filter(pl.col("bucket") < 0))
            groups = Gathered(parts, files.filter(pl.col("bucket") > 0), scratch, apart=recent.select(KEY))
            self._resolve_groups(groups)
            if recent.height:
                people = once_each(groups.apart).with_columns(home=self.newest)
                self._resolve_group(groups.apart, Held(recent), people)
        if self._arrived:
            self.change.added += self._write_bucket(self.newest, pl.concat(self._arrived))

    def _resolve_many(self, parts: list[Measured], scratch: Path) -> None:
        files = self.files.filter(pl.col("bucket") < 0)
        rows = self._rows(files)
        hashed = hashes(rows)
        recent = rows.with_columns(hashed, bucket_of(hashed, self.leaves)).sort("bucket")
        self.change.replaced |= set(files["bucket"].cast(pl.String))
        touched = bucket_of(pl.concat([hashed, *(one.hashes for one in parts)]).unique(), self.leaves).unique()
        leaves = self.files.filter(pl.col("bucket").is_in(touched.implode()))
        self._resolve_groups(Gathered(parts, leaves, scratch), recent)

    def _resolve_groups(self, groups: Gathered, recent: pl.DataFrame | None = None) -> None:
        """One after the other; `recent` (with hashes, and buckets to go to) moves to where all who are new go."""
        with ThreadPoolExecutor(1, "store-reader") as reader:
            reading = reader.submit(self._held, groups, recent, 0)
            for number in range(groups.count):
                held = reading.result()
                if number + 1 < groups.count:
                    # The next group is read beside the merge of this one.
                    reading = reader.submit(self._held, groups, recent, number + 1)
                parts = groups.group(number) or [NO_ROWS]
                people = once_each(parts)
                if recent is None:
                    home = pl.lit(self.newest)
                else:
                    home = finely(pl.lit(bucket_of(people["hash"], self.leaves)), groups.count, number)
                self._resolve_group(parts, held, people.with_columns(home=home))

    def _held(self, groups: Gathered, recent: pl.DataFrame | None, number: int) -> Held:
        """Read what is stored of a group."""
        count, bucket = groups.count, pl.col("bucket")
        here = [one for one in groups.files["bucket"] if is_of_group(one, count, number)]
        rows = self._rows(groups.files.filter(bucket.is_in(here)).sort("bucket"))
        # What is not split as finely as the groups is written anew in parts, so that each is in one group.
        coarse = {one for one in here if one < count}
        if coarse:
            split_up = rows.filter(bucket < count)
            split_up = split_up.filter(hashes(split_up) % count == number).with_columns(finely(bucket, count, number))
            rows = pl.concat([rows.filter(bucket >= count), split_up])
        anew = set(rows["bucket"]) - self.buckets if coarse else set()
        if recent is not None:
            moved = recent.filter(pl.col("hash") % count == number).with_columns(finely(bucket, count, number))
            rows = pl.concat([rows, moved.select(rows.columns)])
            anew |= set(moved["bucket"])
        return Held(rows, anew, coarse)

    def _rows(self, files: pl.DataFrame) -> pl.DataFrame:
        """The rows of files (path, bucket, rows), with the bucket of each."""
        if not files.height:
            return NOBODY.with_columns(bucket=pl.lit(None, pl.Int32))
        with self.table.place.reached("read"):
            rows = self.table.scan(files["path"]).collect()
        bucket = np.repeat(files["bucket"].to_numpy(), files["rows"].to_numpy())
        return rows.with_columns(pl.Series("bucket", bucket, dtype=pl.Int32))

    def _resolve_group(self, parts: list[pl.DataFrame], held: Held, people: pl.DataFrame) -> None:
        """`people` are those of the parts, with their hash, and the bucket (`home`) that they go to if they are new."""
        people = placed(people, held.rows)
        stored = held.rows.with_columns(numbers_of_stored(held.rows, people))
        parts = numbered(parts, people)
        once = come_once(parts, people)
        new = [once[rows["who"].to_numpy()] for rows in parts]
        made = [self._welcome(those(rows, mine)) for rows, mine in zip(parts, new, strict=True) if mine.any()]
        others = [those(rows, ~mine) for rows, mine in zip(parts, new, strict=True) if not mine.all()]
        if any(rows.height for rows in others):
            merged = merge(stored.filter(pl.col("who").is_not_null()), others, self.jobs)
            self._tell(merged, others)
            made.append(merged.rows)
        if self.write:
            fresh = pl.concat(made) if made else NOTHING_MADE
            bucket = pl.coalesce(pl.lit(held.rows["bucket"].gather(people["place"])), "home")
            self._write(stored, fresh.hstack(people.select(*KEY, bucket.alias("bucket"))[fresh["who"]]), held.anew)
            self.change.replaced |= set(map(str, held.gone))

    def _welcome(self, rows: pl.DataFrame) -> pl.DataFrame:
        found = newcomers(rows, self.jobs)
        for at, count in found.counts.iter_rows():
            self.facts[at].created += count
        self._note(found.names)
        return found.rows

    def _note(self, names: pl.DataFrame) -> None:
        """Attributes that had values, each with its first job."""
        for name, at in names.iter_rows():
            self.names[name] = min(at, self.names.get(name, at))

    def _write(self, stored: pl.DataFrame, fresh: pl.DataFrame, anew: set[int]) -> None:
        """Write these buckets, and those in which something is fresh."""
        columns, writing = self.table.shape.columns, []
        made = {int(str(bucket)): rows for (bucket,), rows in fresh.partition_by("bucket", as_dict=True).items()}
        if self.newest in made:
            self._arrived.append(made.pop(self.newest).select(columns))
        buckets = anew | set(made)
        kept = slices(stored, ~stored["who"].is_in(fresh["who"].implode()).fill_null(value=False)) if buckets else {}
        for bucket in sorted(buckets):
            parts = [*kept.get(bucket, ()), *([made[bucket]] if bucket in made else ())]
            rows = pl.concat(part.select(columns) for part in parts)
            writing.append(self._writers.submit(self._write_bucket, bucket, rows))
        # While these are written the next group is merged; not more than two groups are in memory.
        self._collect_written()
        self._writing = writing
        self.change.replaced |= {str(bucket) for bucket in buckets & self.buckets}

    def _write_bucket(self, bucket: int, rows: pl.DataFrame) -> list[AddAction]:
        return [self.index.write(part, number, self.sequence) for number, part in split(bucket, rows)]

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
        self._note(names.collect())
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


def is_of_group(bucket: int, count: int, number: int) -> bool:
    """Whether a bucket of the tree has identities of that group, of so many."""
    size = size_of(bucket)
    return (bucket - size) % count == number % min(size, count)


def finely(bucket: pl.Expr, count: int, number: int) -> pl.Expr:
    """The bucket of rows of that group, of so many: no coarser than the groups are."""
    return pl.when(bucket < count).then(count + number).otherwise(bucket).cast(pl.Int32).alias("bucket")


def once_each(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """namespace, identity, hash of each identity in rows of jobs."""
    return pl.concat(rows[[*KEY, "hash"]] for rows in parts).unique(KEY, maintain_order=True)


def placed(people: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """The people with `who`, their number, and `place` among the stored rows (or null).

    Those that are stored are numbered first and in that order, so that a merge need not sort what is stored.
    """
    if not stored.height:
        return people.with_columns(place=pl.lit(None, pl.UInt32)).with_row_index("who")
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


def numbered(parts: list[pl.DataFrame], people: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows of jobs with `who` of each."""
    if len(parts) == 1 and people.height == parts[0].height and people["place"].null_count() == people.height:
        # Everybody is new and there once, in this order.
        return [parts[0].with_columns(people["who"])]
    numbers = people.select("who", *KEY)
    return [rows.join(numbers, on=KEY, how="left", maintain_order="left") for rows in parts]


def come_once(parts: list[pl.DataFrame], people: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Of each of the people, by `who`, whether they are new and in one row only: nothing is to be merged."""
    rows = np.bincount(np.concatenate([rows["who"].to_numpy() for rows in parts]), minlength=people.height)
    is_new: npt.NDArray[np.bool_] = people["place"].is_null().to_numpy()
    return is_new & np.equal(rows, 1)


def those(rows: pl.DataFrame, mine: npt.NDArray[np.bool_]) -> pl.DataFrame:
    """Some of the rows; mostly these are all."""
    return rows if mine.all() else rows.filter(mine)


def slices(stored: pl.DataFrame, kept: pl.Series) -> dict[int, list[pl.DataFrame]]:
    """The rows of each bucket that are kept."""
    found: dict[int, list[pl.DataFrame]] = {}
    start = 0
    for bucket, count in zip(*stored["bucket"].rle().struct.unnest().select("value", "len").get_columns(), strict=True):
        found.setdefault(bucket, []).append(stored.slice(start, count).filter(kept.slice(start, count)))
        start += count
    return found


def split(bucket: int, rows: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """The bucket's rows, in as many buckets as they need now."""
    factor = factor_for(rows.height, BUCKET_ROWS_MAX) if bucket > 0 else 1
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
