"""Attributes one by one: those of rows that jobs bring, and those of stored rows.

A job's rows have them as pairs, or as a column each: of text, or of JSON text, in which `null` blanks.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from gateway.store.shapes import JSON_OF, PAIRS, TEXT_OF

# What the entries of a row share: `at` is the job's place in the commit, -1 for what is stored.
ROW = ["who", "at", "time", "job", "row"]
ENTRY = [*ROW, "key", "value"]


def is_attribute(column: str) -> bool:
    """Whether a column of a job's rows is an attribute."""
    return column.startswith((TEXT_OF, JSON_OF))


def count_of(rows: pl.DataFrame) -> int:
    """How many attributes a job's rows have."""
    found = sum(rows.height - rows[name].null_count() for name in rows.columns if is_attribute(name))
    return found + (int(rows["attributes"].list.len().sum()) if "attributes" in rows.columns else 0)


def brought_entries(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Each attribute of a job's rows (ROW and attributes) as an ENTRY; a null value blanks. `key` is an enumeration.

    Entries are in the order of the rows, and by key within a row; those of pairs are apart, and as they come.
    """
    found = [of_columns(rows)] if any(map(is_attribute, rows.columns)) else []
    if "attributes" in rows.columns:
        found.append(with_enumeration(exploded(rows.select(*ROW, "attributes")).unnest("attributes")))
    return [entries[ENTRY] for entries in found]


def of_columns(rows: pl.DataFrame) -> pl.DataFrame:
    """The entries of those attributes that are columns."""
    names = sorted(filter(is_attribute, rows.columns), reverse=True)
    keys = [name.removeprefix(TEXT_OF).removeprefix(JSON_OF) for name in names]
    by_key = sorted(range(len(keys)), key=keys.__getitem__)
    row = np.arange(rows.height, dtype=np.uint32)
    quoted = rows.select(
        pl.concat_str(pl.lit('"'), name, pl.lit('"')).alias(name) for name in names if name.startswith(TEXT_OF)
    )
    # The columns one below the other, and from there row by row: far quicker than to sort them.
    below = pl.concat((quoted if name in quoted.columns else rows)[name].alias("value") for name in names)
    across = row[:, None] + np.array(by_key, dtype=np.uint32) * rows.height
    key = pl.Series("key", [keys[at] for at in by_key], dtype=pl.Enum(sorted(set(keys))))
    entries = rows[ROW][np.repeat(row, len(names))].with_columns(
        below[across.reshape(-1)], key[np.tile(np.arange(len(names)), rows.height)]
    )
    return entries.drop_nulls("value").with_columns(pl.when(pl.col("value") != "null").then("value"))


def stored_entries(rows: pl.DataFrame) -> pl.DataFrame:
    """Each attribute of stored rows (who, attributes) as an ENTRY."""
    held = pl.col("value").struct
    fields = [held.field(name) for name in ("time", "job", "row", "value")]
    pairs = exploded(rows.select("who", pl.col("attributes").cast(PAIRS))).unnest("attributes")
    return with_enumeration(pairs.select("who", "key", *fields, at=pl.lit(-1, pl.Int32))).select(ENTRY)


def exploded(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each pair; none for a row without any."""
    return rows.filter(pl.col("attributes").list.len() > 0).explode("attributes")


def with_enumeration(entries: pl.DataFrame) -> pl.DataFrame:
    return entries.with_columns(pl.col("key").cast(enumeration(entries["key"])))


def enumeration(*texts: pl.Series) -> pl.Enum:
    """Texts as numbers that sort as the texts do."""
    return pl.Enum(pl.concat([series.unique() for series in texts]).drop_nulls().unique().sort())
