"""Checks over one chunk of rows: which rows break them, and the problems that this makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl

from gateway.config import did_you_mean
from gateway.contracts.codes import CODES, Level
from gateway.contracts.value_types import FEW
from gateway.pipeline import few
from gateway.pipeline.json_text import JsonFault
from gateway.pipeline.problems import SCHEMA, Problems, shown
from gateway.pipeline.rows import LINE, ROW

DISTINCT_EXPLAINED_MAX = 1000
FALSE = pl.Series([False])
HINTS = {name: code.hint for name, code in CODES.items()}


@dataclass(frozen=True, slots=True)
class Check:
    """One rule over all rows. `broken` (Boolean) is true where it is broken; null never passes.

    `message` may hold `{value}`. A `told_once` check makes one problem for all its rows; `choices` are the
    values that a wrong one may have been meant as; `drops_value` says that the row goes on without the value.
    Where `null_in` is a column, only rows with a null there can break the rule; with `value_in`, only rows with a value
    there. A chunk that has no such row need not be looked at. `all_fit` tells of few values there, sooner than `broken`
    does, that none of them breaks the rule; where it is false one may.
    """

    column: str
    code: str
    broken: pl.Expr
    message: str
    level: Level = "error"
    hint: str = ""
    told_once: bool = False
    drops_value: bool = False
    choices: tuple[str, ...] = ()
    null_in: str = ""
    value_in: str = ""
    all_fit: Callable[[list[Any]], bool] | None = None

    def can_break(self, frame: pl.DataFrame) -> bool:
        """False where no row of the frame can break the rule."""
        if self.null_in and frame[self.null_in].null_count() == 0:
            return False
        if self.value_in and frame[self.value_in].null_count() == frame.height:
            return False
        return self.all_fit is None or frame.height > FEW or not self.all_fit(few.values(frame[self.value_in]))


class Findings:
    """What the checks find in one chunk. `raw` has the values as they came, which problems show."""

    def __init__(self, raw: pl.DataFrame) -> None:
        self.rejected = none_of(raw.height)
        self._raw = raw
        self._found: list[pl.DataFrame] = []
        self._told: list[tuple[Check, int, dict[str, Any]]] = []

    def apply(self, frame: pl.DataFrame, checks: Iterable[Check]) -> list[tuple[Check, pl.Series]]:
        """Judge all rows of `frame` by the checks; returns those that are broken, each with the mask of its rows."""
        listed = [check for check in checks if check.can_break(frame)]
        if not listed:
            return []
        masks = few.select(frame, [check.broken.fill_null(True).alias(str(at)) for at, check in enumerate(listed)])
        broken = []
        for check, mask in zip(listed, masks.iter_columns(), strict=True):
            if len(mask) != frame.height:
                raise AssertionError(f"{check.code}: {len(mask)} judgements of {frame.height} rows")
            if mask.any():
                self._note(check, mask)
                broken.append((check, mask))
        return broken

    def add_faults(self, frame: pl.DataFrame, column: str, faults: dict[int, JsonFault]) -> None:
        """Values of a column that are not the JSON that they should be, by their index."""
        for code in sorted({fault.code for fault in faults.values()}):
            index = [at for at, fault in faults.items() if fault.code == code]
            mask = none_of(frame.height).scatter(index, True)
            self.rejected |= mask
            found = self._problems(Check(column, code, pl.lit(True), f"{column}: {CODES[code].meaning}"), mask)
            why = pl.Series([f"{column}: {faults[at].message}" for at in index], dtype=pl.String)
            self._found.append(found.with_columns(message=why))

    def tell(self, broken: pl.DataFrame, problems: Problems) -> None:
        """Hand everything over; `broken` are the records that are no row: PLACE columns, code, message."""
        found = [of_records(broken)] if broken.height else []
        if found := [*found, *self._found]:
            # Two rules can ask for the same value, which is one thing to fix.
            problems.add(pl.concat(found).unique(["row", "column", "code"], keep="first", maintain_order=True))
        for check, count, first in self._told:
            place = {"row": first["row"], "line": first["line"], "value": first["value"]}
            problems.summarise(check.code, check.column, check.level, check.message, count, **place)

    def _note(self, check: Check, mask: pl.Series) -> None:
        if check.level == "error":
            self.rejected |= mask
        if check.told_once:
            first = self._raw.slice(int(mask.arg_max() or 0), 1).select(row=ROW, line=LINE, value=self._value_of(check))
            self._told.append((check, int(mask.sum()), first.row(0, named=True)))
        else:
            self._found.append(self._problems(check, mask))

    def _value_of(self, check: Check) -> pl.Expr:
        """The value that a problem shows."""
        return shown(pl.col(check.column)) if check.column in self._raw.columns else pl.lit(None, dtype=pl.String)

    def _problems(self, check: Check, mask: pl.Series) -> pl.DataFrame:
        """A frame of problems.SCHEMA with a row for each broken one."""
        rows = self._raw.filter(mask)
        before, found, after = check.message.partition("{value}")
        message = pl.lit(before) + pl.col("value").fill_null("") + pl.lit(after) if found else pl.lit(before)
        hint = check.hint or CODES[check.code].hint
        problems = rows.select(row=ROW, line=LINE, value=self._value_of(check)).with_columns(message=message)
        hints = [hint] * rows.height if not check.choices else near_hints(problems["value"], check.choices, hint)
        return problems.with_columns(
            level=pl.lit(check.level),
            column=pl.lit(check.column),
            code=pl.lit(check.code),
            hint=pl.Series(hints, dtype=pl.String),
        ).select(list(SCHEMA))


def none_of(rows: int) -> pl.Series:
    """A mask that selects none of the rows."""
    return FALSE.new_from_index(0, rows)


def of_records(broken: pl.DataFrame) -> pl.DataFrame:
    """The problems of records that are no row."""
    return broken.select(
        row=ROW, line=LINE, level=pl.lit("error"), column=pl.lit(None, dtype=pl.String), code="code",
        value=pl.lit(None, dtype=pl.String), message="message",
        hint=pl.col("code").replace_strict(HINTS, return_dtype=pl.String),
    )  # fmt: skip


def near_hints(values: pl.Series, choices: tuple[str, ...], hint: str) -> list[str]:
    """The hint for each value, with the choice that was likely meant."""
    distinct = values.unique().head(DISTINCT_EXPLAINED_MAX).to_list()
    near = {value: f"{hint}{did_you_mean(value or '', choices)}".replace(".; did", ". Did") for value in distinct}
    return [near.get(value, hint) for value in values]
