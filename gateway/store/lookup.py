"""Look-ups: one identity's profile, and events of one or all, newest last, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import polars as pl

from gateway.store.buckets import bucket_of, hashes
from gateway.store.contribution import KEY
from gateway.store.events import BATCH_ROWS
from gateway.store.shapes import PAIRS
from gateway.store.table import Table
from gateway.store.tenant import TenantStore

LAST_EVENTS = 20
# The columns by which the contracts name who a row is about: the name spaces in which a table has identities.
NAMESPACES = {"profiles": ("identity", "objectId", "id", "email", "user_id"), "companies": ("company_id",)}


@dataclass(frozen=True, slots=True)
class Attribute:
    """What is stored of an attribute: its JSON text (None: blanked), and the time, job and row that set it."""

    name: str
    value: str | None
    time: datetime
    job: str
    row: int


@dataclass(frozen=True, slots=True)
class Profile:
    """An identity as it is stored, its attributes sorted by name."""

    table: str
    namespace: str
    identity: str
    attributes: tuple[Attribute, ...]
    created: datetime
    updated: datetime
    created_by: str
    updated_by: str


def profiles(store: TenantStore, identity: str, namespace: str | None = None) -> list[Profile]:
    """What is stored under an identity: of one name space, or of each that has it, companies last."""
    return [one for table in (store.profiles, store.companies) for one in _found(table, identity, namespace)]


def _found(table: Table, identity: str, namespace: str | None) -> Iterator[Profile]:
    files = table.files()
    if not files.height:
        return
    spaces = NAMESPACES[table.shape.name] if namespace is None else (namespace,)
    people = pl.DataFrame({"namespace": spaces, "identity": [identity] * len(spaces)})
    bucket = files["partition"].cast(pl.Int32)
    homes = bucket_of(hashes(people), bucket.filter(bucket > 0).to_list())
    paths = files.filter((bucket < 0) | bucket.is_in(homes.unique().implode()))["path"]
    with table.place.reached("read"):
        rows = table.scan(paths).join(people.lazy(), on=KEY, how="semi").sort("namespace").collect()
    for row in rows.with_columns(pl.col("attributes").cast(PAIRS)).iter_rows(named=True):
        attributes = tuple(Attribute(pair["key"], **pair["value"]) for pair in row.pop("attributes"))
        yield Profile(table.shape.name, attributes=attributes, **row)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: of an identity, in a name space, of a name, from a time on (and before another)."""

    identity: str | None = None
    namespace: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    name: str | None = None

    @property
    def condition(self) -> pl.Expr:
        asked = [
            None if self.identity is None else pl.col("identity") == self.identity,
            None if self.namespace is None else pl.col("namespace") == self.namespace,
            None if self.name is None else pl.col("name") == self.name,
            None if self.since is None else pl.col("time") >= self.since,
            None if self.until is None else pl.col("time") < self.until,
        ]
        return pl.all_horizontal(pl.lit(value=True), *(one for one in asked if one is not None))


def events(store: TenantStore, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """The events, oldest first, as they come: a month of those that are wanted is sorted at a time.

    A month with more of them than fit is merged from its files, each of which is sorted as it is.
    """
    files = _files(store.events, wanted).sort(pl.col("partition") != "earlier", "partition")
    for paths in files.group_by("partition", maintain_order=True).agg("path")["path"]:
        yield from _of_month(store.events, list(paths), wanted)


def last_events(store: TenantStore, wanted: Wanted, count: int = LAST_EVENTS) -> list[dict[str, Any]]:
    """The last so many, newest last; older months are not read when newer ones have enough."""
    files = _files(store.events, wanted).sort(pl.col("partition") != "earlier", "partition", descending=True)
    found: list[dict[str, Any]] = []
    for paths in files.group_by("partition", maintain_order=True).agg("path")["path"]:
        with store.events.place.reached("read"):
            rows = store.events.scan(list(paths)).filter(wanted.condition)
            last = rows.sort("time", "job", "row").tail(count - len(found)).collect(engine="streaming")
        found = [*last.to_dicts(), *found]
        if len(found) == count:
            break
    return found


def _files(table: Table, wanted: Wanted) -> pl.DataFrame:
    """path, partition of the files in which there can be such events, by the times in the log."""
    first, last = pl.col("first"), pl.col("last")
    found = table.files()
    if wanted.since is not None:
        found = found.filter(last.is_null() | (last >= wanted.since))
    if wanted.until is not None:
        found = found.filter(first.is_null() | (first < wanted.until))
    return found


def _of_month(table: Table, paths: list[str], wanted: Wanted) -> Iterator[dict[str, Any]]:
    with table.place.reached("read"):
        rows = table.scan(paths).filter(wanted.condition)
        count = rows.select(pl.len()).collect(engine="streaming").item()
        if count <= BATCH_ROWS:
            yield from rows.sort("time", "job", "row").collect().iter_rows(named=True)
            return
    size = max(1_000, BATCH_ROWS // len(paths))
    streams = [_of_file(table, path, size, wanted) for path in paths]
    yield from heapq.merge(*streams, key=lambda row: row["time"])


def _of_file(table: Table, path: str, size: int, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """A file's events, some at a time."""
    total = table.files().filter(path=path)["rows"].item()
    slices = (table.scan([path]).slice(start, size).filter(wanted.condition) for start in range(0, total, size))
    yield from chain.from_iterable(part.collect().iter_rows(named=True) for part in slices)
