"""Expressions over few rows, one after the other: to share them among threads takes longer than they do."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gateway.contracts.value_types import FEW


def select(frame: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    return frame.select_seq(expressions) if frame.height <= FEW else frame.select(expressions)


def with_columns(frame: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    return frame.with_columns_seq(expressions) if frame.height <= FEW else frame.with_columns(expressions)
