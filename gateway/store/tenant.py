"""A tenant's store: its tables, and the commit of many jobs under one sequence number.

A commit is prepared (resolved against what is stored, its files written) and then made: three tables or four are as
many entries in their logs, under one number. After a kill it is prepared again; a table that has the number is left.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from gateway.store.contribution import Brought, Contribution, TableName
from gateway.store.events import Events
from gateway.store.facts import NAMES_MAX, Facts
from gateway.store.identities import Identities
from gateway.store.index import Index
from gateway.store.known import left_out
from gateway.store.newest import Newest
from gateway.store.place import Place
from gateway.store.shapes import ATTRIBUTE_NAMES, COMPANIES, EVENTS, PROFILES
from gateway.store.table import Change, Table


@dataclass(frozen=True, slots=True)
class Prepared:
    """A commit that can be made. `facts` by job id, of all its jobs; `changes` by table, in the order of writing.

    `repeated`: a part of it has been made before, so that the facts are not what they were then.
    """

    sequence: int
    facts: Mapping[str, Facts]
    changes: Mapping[str, Change]
    repeated: bool


class TenantStore:
    """The tables of one tenant. One writer at a time; whoever reads sees each table as of a whole commit."""

    def __init__(self, url: str, tenant: str, options: Mapping[str, str] | None = None) -> None:
        self.place = Place(url, dict(options or {})).below(tenant)
        self.attributes, self.profiles, self.companies, self.events = (
            Table(self.place.below(shape.name), shape) for shape in (ATTRIBUTE_NAMES, PROFILES, COMPANIES, EVENTS)
        )
        self.profile_index, self.company_index = Index(self.profiles), Index(self.companies)
        self._newest = Newest(self.events)
        self._names: tuple[int, frozenset[tuple[str, str]]] | None = None

    @property
    def tables(self) -> tuple[Table, ...]:
        """In the order of a commit: names first, since what is new is told by them."""
        return self.attributes, self.profiles, self.companies, self.events

    @property
    def indexes(self) -> tuple[Index, Index]:
        """Who is stored, in memory."""
        return self.profile_index, self.company_index

    def refresh(self) -> None:
        """See what has been committed since."""
        for table in self.tables:
            table.refresh()

    @property
    def last_sequence(self) -> int:
        """The greatest number that a table has, 0 when none has one: a ledger that was restored goes on after it."""
        return max(table.last_sequence or 0 for table in self.tables)

    def prepare(
        self, sequence: int, contributions: list[Contribution], *, scratch: Path | None = None, write: bool = True
    ) -> Prepared:
        """Resolve the jobs, in the order given, against what is stored, and write the files of the result.

        Nothing is part of a table before `commit`. With `write=False` (a dry run) nothing is written at all but
        below `scratch`, the folder for what does not fit into memory.
        """
        self.refresh()
        all_facts = [Facts(one.job) for one in contributions]
        for at, strangers in left_out(contributions, *self.indexes).items():
            all_facts[at].leave_out(strangers, held=contributions[at].unknown_identity == "hold")
        jobs = [one for one, told in zip(contributions, all_facts, strict=True) if told.goes]
        facts = [told for told in all_facts if told.goes]
        # It is made by whoever has much to lay down there.
        place = Path(scratch or tempfile.gettempdir()) / f"store-{uuid.uuid4()}"
        try:
            changes = self._changes(sequence, jobs, facts, place, write=write)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        repeated = any(table.has(sequence) for table in self.tables)
        return Prepared(sequence, {one.job: one for one in all_facts}, changes, repeated)

    def _changes(
        self, sequence: int, jobs: list[Contribution], facts: list[Facts], scratch: Path, *, write: bool
    ) -> dict[str, Change]:
        brought = Brought(jobs)
        names: dict[tuple[str, str], int] = {}
        changes: dict[str, Change] = {}
        tables: dict[TableName, Index] = {"profiles": self.profile_index, "companies": self.company_index}
        for name, index in tables.items():
            if brought.count(name) and not index.table.has(sequence):
                identities = Identities(index, brought, facts, sequence, write=write)
                changes[name] = identities.resolve(name, scratch)
                names |= {(name, attribute): at for attribute, at in identities.names.items()}
        if brought.count("events") and not self.events.has(sequence):
            events = Events(self.events, brought, facts, self._newest)
            changes["events"] = events.resolve(*self.indexes, sequence=sequence, write=write)
        if not self.attributes.has(sequence) and names:
            new = self._new_names(names, jobs, facts)
            changes = {"attributes": self._named(new, sequence, write=write), **changes}
        return changes

    def _new_names(
        self, names: Mapping[tuple[str, str], int], jobs: list[Contribution], facts: list[Facts]
    ) -> pl.DataFrame:
        """Those of the names (of which table, name; first job) that are new to the tenant, as rows of `attributes`.

        They are told as facts.
        """
        new = sorted((of, at, name) for (of, name), at in names.items() if (of, name) not in self._known_names())
        told: dict[int, set[str]] = {}
        for _, at, name in new:
            told.setdefault(at, set()).add(name)
        for at, mine in told.items():
            facts[at].new_properties = sorted(mine)[:NAMES_MAX]
            facts[at].new_properties_count = len(mine)
        rows = [(of, name, jobs[at].as_of, jobs[at].job) for of, at, name in new]
        return pl.DataFrame(rows, schema=ATTRIBUTE_NAMES.schema, orient="row")

    def _known_names(self) -> frozenset[tuple[str, str]]:
        """Which names of which table the table of names holds, read again when it has changed."""
        if self._names is None or self._names[0] != self.attributes.version:
            with self.attributes.place.reached("read"):
                known = self.attributes.scan(self.attributes.files()["path"], ["of", "name"]).collect()
            self._names = self.attributes.version, frozenset(known.iter_rows())
        return self._names[1]

    def _named(self, new: pl.DataFrame, sequence: int, *, write: bool) -> Change:
        """The table of names is one file, written anew."""
        change = Change(self.attributes.version, whole=True)
        if new.height and write:
            old = self.attributes.scan(self.attributes.files()["path"]).collect()
            change.added.append(self.attributes.write(pl.concat([old, new]), None, sequence))
        return change

    def commit(self, prepared: Prepared) -> list[str]:
        """Make the prepared commit; which tables were written. Once, however often it is tried."""
        jobs = [job for job, facts in prepared.facts.items() if facts.goes]
        by_name = {table.shape.name: table for table in self.tables}
        return [
            name
            for name, change in prepared.changes.items()
            if change and by_name[name].commit(change, prepared.sequence, jobs)
        ]
