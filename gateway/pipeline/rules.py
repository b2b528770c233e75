"""The rules of a contract as expressions and checks, made once and kept while the contract is in use."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import polars as pl

from gateway.contracts import Contract, value_types
from gateway.contracts.model import Column, Conditions
from gateway.pipeline.findings import Check
from gateway.pipeline.time_columns import RAW, TimeColumn, time_columns

# More contracts and headers with dates than most gateways ever have in use.
RULES_KEPT = 256
# See `Check.all_fit`.
AllFit = Callable[[list[Any]], bool]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the rules depend on: a contract, which its digest tells apart; dates and zone as in `Terms`."""

    sha256: str
    dates: tuple[tuple[str, str], ...]
    zone: str
    contract: Contract = field(compare=False)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules about rows of one contract.

    presence: checks of values that must be there. times: the columns that hold times. forms: the normal form of each
    column that has one, from its RAW text. normal: by column, what is in normal form already (see `TypeRule`). checks:
    of values in normal form, in the order of the columns. columns: the names that checks speak of.
    """

    presence: tuple[Check, ...]
    times: tuple[TimeColumn, ...]
    forms: Mapping[str, pl.Expr]
    normal: Mapping[str, re.Pattern[str]]
    checks: tuple[Check, ...]
    columns: tuple[str, ...]


@lru_cache(maxsize=RULES_KEPT)
def rules_of(asked: Asked) -> Rules:
    """The rules; a worker that has had the contract before has them ready."""
    columns = asked.contract.columns
    of_columns = {column.name: column_rules(column) for column in columns}
    times = time_columns(asked.contract, asked.dates, asked.zone)
    forms = {name: form for name, (form, _) in of_columns.items() if form is not None}
    rules = {column.name: value_types.rule_for(column) for column in columns}
    checks = [check for _, found in of_columns.values() for check in found]
    return Rules(
        tuple(presence_checks(asked.contract)),
        tuple(times),
        forms | {time.name: time.form for time in times},
        {name: rule.normal for name, rule in rules.items() if rule and rule.normal},
        tuple(checks + [check for time in times for check in time.checks()]),
        tuple(dict.fromkeys([*of_columns, *(time.name for time in times)])),
    )


def presence_checks(contract: Contract) -> Iterator[Check]:
    """Values that must be there: always, under conditions, or one of several (U52 to U77, C28, C29)."""
    for column in contract.columns:
        if column.required:
            yield Check(
                column.name, "missing_required", pl.col(column.name).is_null(), f"{column.name}: required, but blank",
                null_in=column.name,
            )  # fmt: skip
    sources = {column.name: column.derive.source for column in contract.columns if column.derive}
    for requirement in contract.requirements:
        for name in requirement.columns:
            blank = all_hold(requirement.when) & pl.col(name).is_null()
            if name in sources:
                # A source that does not parse is a problem of its own, told once.
                blank &= pl.col(sources[name]).is_null() | (sources[name] in requirement.columns)
            why = " and ".join(f"{key} is {either(values)}" for key, values in requirement.when.items())
            yield Check(name, "missing_required", blank, f"{name}: required when {why}, but blank", null_in=name)
    for group in contract.one_of:
        blank = pl.all_horizontal(pl.col(name).is_null() for name in group.columns)
        yield Check(
            group.columns[0], "missing_identity", blank, f"{either(group.columns)}: one is required, all are blank",
            null_in=group.columns[0],
        )  # fmt: skip


@lru_cache(maxsize=RULES_KEPT)
def is_one_of(name: str, values: tuple[str, ...]) -> pl.Expr:
    return pl.col(name).is_in(list(values)).fill_null(False)


def all_hold(conditions: Conditions) -> pl.Expr:
    """True in the rows where every condition holds."""
    holds = [is_one_of(name, tuple(values)) for name, values in conditions.items()]
    return pl.all_horizontal(holds) if holds else pl.lit(True)


def either(values: tuple[str, ...]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


def column_rules(column: Column) -> tuple[pl.Expr | None, list[Check]]:
    """The normal form of a column, from its RAW text, where its type has one; and the checks of it."""
    raw, value = pl.col(RAW + column.name), pl.col(column.name)
    rule = value_types.rule_for(column)
    form = rule.normalise(raw) if rule else None
    # Of a rule of the type only a value that is lost can tell, of all others only one that is there.
    lost, there = (column.name, RAW + column.name), ("", column.name)
    judged: list[tuple[str, pl.Expr, str, AllFit | None, tuple[str, str]]] = []
    if rule:
        broken = raw.is_not_null() & value.is_null()
        judged.append((rule.code, broken, f'expected {rule.expected}, found "{{value}}"', None, lost))
    judged += [(*judgement, there) for judgement in value_rules(column, value)]
    drops = column.on_invalid == "drop_value"
    note = "; the value was dropped" if drops else ""
    checks = [
        Check(
            column.name, column.code or code, broken, f"{column.name}: {message}{note}",
            "warning" if drops else "error",
            hint=column.hint or "", drops_value=drops, choices=column.allowed, null_in=null_in, value_in=value_in,
            all_fit=all_fit,
        )
        for code, broken, message, all_fit, (null_in, value_in) in judged
    ]  # fmt: skip
    return form, checks


def value_rules(column: Column, value: pl.Expr) -> Iterator[tuple[str, pl.Expr, str, AllFit | None]]:
    """Code, where it is broken, message and `all_fit` of each rule about a value in normal form. Null values pass."""
    given = value.is_not_null()
    if column.allowed:
        fits = value.is_in(list(column.allowed))
        told = f'expected one of {", ".join(column.allowed)}; found "{{value}}"'
        yield "not_allowed", given & ~fits, told, frozenset(column.allowed).issuperset
    if column.placeholders:
        placeholders = [placeholder.lower() for placeholder in column.placeholders]
        placeholder = value.str.strip_chars().str.to_lowercase().is_in(placeholders)
        told = '"{value}" is a placeholder, not a person'
        yield "placeholder_identity", given & placeholder, told, partial(none_is_in, frozenset(placeholders))
    if column.pattern is not None:
        told = f'expected a match of {column.pattern}, found "{{value}}"'
        yield "pattern_mismatch", given & ~value.str.contains(column.pattern), told, None
    if column.min is not None or column.max is not None:
        number = value.cast(pl.Float64, strict=False)
        low = number >= column.min if column.min is not None else pl.lit(True)
        high = number <= column.max if column.max is not None else pl.lit(True)
        code = "not_non_negative_integer" if column.min == 0 and column.max is None else "out_of_range"
        expected = "a non-negative integer" if code != "out_of_range" else range_words(column.min, column.max)
        told = f'expected {expected}, found "{{value}}"'
        yield code, given & ~(low & high).fill_null(False), told, partial(all_within, column.min, column.max)
    if column.length_min is not None:
        short, shortest = value.str.len_chars() < column.length_min, column.length_min
        told = f'expected {shortest} characters or more, found "{{value}}"'
        yield "too_short", given & short, told, lambda texts: min(map(len, texts)) >= shortest
    if column.length_max is not None:
        long, longest = value.str.len_chars() > column.length_max, column.length_max
        told = f'expected {longest} characters at most, found "{{value}}"'
        yield "too_long", given & long, told, lambda texts: max(map(len, texts)) <= longest


def none_is_in(placeholders: frozenset[str], texts: list[str]) -> bool:
    return placeholders.isdisjoint(text.strip().lower() for text in texts)


def all_within(low: float | None, high: float | None, texts: list[str]) -> bool:
    """True where all are numbers from `low` to `high`; polars tells what a number is."""
    numbers = pl.Series(texts).cast(pl.Float64, strict=False).to_list()
    least, greatest = -math.inf if low is None else low, math.inf if high is None else high
    return all(number is not None and least <= number <= greatest for number in numbers)


def range_words(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"{high:g} at most" if low is None else f"{low:g} or more"
    return f"{low:g} to {high:g}"
