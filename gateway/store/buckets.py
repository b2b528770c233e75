"""Buckets: how the identities of a table are spread over its files, and how a bucket that has grown is split.

A bucket is a leaf of a tree. Its number is N + crc32("namespace identity") modulo N, with N a power of two: 1 is the
whole table, 2 and 3 its halves, 4 to 7 its quarters. So the number alone says what a file holds, files of several N
can stand side by side, and a bucket is split when it is written anyway: growth never rewrites what was not touched.

A negative number is no part of the tree: a recent file, with identities that came last, of any hash. Each identity is
in one row of one file, be it a recent one or its leaf.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import count
from zlib import crc32

import polars as pl

# More rows than this, and a bucket is written as two. Small ones make a small job cheap, since it rewrites
# each bucket that it touches; large ones make fewer files.
BUCKET_ROWS_MAX = 6_000


def hashes(frame: pl.DataFrame) -> pl.Series:
    """crc32 of "namespace identity" of each row: any language has it, and no release of a library changes it."""
    keys = frame.select(pl.concat_str("namespace", pl.lit(" "), "identity")).to_series()
    return pl.Series("hash", list(map(crc32, keys.cast(pl.Binary).to_list())), dtype=pl.UInt32)


def size_of(bucket: int) -> int:
    """N of a bucket's number."""
    return 1 << (bucket.bit_length() - 1)


def parent(bucket: int) -> int:
    """The bucket of which this one is a half."""
    half = size_of(bucket) // 2
    return half + (bucket - 2 * half) % half


def children(bucket: int, factor: int) -> list[int]:
    """The buckets that together hold what this one holds, `factor` of them (a power of two)."""
    size = size_of(bucket)
    return [factor * size + bucket - size + at * size for at in range(factor)]


def free(buckets: Collection[int]) -> Iterator[int]:
    """Numbers for further recent files: the greatest that none of these has, so that they are used again."""
    return (-number for number in count(1) if -number not in buckets)


def factor_for(rows: int, rows_max: int) -> int:
    """Into how many a bucket of so many rows is split: a power of two, 1 to leave it whole."""
    factor = 1
    while rows > rows_max * factor:
        factor *= 2
    return factor


def ancestors(buckets: Iterable[int]) -> set[int]:
    """All buckets that were split to give these."""
    found: set[int] = set()
    for bucket in buckets:
        while bucket > 1 and (bucket := parent(bucket)) not in found:
            found.add(bucket)
    return found


def bucket_of(hashed: pl.Series, buckets: Collection[int]) -> pl.Series:
    """The bucket of each hash in a table that has these; one that nobody was in yet has no file, and is found too."""
    split = ancestors(buckets)
    size, choices = 1, []
    value = pl.col("hash").cast(pl.Int64)
    while True:
        node = (size + value % size).cast(pl.Int32)
        level = [bucket for bucket in split if size <= bucket < 2 * size]
        if not level:
            break
        choices.append(pl.when(~node.is_in(level)).then(node))
        size *= 2
    return hashed.to_frame("hash").select(pl.coalesce(*choices, node).alias("bucket")).to_series()
