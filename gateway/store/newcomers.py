"""Rows of people who are new, and there once in a commit: nothing is to be merged, they are stored as they are.

Most rows of most jobs that bring somebody new are such. What comes of them is what `merge` would make of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from gateway.store.entries import brought_entries
from gateway.store.shapes import ATTRIBUTES, MOMENT, NUMBER, PAIRS, TEXT

NO_ENTRIES = pl.DataFrame(
    schema={
        "who": pl.UInt32, "at": pl.Int32, "time": MOMENT, "job": TEXT, "row": NUMBER, "key": TEXT, "value": TEXT,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Newcomers:
    """rows: who, attributes, created, updated, created_by, updated_by of each, `who` as it was given.

    counts: at, how many are of each job. names: name, at of the attributes that had values, and their first job.
    """

    rows: pl.DataFrame
    counts: pl.DataFrame
    names: pl.DataFrame


def newcomers(rows: pl.DataFrame, jobs: pl.DataFrame) -> Newcomers:
    """`rows` of jobs (who, at, time, row and attributes), `who` ascending and each another one.

    `jobs` has job and as_of of each job, in their order, which `at` counts.
    """
    job, as_of = (jobs[name][rows["at"]] for name in ("job", "as_of"))
    rows = rows.with_columns(job=job)
    entries = entries_of(rows)
    value = pl.struct("value", "time", "job", "row")
    pairs = entries.select("who", pair=pl.struct("key", value.alias("value"))).set_sorted("who")
    held = pairs.group_by("who", maintain_order=True).agg(attributes="pair")
    if held.height < rows.height:
        held = rows[["who"]].join(held, on="who", how="left", maintain_order="left")
        held = held.with_columns(pl.col("attributes").fill_null([]))
    attributes = held["attributes"].cast(PAIRS).cast(ATTRIBUTES)
    made = rows[["who"]].with_columns(attributes, created=as_of, updated=as_of, created_by=job, updated_by=job)
    valued = entries.lazy().filter(pl.col("value").is_not_null())
    names = valued.group_by(pl.col("key").alias("name")).agg(pl.col("at").min()).collect()
    return Newcomers(made, rows["at"].value_counts(), names)


def entries_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The attributes one by one, in the order of the rows and by name within one; the last of a name stays."""
    found = [one.with_columns(pl.col("key").cast(pl.String)) for one in brought_entries(rows)]
    entries = pl.concat(found) if found else NO_ENTRIES
    if "attributes" in rows.columns:
        return entries.unique(["who", "key"], keep="last", maintain_order=True).sort("who", "key")
    return entries
