"""A real store in a folder, and jobs that bring rows to it as the pipeline writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gateway.store import Contribution, Facts, TenantStore
from gateway.store.shapes import CONTRIBUTED, EVENT_ROWS, JSON_OF, PAIRS, PROFILE_ROWS, SHAPES, TEXT_OF
from gateway.store.table import Table

START = datetime(2024, 3, 1, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """A time, so many minutes after the first of March 2024."""
    return START + timedelta(minutes=minutes)


@dataclass(frozen=True)
class Row:
    """A profile row."""

    identity: str
    attributes: Mapping[str, str | None]
    minutes: float = 0
    namespace: str = "identity"


@dataclass(frozen=True)
class Event:
    """An event row."""

    identity: str
    name: str = "bought"
    minutes: float = 0
    properties: str = "{}"
    unique_key: str | None = None
    namespace: str = "identity"


def write_rows(
    folder: Path, name: str, rows: Sequence[Row], numbers: Sequence[int] | None = None, *, as_columns: bool = False
) -> None:
    numbers = numbers or range(1, len(rows) + 1)
    folder.mkdir(parents=True, exist_ok=True)
    schema = {**PROFILE_ROWS, "attributes": CONTRIBUTED}
    found = [
        (one.namespace, one.identity, at(one.minutes), number, pairs_of(one))
        for number, one in zip(numbers, rows, strict=True)
    ]
    frame = pl.DataFrame(found, schema=schema, orient="row")
    if as_columns:
        columns_of(frame).write_ipc_stream(folder / f"{name}.arrows")
    else:
        frame.write_parquet(folder / f"{name}.parquet")


def columns_of(frame: pl.DataFrame) -> pl.DataFrame:
    """With a column for each attribute: of text where the JSON is a text without escapes, else of JSON."""
    values: dict[str, list[str | None]] = {}
    for place, pairs in enumerate(frame["attributes"].to_list()):
        for key, value in ((pair["key"], pair["value"] or "null") for pair in pairs):
            is_text = value[0] == '"' and "\\" not in value
            column = values.setdefault((TEXT_OF if is_text else JSON_OF) + key, [None] * frame.height)
            column[place] = value[1:-1] if is_text else value
    columns = [pl.Series(name, found, dtype=pl.String) for name, found in values.items()]
    return frame.drop("attributes").hstack(columns)


def pairs_of(row: Row) -> list[dict[str, str | None]]:
    return [{"key": key, "value": value} for key, value in row.attributes.items()]


def write_events(folder: Path, events: Sequence[Event]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(
        [
            (e.namespace, e.identity, e.name, "track", at(e.minutes), number, e.properties, e.unique_key, True, True)
            for number, e in enumerate(events, 1)
        ],
        schema=EVENT_ROWS,
        orient="row",
    ).write_parquet(folder / "events.parquet")


@dataclass
class Jobs:
    """Makes jobs, whose ids sort in the order of their making, as UUIDv7 do.

    Attributes are columns in every second one, unless it is told otherwise.
    """

    folder: Path
    made: int = 0

    def __call__(
        self,
        profiles: Sequence[Row] = (),
        events: Sequence[Event] = (),
        *,
        companies: Sequence[Row] = (),
        feed: str = "people",
        job: str | None = None,
        as_columns: bool | None = None,
        **policies: Any,
    ) -> Contribution:
        self.made += 1
        name = job or f"job-{self.made:04d}"
        folder = self.folder / name
        for table, rows in (("profiles", profiles), ("companies", companies)):
            if rows:
                write_rows(folder, table, rows, as_columns=self.made % 2 == 0 if as_columns is None else as_columns)
        if events:
            write_events(folder, events)
        return Contribution(name, feed, at(10_000 + self.made), folder, **policies)


@dataclass
class Stored:
    """A store, and commits to it under the next number."""

    store: TenantStore
    sequence: int = 0
    jobs: list[str] = field(default_factory=list)

    def commit(self, *contributions: Contribution) -> list[Facts]:
        self.sequence += 1
        prepared = self.store.prepare(self.sequence, list(contributions))
        self.store.commit(prepared)
        self.store.refresh()
        return [prepared.facts[one.job] for one in contributions]

    def values(self, table: str = "profiles") -> dict[tuple[str, str], dict[str, str | None]]:
        """Each identity's attributes, as JSON texts."""
        return {
            (row["namespace"], row["identity"]): {name: value["value"] for name, value in row["attributes"]}
            for row in rows_of(getattr(self.store, table)).to_dicts()
        }

    def value(self, identity: str, table: str = "profiles", namespace: str = "identity") -> dict[str, str | None]:
        return self.values(table)[namespace, identity]

    def events(self) -> list[tuple[str, str, datetime, str]]:
        frame = rows_of(self.store.events).sort("time", "identity", "name", "properties")
        return frame.select("identity", "name", "time", "properties").rows()


def rows_of(table: Table) -> pl.DataFrame:
    """All rows of a table as it is on the disk now, attributes as lists of names and values."""
    table.refresh()
    frame = table.scan(table.files()["path"]).collect()
    if "attributes" not in frame.columns:
        return frame
    lists = frame["attributes"].cast(PAIRS).to_list()
    pairs = [[(pair["key"], pair["value"]) for pair in one] for one in lists]
    return frame.with_columns(attributes=pl.Series(pairs, dtype=pl.Object))


def contents(store: TenantStore) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, sorted, to compare one store with another."""
    store.refresh()
    found = {}
    for table in store.tables:
        frame = table.scan(table.files()["path"]).collect()
        if "attributes" in frame.columns:
            frame = frame.with_columns(pl.col("attributes").cast(PAIRS))
        found[table.shape.name] = sorted(frame.rows(), key=repr)
    return found


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path / "staging")


@pytest.fixture
def new_store(tmp_path: Path) -> Callable[[str], Stored]:
    return lambda name: Stored(TenantStore(str(tmp_path / name), "acme"))


@pytest.fixture
def stored(new_store: Callable[[str], Stored]) -> Stored:
    return new_store("store")


__all__ = ["SHAPES", "Event", "Jobs", "Row", "Stored", "at", "contents", "rows_of", "write_events", "write_rows"]
