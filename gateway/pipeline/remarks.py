"""What the store finds worth a look in a drop: one remark for many rows in the report; errors.csv names the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from gateway.pipeline import results
from gateway.pipeline.problems import SCHEMA, Problems

if TYPE_CHECKING:
    from gateway.store import Facts

NAMES_SHOWN: Final = 10
Entry = dict[str, Any]


def remarks(problems: Problems, facts: Facts, *, rejected: bool) -> Iterator[Entry]:
    """Each once with the number of its rows; counted among the problems."""
    if (count := len(facts.unknown)) and not rejected:
        people = counted(facts.unknown_identities, "person or company", "people or companies")
        message = f"{counted(count, 'event is', 'events are')} of {people} of whom there is no profile"
        yield problems.add_remark("unknown_identity", f"{message}; the first is in row {facts.unknown[0]:,}", count)
    if count := facts.shrinking_rows:
        row, names = facts.shrinking[0]
        message = f"{counted(count, 'record lacks or blanks', 'records lack or blank')} properties that were set before"
        named = ", ".join(names[:NAMES_SHOWN])
        yield problems.add_remark("shrinking_properties", f"{message}; the first is row {row:,}: {named}", count)


def counted(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def named(remark: Entry, facts: Facts) -> Iterator[Entry]:
    """The remark, and a line for each record that is named for it (U110, U117)."""
    yield remark
    if remark["code"] == "shrinking_properties":
        for row, names in facts.shrinking:
            yield remark | {"row": row, "message": f"lacks or blanks what was set before: {', '.join(names)}"}


def write_errors(remarked: Sequence[Entry], facts: Facts, before: bytes, notes: Sequence[Entry], target: Path) -> None:
    """errors.csv with the remarks first, then what was in it `before`; where there was none, then the notes."""
    told = [line for remark in remarked for line in named(remark, facts)]
    results.write_errors(pl.DataFrame(told + ([] if before else list(notes)), schema=SCHEMA), target)
    with target.open("ab") as file:
        file.write(before.partition(b"\n")[2])
