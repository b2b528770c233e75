"""The first line of a CSV: its delimiter, its names, its date formats, and what is wrong with them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.config import did_you_mean
from gateway.contracts import Contract
from gateway.contracts.date_formats import DATE_FORMATS, DATE_HEADER, UNIX_NAMES
from gateway.errors import CutOff, DropRefused
from gateway.pipeline.nested import nested_columns
from gateway.pipeline.problems import Problems
from gateway.pipeline.records import RECORD_BYTES_MAX, framed
from gateway.pipeline.rows import first_solid
from gateway.pipeline.source import Octets
from gateway.pipeline.unknown import tell_unknown

NAME_CHARACTERS_MAX = 1024
# The csv module would give up on a name of 128 KiB and not say why.
csv.field_size_limit(RECORD_BYTES_MAX)
# More bytes would not make it better.
NOT_OF_A_CUT = frozenset({"long_column_name", "too_many_columns"})
DELIMITERS = ",;\t|"
SMART_QUOTES = frozenset("\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb")


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a drop, by position.

    names: the column of each field, one name once; a date column keeps its header with the format.
    dates: the declared format of each date column that has a known one.
    ignored: columns that the contract does not know and does not keep.
    raw: the bytes of the header with its line ending; empty where the file has none. stop: where the rows begin.
    """

    names: list[str]
    delimiter: str = ","
    dates: dict[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    raw: bytes = b""
    stop: int = 0


def read_header(octets: Octets, contract: Contract, problems: Problems, columns_max: int) -> Header:
    """The header in the first record of a CSV, or the contract's own columns where the file has none.

    Raises DropRefused for a header that cannot be used (C27 to C30, U21, U22), CutOff where it may be half of one.
    """
    delimiter, line = delimiter_of(octets, contract)
    start, end, stop = first_record(octets, delimiter)
    if stop == 0:
        raise DropRefused("empty_file", "the file has only blank lines", line=1)
    names = [name.strip() for name in fields_of(octets[start:end].tobytes().decode(), delimiter)]
    if contract.csv_header == "optional" and not is_header(names, contract):
        note_delimiter(delimiter, line, problems)
        return Header(list(contract.csv_columns), delimiter)
    if not names:
        raise DropRefused("unterminated_quote", f"line {line}: the header cannot be read; check its quotes", line=line)
    note_delimiter(delimiter, line, problems)
    try:
        refuse_unusable(names, columns_max)
        refuse_missing(names, contract)
    except DropRefused as refusal:
        if end < len(octets) or refusal.code in NOT_OF_A_CUT:
            raise
        # There is nothing behind it, not even a line break.
        raise CutOff(f"line {line}: the header is cut off: {refusal.message}", line=line) from refusal
    dates = dict(date_columns(names, contract, problems))
    for name in names:
        if SMART_QUOTES & set(name):
            problems.add_of_file("smart_quotes", f"{name}: typographic quotes in the name", column=name, line=1)
    known = contract.by_name
    nested = nested_columns(names, contract)
    if nested and contract.nested in names:
        twice = f"'{contract.nested}' and '{next(iter(nested))}' cannot both be columns"
        raise DropRefused("duplicate_column", twice, line=1, column=contract.nested)
    further = [name for name in names if name not in known and name not in nested]
    ignored = frozenset(further if contract.further_columns == "ignore" else ())
    present = frozenset(names)
    for name in further:
        tell_unknown(name, present, contract, problems, line)
    raw = octets[start:stop].tobytes()
    return Header(names, delimiter, dates, ignored, raw if stop > end else raw + b"\n", stop)


def delimiter_of(octets: Octets, contract: Contract) -> tuple[str, int]:
    """The delimiter, by the first line that is not blank, and the number of that line."""
    for records in framed(octets, None, 1):
        at = first_solid(octets, records)
        if at is not None:
            text = octets[records.start[at] : records.end[at]].tobytes().decode()
            return detect_delimiter(text, contract), int(records.line[at])
    return ",", 1


def first_record(octets: Octets, delimiter: str) -> tuple[int, int, int]:
    """Where the first record that is not blank begins, ends, and where the next one begins."""
    for records in framed(octets, ord(delimiter), 1):
        at = first_solid(octets, records)
        if at is not None:
            return int(records.start[at]), int(records.end[at]), int(records.stop[at])
    return 0, 0, 0


def fields_of(text: str, delimiter: str) -> list[str]:
    """The fields of a record; none where its quotes do not fit."""
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def is_header(names: list[str], contract: Contract) -> bool:
    """True where most names are columns of the contract, or some are and the file has other columns than it."""
    known = len(set(names) & set(contract.by_name))
    return 2 * known >= len(names) > 0 or (known > 0 and len(names) != len(contract.csv_columns))


def note_delimiter(delimiter: str, line: int, problems: Problems) -> None:
    if delimiter != ",":
        shown = {"\t": "a tab"}.get(delimiter, f"'{delimiter}'")
        problems.add_of_file("delimiter_detected", f"fields are separated by {shown}, not by a comma", line=line)


def detect_delimiter(text: str, contract: Contract) -> str:
    """The delimiter that makes the most known names, else the most fields; a comma where nothing tells."""
    known = {column.name.lower() for column in contract.columns}

    def score(delimiter: str) -> tuple[int, bool, int]:
        names = [name.strip(' "').lower() for name in text.split(delimiter)]
        right = len(names) == len(contract.csv_columns)
        return len(known.intersection(names)), right, len(names) if delimiter == "," else len(names) - 1

    return max(DELIMITERS, key=score)


def refuse_unusable(names: list[str], columns_max: int) -> None:
    if len(names) > columns_max:
        raise DropRefused(
            "too_many_columns", f"the header has {len(names):,} columns; {columns_max:,} are allowed", line=1
        )
    seen: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if not name or any(ord(character) < 32 for character in name):
            what = "has no name" if not name else "has control characters in its name"
            raise DropRefused("blank_column", f"column {position} {what}", line=1)
        if len(name) > NAME_CHARACTERS_MAX:
            raise DropRefused(
                "long_column_name",
                f"the name of column {position} has {len(name):,} characters; {NAME_CHARACTERS_MAX:,} are allowed",
                line=1,
            )
        if name in seen:
            raise DropRefused(
                "duplicate_column", f"columns {seen[name]} and {position} are both named '{name}'", line=1, column=name
            )
        seen[name] = position


def refuse_missing(names: list[str], contract: Contract) -> None:
    """Each of the contract's `header_columns` groups has a column in the header, in its exact case (C28 to C30)."""
    lower = {name.lower(): name for name in names}
    for key in contract.identity[:1]:
        if other := next((name for name in names if name != key and name.lower() == key.lower()), None):
            raise wrong_case(other, key)
    for group in contract.header_columns:
        if set(group) & set(names):
            continue
        for wanted in group:
            if other := lower.get(wanted.lower()):
                raise wrong_case(other, wanted)
        near = "".join(did_you_mean(wanted, names) for wanted in group)
        wanted = " or ".join(f"'{name}'" for name in group)
        raise DropRefused(
            "missing_column", f"the header has no column {wanted}{near}", line=1, column=group[0],
            hint=f"Add the column {wanted}. The header has: {', '.join(names)[:500]}",
        )  # fmt: skip


def wrong_case(found: str, wanted: str) -> DropRefused:
    return DropRefused(
        "wrong_case_column", f"'{found}' in the header must be spelt '{wanted}'", line=1, column=found,
        hint=f"Rename the column '{found}' to '{wanted}' and drop the file again.",
    )  # fmt: skip


def date_columns(names: list[str], contract: Contract, problems: Problems) -> Iterator[tuple[str, str]]:
    """The columns whose header declares a date format (C34 to C44, X13, X15, X16)."""
    for name in names if contract.date_headers else ():
        match = DATE_HEADER.match(name)
        if not match:
            continue
        declared = match["format"]
        if declared in DATE_FORMATS or declared in UNIX_NAMES:
            yield name, declared
            continue
        near = did_you_mean(declared, [*DATE_FORMATS, *UNIX_NAMES])
        problems.add_of_file(
            "unknown_date_format", f"{name}: the format '{declared}' is not known; values stay text{near}",
            column=name, line=1,
        )  # fmt: skip
