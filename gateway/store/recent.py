"""Upkeep of the recent files of `profiles` and `companies`: they stay few, and what is in them comes to its place.

Each commit of few rows leaves one, with the people who were new. Small ones are put together; when there is much in
them all of it goes to the buckets, of which each is then rewritten once for many people.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

from gateway.store.buckets import BUCKET_ROWS_MAX, free
from gateway.store.contribution import Brought
from gateway.store.identities import Identities
from gateway.store.index import Index
from gateway.store.table import Change, Table

# With more rows than this, and than one in so many of the table's, or with more bytes, they are put in place: that
# rewrites the table, with all of them in memory.
ROWS_MAX = 50_000
SHARE = 50
BYTES_MAX = 64 << 20
# More than so many that hold less than a tenth of what one may are put together.
SMALL_FILES_MAX = 16
SMALL_ROWS = BUCKET_ROWS_MAX // 10


def tidy(index: Index) -> None:
    """Do what is due, which mostly is nothing. The caller is the only one that writes."""
    found = recent(index)
    rows_max = max(ROWS_MAX, int(index.files["rows"].sum()) // SHARE)
    if found["rows"].sum() > rows_max or found["bytes"].sum() > BYTES_MAX:
        put_in_place(index)
    elif (small := found.filter(pl.col("rows") < SMALL_ROWS)).height > SMALL_FILES_MAX:
        put_together(index, small)


def put_in_place(index: Index) -> int:
    """All recent identities go to their buckets; how many."""
    rows = int(recent(index)["rows"].sum())
    if rows:
        identities = Identities(index, Brought([]), [], last_sequence(index.table), write=True)
        with tempfile.TemporaryDirectory(prefix="store-") as scratch:
            index.table.rewrite(identities.put_in_place(Path(scratch)))
    return rows


def put_together(index: Index, small: pl.DataFrame) -> None:
    """One recent file of these, or a few."""
    table = index.table
    with table.place.reached("read"):
        rows = table.scan(small["path"]).collect()
    change = Change(table.version, replaced=set(small["bucket"].cast(pl.String)))
    stay = set(recent(index)["bucket"]) - set(small["bucket"])
    for number, part in zip(free(stay), rows.iter_slices(BUCKET_ROWS_MAX), strict=False):
        change.added.append(index.write(part, number, last_sequence(table)))
    table.rewrite(change)


def recent(index: Index) -> pl.DataFrame:
    """path, bucket, rows, bytes of its recent files."""
    return index.files.filter(pl.col("bucket") < 0)


def last_sequence(table: Table) -> int:
    """The number of the last commit, by which files are named."""
    return table.last_sequence or 0
