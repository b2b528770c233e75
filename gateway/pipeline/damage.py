"""Damage that spreadsheets and wrong encodings do to files: found by what it leaves behind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from gateway.contracts import Contract
from gateway.contracts.value_types import FEW
from gateway.pipeline import few
from gateway.pipeline.findings import Check
from gateway.pipeline.problems import Problems
from gateway.pipeline.rows import LINE, ROW
from gateway.pipeline.traces import SPREADSHEET_ERRORS

MOJIBAKE_VALUE = r"Ã[\u0080-\u00bf]|Â[\u00a0-\u00bf]|â€[\u0080-\u009f\u2018-\u201f\u2122\u0153¦¢]"
SCIENTIFIC = r"^[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]{1,3}$"
DIGITS_MAX = 18

# Lost zeros are guessed at only from enough ids, of one width but for a few, that are no running numbers.
IDS_MIN = 20
WIDTH_MIN = 5
SHORTER_SHARE_MAX = 0.25
DENSITY_MAX = 0.1


def checks(frame: pl.DataFrame, contract: Contract, found: frozenset[str]) -> Iterator[Check]:
    """A warning for each column that shows a kind of damage."""
    names = [name for name in frame.columns if not name.startswith("\x1f")]
    for name in names:
        text = pl.col(name)
        if "spreadsheet_error" in found:
            yield warning(
                name, "spreadsheet_error", text.is_in(list(SPREADSHEET_ERRORS)), "an error value of a spreadsheet"
            )
        if "mojibake" in found:
            yield warning(name, "mojibake", text.str.contains(MOJIBAKE_VALUE), "letters that a wrong encoding garbled")
        if "nul_escape" in found:
            yield warning(name, "nul_escape", text.str.contains(r"\x00|\\u0000"), "a NUL character (\\u0000)")
    for name in identifiers(names, contract):
        if not few.may_match(frame[name], re.compile(SCIENTIFIC)):
            continue
        told = "an id in scientific notation, its last digits are lost"
        yield warning(name, "scientific_id", pl.col(name).str.contains(SCIENTIFIC), told)


def warning(column: str, code: str, damaged: pl.Expr, what: str) -> Check:
    told = f"{column}: {what}"
    return Check(column, code, damaged.fill_null(False), told, "warning", told_once=True, value_in=column)


def identifiers(names: list[str], contract: Contract) -> list[str]:
    """Columns that hold ids: those of the contract, and others that are named so."""
    declared = contract.by_name
    named = [name for name in names if name not in declared and name.lower().endswith(("id", "identity", "phone"))]
    return [name for name in contract.identity if name in names] + named


@dataclass(slots=True)
class IdWidths:
    """How wide the all-digit ids of a column are, over all chunks of a drop."""

    widths: Counter[int] = field(default_factory=Counter)
    leading_zeros: int = 0
    largest: int = 0
    first: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, frame: pl.DataFrame, name: str) -> None:
        if frame[name].null_count() == frame.height:
            return
        if frame.height <= FEW:
            self.add_few(frame, name)
            return
        is_number = frame[name].str.contains(rf"^[0-9]{{1,{DIGITS_MAX}}}$")
        if not is_number.any():
            return
        digits = frame.select(ROW, LINE, pl.col(name).alias("id")).filter(is_number)
        self.leading_zeros += int(digits["id"].str.starts_with("0").sum())
        self.largest = max(self.largest, digits.select(pl.col("id").cast(pl.Int64).max()).item())
        by_width = digits.group_by(pl.col("id").str.len_bytes().alias("width"), maintain_order=True).agg(
            pl.len().alias("count"), pl.col(ROW).first(), pl.col(LINE).first()
        )
        for width, count, first_row, first_line in by_width.iter_rows():
            self.widths[width] += count
            self.first.setdefault(width, (first_row, first_line))

    def add_few(self, frame: pl.DataFrame, name: str) -> None:
        """As `add`, one after the other."""
        for at, text in enumerate(frame[name].to_list()):
            if text is not None and (width := len(text)) <= DIGITS_MAX and text.isdecimal() and text.isascii():
                self.leading_zeros += text.startswith("0")
                self.largest = max(self.largest, int(text))
                self.widths[width] += 1
                if width not in self.first:
                    self.first[width] = (frame[ROW][at], frame[LINE][at])

    def merge(self, following: IdWidths) -> None:
        self.widths += following.widths
        self.leading_zeros += following.leading_zeros
        self.largest = max(self.largest, following.largest)
        self.first = following.first | self.first

    def tell(self, name: str, problems: Problems) -> None:
        """Warn where a few ids are shorter than all others, and none begins with a zero."""
        count = self.widths.total()
        width = max(self.widths, default=0)
        shorter = count - self.widths[width]
        sparse = count < DENSITY_MAX * self.largest
        if count < IDS_MIN or width < WIDTH_MIN or self.leading_zeros or not sparse:
            return
        if 0 < shorter <= SHORTER_SHARE_MAX * count:
            row, line = min(place for at, place in self.first.items() if at != width)
            message = f"{name}: shorter than the {width} digits of the others, as if leading zeros were lost"
            problems.summarise("lost_leading_zeros", name, "warning", message, shorter, row, line)


@dataclass(slots=True)
class IdTallies:
    """The widths of all identity columns of a drop."""

    of: dict[str, IdWidths] = field(default_factory=dict)

    def add(self, frame: pl.DataFrame, contract: Contract) -> None:
        for name in contract.identity:
            self.of.setdefault(name, IdWidths()).add(frame, name)

    def merge(self, following: IdTallies) -> None:
        for name, widths in following.of.items():
            self.of.setdefault(name, IdWidths()).merge(widths)

    def tell(self, problems: Problems) -> None:
        for name, widths in self.of.items():
            widths.tell(name, problems)
