"""Shrinking properties: identify records that lack, or blank, what an earlier one of their identity had (U109-U119).

Records are taken in the order of their times, and what is stored counts as a record of its own time, so that it works
across files. Each identify record should carry all properties; the merge keeps what is missing all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from gateway.store.facts import ROWS_NAMED_MAX
from gateway.store.merge import NEWEST, starts

RECORD = ["who", "at", "row"]


@dataclass(frozen=True, slots=True)
class Shrinking:
    """counts: at, count. rows: at, row, names of the first of them in each job."""

    counts: pl.DataFrame
    rows: pl.DataFrame


def shrinking(entries: pl.DataFrame, rows: pl.DataFrame, jobs: pl.DataFrame) -> Shrinking:
    """Of the `rows` (who, at, time, row) that are identify records, against all `entries` (see merge.Merged)."""
    job = jobs.select("at", pl.col("job").cast(entries.schema["job"]))
    records = rows.select("who", "at", "time", "row").join(job, on="at", how="left")
    first = entries.with_columns(first=starts("who", "key"))
    line = time_line(first, records)
    seen = line.filter(pl.col("key").is_not_null()).select("who", "key", seen_at="place")
    again = first.filter(~pl.col("first"), pl.col("at") >= 0).group_by(RECORD).len("kept")
    blanks = first.filter(
        ~pl.col("first"), pl.col("at") >= 0, pl.col("value").is_null(), pl.col("value").shift(1).is_not_null()
    ).select(*RECORD, "key")  # fmt: skip
    blanked = blanks.group_by(RECORD).len("blanks")
    flagged = (
        line.filter(pl.col("key").is_null())
        .join(again, on=RECORD, how="left")
        .join(blanked, on=RECORD, how="left")
        .filter((pl.col("before") > pl.col("kept").fill_null(0)) | pl.col("blanks").is_not_null())
    )
    named = flagged.sort("at", "row").filter(pl.int_range(pl.len()).over("at") < ROWS_NAMED_MAX)
    lacking = (
        named.select(*RECORD, "place")
        .join(seen, on="who")
        .filter(pl.col("seen_at") < pl.col("place"))
        .join(entries.select(*RECORD, "key"), on=[*RECORD, "key"], how="anti")
        .select(*RECORD, "key")
    )
    names = pl.concat([lacking, blanks.join(named.select(RECORD), on=RECORD, how="semi")])
    told = names.group_by(RECORD).agg(names=pl.col("key").cast(pl.String).unique().sort())
    return Shrinking(flagged.group_by("at").len("count"), told.select("at", "row", "names"))


def time_line(first: pl.DataFrame, records: pl.DataFrame) -> pl.DataFrame:
    """The records, and the first sight of each property (`key`; null for a record), in order of time by identity.

    `before` is how many properties of the identity were seen before; `place` numbers the lines.
    """
    sights = first.filter("first").select("who", *NEWEST, "at", "key")
    marks = records.select("who", *NEWEST, "at", pl.lit(None, sights.schema["key"]).alias("key"))
    # A record comes before the first sights that are its own: they were not seen before it.
    line = pl.concat([sights, marks]).sort("who", *NEWEST, "key", nulls_last=False)
    is_sight = pl.col("key").is_not_null()
    seen = is_sight.cast(pl.Int64).cum_sum()
    line = line.with_row_index("place").with_columns(seen=seen)
    base = pl.when(starts("who")).then(pl.col("seen") - is_sight.cast(pl.Int64)).forward_fill()
    return line.with_columns(before=pl.col("seen") - base)
