"""How large a tenant's tables are, told from their logs: no row is read."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.store.table import APPLICATION, Table
from gateway.store.tenant import TenantStore


@dataclass(frozen=True, slots=True)
class Size:
    """A table as it is now. `on_disk` counts what was replaced too (None: not on this machine)."""

    table: str
    rows: int
    files: int
    bytes: int
    on_disk: int | None
    version: int
    sequence: int
    """The number of the last commit that changed it; 0 when none has."""


def sizes(store: TenantStore) -> list[Size]:
    """Of the tables that are there."""
    return [size_of(table) for table in store.tables if table.is_there]


def size_of(table: Table) -> Size:
    files = table.files()
    with table.place.reached("look up the sequence"):
        last = table.delta.transaction_version(APPLICATION)
    return Size(
        table.shape.name, int(files["rows"].sum()), files.height, int(files["bytes"].sum()), on_disk(table),
        table.version, last or 0,
    )  # fmt: skip


def on_disk(table: Table) -> int | None:
    folder = table.place.folder
    return None if folder is None else sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def last_sequence(found: list[Size]) -> int:
    """The number of the last commit that changed any table."""
    return max((one.sequence for one in found), default=0)
