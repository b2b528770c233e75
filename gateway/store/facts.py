"""What a commit did with one job: the figures and row numbers that its report tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

import polars as pl

# A report names so many rows with shrinking properties, and so many new properties; the figures count all.
ROWS_NAMED_MAX = 1_000
NAMES_MAX = 1_000


@cache
def _no_rows() -> pl.Series:
    return pl.Series("row", [], dtype=pl.Int64)


@dataclass(slots=True)
class Facts:
    """Of one job. Identities are counted once in it, whatever the number of its rows for them.

    `new_properties` are names that no profile (or company) of the tenant has had; `changed_properties` those of which a
    value that was there became another one or none; `duplicates` and `unknown` row numbers, ascending; `shrinking` has
    `row` and `names` (limited), `shrinking_rows` counts all such rows.
    `events` are stored, and `late` of them older than the newest that their feed had before.
    `held`: its policy is "hold" and so many identities are unknown, so that the commit left the whole job out.
    `failed`: its policy is "reject" and too many of its rows are of such; it is left out for good.
    """

    job: str
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    blanked: int = 0
    new_properties: list[str] = field(default_factory=list)
    new_properties_count: int = 0
    changed_properties: list[str] = field(default_factory=list)
    events: int = 0
    late: int = 0
    duplicates: pl.Series = field(default_factory=_no_rows)
    unknown: pl.Series = field(default_factory=_no_rows)
    unknown_identities: int = 0
    shrinking_rows: int = 0
    shrinking: list[tuple[int, list[str]]] = field(default_factory=list)
    held: bool = False
    failed: bool = False

    @property
    def goes(self) -> bool:
        """Whether the job is part of the commit."""
        return not (self.held or self.failed)

    def add_changed(self, names: Iterable[str]) -> None:
        """Some more properties of which values changed."""
        self.changed_properties = sorted({*self.changed_properties, *names})[:NAMES_MAX]

    def leave_out(self, strangers: pl.DataFrame, *, held: bool) -> None:
        """The job does not go, because of these events (row, namespace, identity)."""
        self.held, self.failed = held, not held
        if self.failed:
            self.unknown = strangers["row"].sort()
        self.unknown_identities = strangers.select("namespace", "identity").n_unique()

    def add_shrinking(self, rows: Iterable[tuple[int, list[str]]], count: int) -> None:
        """Some more rows with shrinking properties; the first of all are kept."""
        self.shrinking_rows += count
        self.shrinking = sorted([*self.shrinking, *rows])[:ROWS_NAMED_MAX]
