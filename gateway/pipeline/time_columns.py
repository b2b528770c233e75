"""The time columns of a drop: their normal form, what is wrong with their values, and what the report tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import polars as pl

from gateway.contracts import Contract, times
from gateway.contracts.date_formats import DATE_FORMATS, TWIN_FORMATS, UNIX_NAMES
from gateway.pipeline import few
from gateway.pipeline.findings import Check

# The text of a column before it was put into normal form.
RAW = "\x1fraw "
# How times of a contract are written; a header can declare "Unix", whose values stay as they are.
UNIX_SECONDS = "Unix seconds"
WITH_MILLISECONDS = frozenset({UNIX_SECONDS, *UNIX_NAMES})
COUNTED = ("values", "without_zone", "milliseconds", "fits_two_formats", "local_time_twice", "local_time_never")


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """A column that holds times. `format` is ISO 8601, UNIX_SECONDS, or the format that the header declares."""

    name: str
    format: str
    zone: str

    @property
    def text(self) -> pl.Expr:
        return pl.col(RAW + self.name).str.strip_chars()

    @property
    def is_read(self) -> bool:
        """True for the times of the contract, whose normal form is a Datetime."""
        return self.format in ("ISO 8601", UNIX_SECONDS)

    @property
    def is_local(self) -> pl.Expr:
        """True where a value is a wall-clock time of the tenant's zone."""
        if self.format == "ISO 8601":
            return times.has_no_zone(self.text).fill_null(False)
        return pl.lit(self.format in DATE_FORMATS) & self.text.is_not_null()

    def moment(self, zone: str) -> pl.Expr:
        """The time in UTC (Datetime in µs), null where the value is none."""
        if self.format == "ISO 8601":
            return times.parse_iso(self.text, zone)
        return (
            times.parse_unix(self.text)
            if self.format == UNIX_SECONDS
            else times.parse_date(self.text, self.format, zone)
        )

    @property
    def form(self) -> pl.Expr:
        """The normal form: a Datetime for the times of the contract, else the declared format in full."""
        if self.is_read:
            return self.moment(self.zone)
        return pl.when(self.moment(self.zone).is_not_null()).then(times.write_date(self.text, self.format))

    @property
    def never(self) -> pl.Expr:
        """True where the clocks of the zone skipped the local time."""
        if self.zone == "UTC":
            return pl.lit(False)
        return self.is_local & self.moment("UTC").is_not_null() & self.moment(self.zone).is_null()

    @property
    def twice(self) -> pl.Expr:
        """True where the clocks of the zone showed the local time twice."""
        if self.zone == "UTC":
            return pl.lit(False)
        local = pl.when(self.is_local).then(self.moment("UTC"))
        both = [
            local.dt.replace_time_zone(self.zone, ambiguous=which, non_existent="null")
            for which in ("earliest", "latest")
        ]
        return (both[0] != both[1]).fill_null(False)

    @property
    def milliseconds(self) -> pl.Expr:
        if self.format not in WITH_MILLISECONDS:
            return pl.lit(False)
        return self.text.str.contains(times.UNIX_MILLISECONDS).fill_null(False)

    @property
    def fits_two_formats(self) -> pl.Expr:
        """True for a date such as 03/04/2024, which another format reads as another day."""
        other = TWIN_FORMATS.get(self.format)
        if other is None:
            return pl.lit(False)
        meant, twin = times.parse_date(self.text, self.format, "UTC"), times.parse_date(self.text, other, "UTC")
        return (meant != twin).fill_null(False)

    def checks(self) -> Iterator[Check]:
        """What is wrong with values of this column (C36 to C44, U79)."""
        raw, value = pl.col(RAW + self.name), pl.col(self.name)
        code, expected = {
            "ISO 8601": ("bad_time", "an ISO 8601 time"),
            UNIX_SECONDS: ("bad_unix_time", "a Unix time in seconds"),
        }.get(self.format, ("bad_date", f"a date as {self.format}"))
        wrong = raw.is_not_null() & value.is_null()
        # A value that was not read is null; only of one that was given something can be said at all.
        told = f'{self.name}: expected {expected}, found "{{value}}"'
        yield Check(self.name, code, wrong & ~self.never, told, null_in=self.name, value_in=RAW + self.name)
        if self.format in WITH_MILLISECONDS:
            yield Check(
                self.name, "milliseconds", self.milliseconds, f"{self.name}: 13 digits, read as milliseconds",
                "warning", told_once=True, value_in=RAW + self.name,
            )  # fmt: skip
        if self.zone != "UTC":
            skipped = f'{self.name}: "{{value}}" never was in {self.zone}: the clocks were set forward over it'
            yield Check(self.name, "nonexistent_local_time", self.never, skipped, value_in=RAW + self.name)
            doubled = f"{self.name}: a local time that {self.zone} had twice; the earlier one is taken"
            yield Check(
                self.name, "ambiguous_local_time", self.twice, doubled, "warning", told_once=True,
                value_in=RAW + self.name,
            )  # fmt: skip


def time_columns(contract: Contract, dates: tuple[tuple[str, str], ...], zone: str) -> list[TimeColumn]:
    """The time columns of the contract, and those whose header declares a date format."""
    names = {"iso_time": "ISO 8601", "unix_time": UNIX_SECONDS}
    of_contract = [
        TimeColumn(column.name, names[column.type], zone) for column in contract.columns if column.type in names
    ]
    return of_contract + [TimeColumn(name, declared, zone) for name, declared in dates]


@lru_cache(maxsize=256)
def tallied(column: TimeColumn) -> list[pl.Expr]:
    """What is counted of the values of a column."""
    # What is read already need not be read again.
    moment = pl.col(column.name) if column.is_read else column.moment(column.zone)
    counts = {
        "values": moment.is_not_null(),
        "without_zone": moment.is_not_null() & column.is_local,
        "milliseconds": column.milliseconds,
        "fits_two_formats": column.fits_two_formats,
        "local_time_twice": column.twice,
        "local_time_never": column.never,
    }
    return [
        moment.min().alias("first"),
        moment.max().alias("last"),
        *(counted.sum().alias(name) for name, counted in counts.items()),
    ]


@dataclass(slots=True)
class TimeTally:
    """What the values of one time column were, over all chunks of a drop."""

    format: str
    first: datetime | None = None
    last: datetime | None = None
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))

    def add(self, column: TimeColumn, frame: pl.DataFrame) -> None:
        """Count one chunk: a frame with the column's RAW text."""
        seen = few.select(frame, tallied(column)).row(0, named=True)
        self.first = min((at for at in (self.first, seen["first"]) if at), default=None)
        self.last = max((at for at in (self.last, seen["last"]) if at), default=None)
        for name in COUNTED:
            self.counts[name] += int(seen[name] or 0)

    def merge(self, following: TimeTally) -> None:
        self.first = min((at for at in (self.first, following.first) if at), default=None)
        self.last = max((at for at in (self.last, following.last) if at), default=None)
        for name in COUNTED:
            self.counts[name] += following.counts[name]

    def told(self, name: str) -> dict[str, Any]:
        """The column as the report tells it."""
        shown = {
            key: f"{at:%Y-%m-%dT%H:%M:%S.%fZ}" if at else None
            for key, at in (("first", self.first), ("last", self.last))
        }
        return {"column": name, "format": self.format, **shown, **self.counts}


@dataclass(slots=True)
class TimeTallies:
    """The tallies of all time columns of a drop."""

    of: dict[str, TimeTally] = field(default_factory=dict)

    def add(self, columns: Iterable[TimeColumn], frame: pl.DataFrame) -> None:
        for column in columns:
            if frame[RAW + column.name].null_count() < frame.height:
                self.of.setdefault(column.name, TimeTally(column.format)).add(column, frame)

    def merge(self, following: TimeTallies) -> None:
        for name, tally in following.of.items():
            self.of.setdefault(name, TimeTally(tally.format)).merge(tally)

    def told(self) -> list[dict[str, Any]]:
        return [tally.told(name) for name, tally in self.of.items()]
