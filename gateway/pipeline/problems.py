"""Problems: what was found in a drop, each with row, line, column, code, value, message and hint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, get_args

import polars as pl

from gateway.contracts.codes import CODES, Level
from gateway.errors import DropRefused

# The columns of errors.csv (RULES.md section 8). `row` is the record number, `line` the physical line, both 1-based.
SCHEMA = {
    "row": pl.Int64,
    "line": pl.Int64,
    "level": pl.String,
    "column": pl.String,
    "code": pl.String,
    "value": pl.String,
    "message": pl.String,
    "hint": pl.String,
}
NONE = pl.DataFrame(schema=SCHEMA)
VALUE_CHARACTERS_MAX = 200
EXAMPLES_MAX = 5
EXAMPLE = ("row", "line", "value", "message", "hint")
CONTROL = {chr(number): f"\\x{number:02x}" for number in (*range(32), 127)} | {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shown(text: pl.Expr) -> pl.Expr:
    """A value as problems show it: cut at 200 characters, control characters visible."""
    cut = text.str.head(VALUE_CHARACTERS_MAX)
    long = text.str.len_chars() > VALUE_CHARACTERS_MAX
    return pl.when(long).then(cut + "…").otherwise(cut).str.replace_many(CONTROL)


@dataclass(slots=True)
class Summary:
    """Rows that share one remark, told once with their number."""

    level: Level
    message: str
    hint: str
    count: int = 0
    row: int | None = None
    line: int | None = None
    value: str | None = None


@dataclass(slots=True)
class Group:
    """All problems of one code, column and level: how many, and the first few as dicts with the keys of EXAMPLE."""

    code: str
    column: str | None
    level: str
    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Problems:
    """All problems of a drop. Counts are complete; the list stops after `listed_max` of them."""

    listed_max: int
    by_code: Counter[str] = field(default_factory=Counter)
    by_column: Counter[str] = field(default_factory=Counter)
    by_level: Counter[str] = field(default_factory=Counter)
    _groups: dict[tuple[str, str | None, str], Group] = field(default_factory=dict)
    _listed: list[pl.DataFrame] = field(default_factory=list)
    _of_file: list[dict[str, Any]] = field(default_factory=list)
    _summaries: dict[tuple[str, str], Summary] = field(default_factory=dict)
    _room: int = -1

    def __post_init__(self) -> None:
        self._room = self.listed_max

    def add(self, found: pl.DataFrame) -> None:
        """Problems of rows, as a frame of SCHEMA. Chunks come in the order of the file."""
        if found.height == 0:
            return
        first_of_each = pl.struct(EXAMPLE).sort_by("row").head(EXAMPLES_MAX)
        grouped = found.group_by("code", "column", "level", maintain_order=True).agg(pl.len(), first_of_each)
        for code, column, level, count, examples in grouped.iter_rows():
            self._count(code, level, column, count, examples)
        if self._room > 0:
            first = found.sort("row", maintain_order=True).head(self._room)
            self._room -= first.height
            self._listed.append(first)

    def add_of_file(
        self, code: str, message: str, *, hint: str = "", column: str | None = None, **place: Any
    ) -> dict[str, Any]:
        """One problem of the drop as a whole; `place` may have line, value, level. Returns its entry."""
        level: str = place.pop("level", CODES[code].level)
        entry: dict[str, Any] = {"level": level, "column": column, "code": code, "message": message}
        entry["hint"] = hint or CODES[code].hint
        entry = dict.fromkeys(SCHEMA) | entry | place
        self._of_file.append(entry)
        self._count(code, level, column, 1, [entry])
        return entry

    def add_refusal(self, refusal: DropRefused) -> None:
        """The reason why a drop was turned away."""
        self.add_of_file(
            refusal.code, refusal.message, hint=refusal.hint, column=refusal.column, line=refusal.line,
            value=refusal.value,
        )  # fmt: skip

    def summarise(
        self,
        code: str,
        column: str,
        level: Level,
        message: str,
        count: int,
        row: int,
        line: int,
        value: str | None = None,
    ) -> None:
        """Add `count` rows to a remark that is told once; `row`, `line` and `value` are of the first of them."""
        summary = self._summaries.setdefault((code, column), Summary(level, message, CODES[code].hint))
        summary.count += count
        first = []
        if summary.row is None:
            summary.row, summary.line, summary.value = row, line, value
            first = [{"row": row, "line": line, "value": value, "message": message, "hint": summary.hint}]
        self._count(code, level, column, count, first)

    def add_remark(self, code: str, message: str, count: int) -> dict[str, Any]:
        """One remark of the file as a whole about so many of its rows, and counted for each. Returns its entry."""
        level, hint = CODES[code].level, CODES[code].hint
        entry = dict.fromkeys(SCHEMA) | {"level": level, "code": code, "message": message, "hint": hint}
        self._of_file.append(entry)
        self._count(code, level, None, count, [entry])
        return entry

    def take_back(
        self, groups: Iterable[Group], by_code: Mapping[str, int], by_column: Mapping[str, int], room: int
    ) -> None:
        """Go on from what an earlier run has told: its groups, counts and the room of its list, without the list."""
        self._groups = {(group.code, group.column, group.level): group for group in groups}
        self.by_code, self.by_column = Counter(by_code), Counter(by_column)
        self._room = room

    def listed(self) -> pl.DataFrame:
        """The problems of the file, then those of its rows in order: a frame of SCHEMA."""
        told = [
            {
                "row": s.row, "line": s.line, "level": s.level, "column": column, "code": code, "value": s.value,
                "message": f"{s.message} ({s.count:,} {'row' if s.count == 1 else 'rows'}, the first is shown)",
                "hint": s.hint,
            }
            for (code, column), s in self._summaries.items()
        ]  # fmt: skip
        of_file = [pl.DataFrame(self._of_file + told, schema=SCHEMA)] if self._of_file or told else []
        return pl.concat([*of_file, *self._listed]) if of_file or self._listed else NONE

    @property
    def room(self) -> int:
        """For how many more problems of rows the list has room."""
        return self._room

    @property
    def is_cut(self) -> bool:
        """True where problems were counted that the list may not have room for."""
        return self._room == 0

    @property
    def heads(self) -> tuple[int, int]:
        """How many of those listed come before those of rows: the ones of the file, and the ones told once."""
        return len(self._of_file), len(self._summaries)

    def groups(self) -> list[Group]:
        """The problems by code, column and level: errors first, those of the file before those of rows, most first."""
        levels = list(get_args(Level))

        def rank(group: Group) -> tuple[int, bool, int, str, str]:
            of_rows = group.examples[0]["row"] is not None
            return levels.index(group.level), of_rows, -group.count, group.code, group.column or ""

        return sorted(self._groups.values(), key=rank)

    def _count(self, code: str, level: str, column: str | None, count: int, examples: Iterable[dict[str, Any]]) -> None:
        group = self._groups.setdefault((code, column, level), Group(code, column, level))
        group.count += count
        group.examples += [
            {key: example[key] for key in EXAMPLE} for example in islice(examples, EXAMPLES_MAX - len(group.examples))
        ]
        self.by_code[code] += count
        self.by_level[level] += count
        if column is not None:
            self.by_column[column] += count
