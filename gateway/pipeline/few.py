"""Few rows: to share their expressions among threads, or to have any at all, takes longer than what they do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from gateway.contracts.value_types import FEW

NULL = pl.Series([None], dtype=pl.String)


def select(frame: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    return frame.select_seq(expressions) if frame.height <= FEW else frame.select(expressions)


def with_columns(frame: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    return frame.with_columns_seq(expressions) if frame.height <= FEW else frame.with_columns(expressions)


def with_nulls(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """With further columns of text in which there is none."""
    if frame.height > FEW:
        return frame.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in names)
    nulls = NULL.new_from_index(0, frame.height)
    return frame.hstack([nulls.alias(name) for name in names])


def values(column: pl.Series) -> list[Any]:
    """Those that are not null."""
    return [value for value in column.to_list() if value is not None]


def may_match(texts: pl.Series, pattern: re.Pattern[str]) -> bool:
    """Whether one of the texts matches at its beginning; of many this is not known, and may be."""
    return len(texts) > FEW or any(map(pattern.match, values(texts)))


def may_hold(texts: pl.Series, pattern: re.Pattern[str]) -> bool:
    """As `may_match`, anywhere in a text."""
    return len(texts) > FEW or any(map(pattern.search, values(texts)))


def all_match(texts: pl.Series, pattern: re.Pattern[str]) -> bool:
    """Whether all of the texts match as a whole; of many this is not known, and may not be."""
    return len(texts) <= FEW and all(map(pattern.fullmatch, values(texts)))
