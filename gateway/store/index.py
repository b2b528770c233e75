"""The index of a table: of each of its files, fingerprints of the identities in it, in memory and in order.

By it a job that brings a few people finds the files that they are in, if they are stored, without a look into any. Of a
file the identities are read once, when somebody asks for some that could be in it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl
from deltalake.transaction import AddAction

from gateway.store.buckets import bucket_of, hashes
from gateway.store.contribution import KEY
from gateway.store.table import Table

Prints = npt.NDArray[np.uint64]

# Of a table with more rows than this (128 MB) the fingerprints are not kept: they are read each time.
ROWS_MAX = 16_000_000
# So many rows are read at once.
BATCH_ROWS = 1_000_000


class Index:
    """Of one table. A fingerprint has 64 bits, with a seed that is new in each process.

    By chance one unknown identity in 10^12 has the same as a stored one: its events then count as those of somebody
    known. Nothing else comes of it, since whatever is changed is read.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._seed = secrets.randbits(63)
        self._kept: dict[str, Prints] = {}
        self._files: tuple[int, pl.DataFrame] | None = None

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return sum(prints.nbytes for prints in self._kept.values())

    @property
    def files(self) -> pl.DataFrame:
        """path, bucket, rows, bytes of the files of the table as it is now."""
        if self._files is None or self._files[0] != self.table.version:
            bucket = pl.col("partition").cast(pl.Int32).alias("bucket")
            files = self.table.files().select("path", bucket, "rows", "bytes")
            there = set(files["path"])
            self._kept = {path: prints for path, prints in self._kept.items() if path in there}
            self._files = self.table.version, files
        return self._files[1]

    def files_with(self, people: pl.DataFrame) -> pl.DataFrame:
        """Those of the files in which any of the people (namespace, identity, hash) may be."""
        files = self.files
        if not files.height:
            return files
        found, _ = self._found(files, people)
        return files.filter(pl.col("path").is_in(found)) if found else files.clear()

    def unknown(self, people: pl.DataFrame) -> pl.DataFrame:
        """Those of the people (namespace, identity) who are in no file."""
        files = self.files
        if not people.height or not files.height:
            return people
        _, is_known = self._found(files, people.with_columns(hashes(people)))
        return people.filter(~is_known)

    def write(self, rows: pl.DataFrame, bucket: int, sequence: int) -> AddAction:
        """A file of these rows, as `Table.write` makes it."""
        written = self.table.write(rows, str(bucket), sequence)
        if is_kept(self.files):
            self._kept[written.path] = np.sort(self._prints(rows))
        return written

    def _found(self, files: pl.DataFrame, people: pl.DataFrame) -> tuple[list[str], npt.NDArray[np.bool_]]:
        """The paths of the files that have any of the people, and whether each of the people is in one."""
        bucket = pl.col("bucket")
        homes = homes_of(people, files.filter(bucket > 0)["bucket"].to_list())
        asked = files.filter((bucket < 0) | bucket.is_in(list(homes)))
        if any(path not in self._kept for path in asked["path"]):
            self._read(asked)
        prints, everybody = self._prints(people), np.arange(people.height)
        is_known = np.zeros(people.height, dtype=bool)
        paths = []
        for path, number in asked.select("path", "bucket").iter_rows():
            places = homes.get(number, everybody)
            has = is_in(self._kept[path], prints[places])
            if has.any():
                paths.append(path)
                is_known[places[has]] = True
        if not is_kept(files):
            self._kept = {}
        return paths, is_known

    def _read(self, files: pl.DataFrame) -> None:
        """The identities of those files that have not been read yet."""
        for some in batches(files.filter(~pl.col("path").is_in(list(self._kept)))):
            with self.table.place.reached("read"):
                keys = self.table.scan(some["path"], KEY).collect()
            parts = np.split(self._prints(keys), np.cumsum(some["rows"].to_numpy())[:-1])
            self._kept |= {path: np.sort(part) for path, part in zip(some["path"], parts, strict=True)}

    def _prints(self, people: pl.DataFrame) -> Prints:
        keys = people.select(pl.concat_str("namespace", pl.lit(" "), "identity").hash(self._seed))
        return keys.to_series().to_numpy()


def is_kept(files: pl.DataFrame) -> bool:
    """Whether their fingerprints are kept."""
    return int(files["rows"].sum()) <= ROWS_MAX


def homes_of(people: pl.DataFrame, leaves: list[int]) -> dict[int, npt.NDArray[np.intp]]:
    """The places of the people that belong to each leaf."""
    if not leaves:
        return {}
    homes = bucket_of(people["hash"], leaves).to_numpy()
    order = np.argsort(homes, kind="stable")
    found, starts = np.unique(homes[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


def batches(files: pl.DataFrame) -> Iterable[pl.DataFrame]:
    """The files, so many at a time that their rows fit."""
    number = (files["rows"].cum_sum() // BATCH_ROWS).alias("number")
    return files.with_columns(number).partition_by("number", maintain_order=True, include_key=False)


def is_in(kept: Prints, asked: Prints) -> npt.NDArray[np.bool_]:
    """Whether each that is asked for is among those that are kept, in order."""
    if not len(kept):
        return np.zeros(len(asked), dtype=bool)
    places = np.searchsorted(kept, asked)
    return np.equal(kept[np.minimum(places, len(kept) - 1)], asked)
