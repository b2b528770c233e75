"""The merge of profiles: of each attribute the newest value stays, whatever came first (C2, C3, C9, C10, B3-B5).

Newest is the greater of (time, job, row); job ids sort by age. An absent attribute keeps what is stored. A null blanks
it and keeps its own time, so that an older value does not come back. An equal value with a newer time moves the time on
(else the order of arrival would matter) but changes nothing that anybody sees: it counts as unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from gateway.store.entries import brought_entries, enumeration, stored_entries
from gateway.store.shapes import ATTRIBUTES, PAIRS

NEWEST = ["time", "job", "row"]


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of some identities.

    rows: who, attributes, created, updated, created_by, updated_by of those whose row is another now.
    entries: each attribute of each update and of the stored row, sorted by who, key, time, job, row.
    outcomes: who, at, created, changed, blanked for each identity of each job.
    changed: at, key of the attributes of which the job replaced, or blanked, a value that somebody had before it.
    """

    rows: pl.DataFrame
    entries: pl.DataFrame
    outcomes: pl.DataFrame
    changed: pl.DataFrame


def merge(stored: pl.DataFrame, parts: list[pl.DataFrame], jobs: pl.DataFrame) -> Merged:
    """Rows of jobs (who, at, time, row and attributes) into the `stored` ones (who, and their columns).

    `parts` are rows of the same columns each. `who` is a number for an identity, `at` the job's place in the commit;
    `jobs` has at, job and as_of of each.
    """
    entries = sorted_entries(stored, parts, jobs)
    steps = steps_of(entries)
    outcomes = outcomes_of(steps, pl.concat(rows.select("who", "at") for rows in parts), stored)
    replaced = steps.filter(pl.col("at") >= 0, pl.col("had").is_not_null(), pl.col("value").ne_missing(pl.col("had")))
    changed = replaced.select("at", "key").unique()
    return Merged(rebuilt(entries, steps, outcomes, stored, jobs), entries, outcomes, changed)


def sorted_entries(stored: pl.DataFrame, parts: list[pl.DataFrame], jobs: pl.DataFrame) -> pl.DataFrame:
    """who, at (-1: stored), key, value, time, job, row: one a value; key and job as enumerations that sort as text."""
    found = [stored_entries(stored)]
    names = enumeration(found[0]["job"], jobs["job"])
    job = jobs.select("at", pl.col("job").cast(names))
    for rows in parts:
        found += brought_entries(rows.join(job, on="at", how="left").sort("who", *NEWEST))
    keys = enumeration(*(entries["key"].unique().cast(pl.String) for entries in found))
    return by_age(pl.concat([entries.cast({"key": keys, "job": names}) for entries in found]))


def by_age(entries: pl.DataFrame) -> pl.DataFrame:
    """Sorted by who, key, time, job, row. They come in runs that mostly are so; numpy's stable sort makes use of it."""
    number = entries.select(pl.col("who").cast(pl.Int64) * (1 << 32) + pl.col("key").to_physical()).to_series()
    entries = entries[np.argsort(number.to_numpy(), kind="stable")]
    age = [pl.col("time"), pl.col("job").to_physical(), pl.col("row")]
    younger, same = pl.lit(value=False), pl.lit(value=True)
    for one in age:
        younger |= same & (one < one.shift(1))
        same &= one == one.shift(1)
    if entries.select((younger & ~starts("who", "key")).any()).item():
        return entries.sort("who", "key", *NEWEST)
    return entries


def starts(*columns: str) -> pl.Expr:
    """Where these differ from the row before."""
    return pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in columns).fill_null(value=True)


def steps_of(entries: pl.DataFrame) -> pl.DataFrame:
    """who, key, at, after, value, before, had: which entry (by its place) holds after a job with one, and before it.

    Entries are sorted by age within each attribute, so the winner after a job is the greatest place up to it.
    """
    order = entries.select("who", "key", "at").with_row_index("place")
    # Mostly jobs are committed in the order of their times, and nothing is to be moved.
    if order.select(((pl.col("at") < pl.col("at").shift(1)) & ~starts("who", "key")).any()).item():
        order = order.sort("who", "key", "at", "place")
    order = order.with_columns(after=pl.col("place").cum_max())
    ends = pl.any_horizontal(pl.col(name) != pl.col(name).shift(-1) for name in ("who", "key", "at"))
    order = order.filter(ends.fill_null(value=True))
    before = pl.when(~starts("who", "key")).then(pl.col("after").shift(1))
    order = order.select("who", "key", "at", "after", before.alias("before"))
    values = entries["value"]
    return order.with_columns(values.gather(order["after"]), had=values.gather(order["before"]))


def outcomes_of(steps: pl.DataFrame, rows: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """who, at, created, changed, blanked: for each job and each identity that it has."""
    value, had = pl.col("value"), pl.col("had")
    changes = (
        steps.lazy()
        .filter(pl.col("at") >= 0, pl.col("value").ne_missing(pl.col("had")))
        .group_by("who", "at")
        .agg(blanked=(had.is_not_null() & value.is_null()).sum().cast(pl.Int64), changed=pl.lit(value=True))
    )
    new = ~pl.col("who").is_in(stored["who"].implode())
    return (
        rows.lazy()
        .select("who", "at")
        .unique()
        .sort("who", "at")
        .with_columns(created=new & starts("who"))
        .join(changes, on=["who", "at"], how="left", maintain_order="left")
        .with_columns(pl.col("changed").fill_null(value=False), pl.col("blanked").fill_null(0))
        .collect()
    )


def rebuilt(
    entries: pl.DataFrame, steps: pl.DataFrame, outcomes: pl.DataFrame, stored: pl.DataFrame, jobs: pl.DataFrame
) -> pl.DataFrame:
    """The rows of the identities that are new, or of which an attribute has another value or time now."""
    last = pl.any_horizontal(pl.col(name) != pl.col(name).shift(-1) for name in ("who", "key")).fill_null(value=True)
    winners = entries[steps.filter(last)["after"]]
    moved = pl.concat([winners.filter(pl.col("at") >= 0)["who"], outcomes.filter("created")["who"]]).unique()
    winners = winners.filter(pl.col("who").is_in(moved.implode()))
    value = pl.struct("value", "time", pl.col("job").cast(pl.String), "row")
    attributes = (
        winners.select("who", pair=pl.struct(pl.col("key").cast(pl.String), value.alias("value")))
        .set_sorted("who")
        .group_by("who", maintain_order=True)
        .agg(attributes="pair")
    )
    return (
        moved.sort()
        .to_frame()
        .join(attributes, on="who", how="left")
        .with_columns(pl.col("attributes").fill_null([]).cast(PAIRS).cast(ATTRIBUTES))
        .join(origins(outcomes, stored, jobs), on="who", how="left")
    )


def origins(outcomes: pl.DataFrame, stored: pl.DataFrame, jobs: pl.DataFrame) -> pl.DataFrame:
    """who, created, updated, created_by, updated_by: of the first job that had it and the last that changed it."""
    told = outcomes.filter(pl.col("created") | pl.col("changed")).join(jobs, on="at", how="left").sort("who", "at")
    last = told.group_by("who").agg(new_update=pl.col("as_of").last(), new_by=pl.col("job").last())
    first = told.filter("created").select("who", new="as_of", new_job="job")
    old = stored.select("who", "created", "updated", "created_by", "updated_by")
    return (
        outcomes.select("who")
        .unique()
        .join(old, on="who", how="left")
        .join(first, on="who", how="left")
        .join(last, on="who", how="left")
        .select(
            "who",
            created=pl.coalesce("created", "new"),
            updated=pl.coalesce("new_update", "updated"),
            created_by=pl.coalesce("created_by", "new_job"),
            updated_by=pl.coalesce("new_by", "updated_by"),
        )
    )
