"""The store in a backup: the files of each table as it was when the ledger was copied.

A table's files are never changed, only replaced: a link to each keeps them until they are copied. What had been
replaced by then, and entries of the log from after, are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.config import Settings
from gateway.locks import writing
from gateway.retention.pins import pins_dir

LOG = "_delta_log"


@dataclass(slots=True)
class StoredFiles:
    """Where the bytes of each file are kept, by its path below the store; and what the operator must hear."""

    pins: dict[str, Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@contextmanager
def alone_in_the_store(settings: Settings) -> Iterator[None]:
    """Wait for the commits that are under way, and let none begin."""
    with ExitStack() as held:
        for tenant in tenants_in(settings):
            held.enter_context(writing(settings.data_dir, tenant))
        yield


def tenants_in(settings: Settings) -> list[str]:
    """The tenants that have a store in the data directory, also those that are configured no more."""
    root = settings.data_dir / "store"
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def pin_store(settings: Settings) -> StoredFiles:
    """Link every file that the tables have now. A store that is elsewhere is told of."""
    found = StoredFiles()
    root = settings.data_dir / "store"
    if settings.gateway.store.enabled and settings.store_url != str(root.absolute()):
        found.warnings.append(
            f"the store is not in {settings.data_dir} (store.url), and not in the backup: copy it, after this backup"
        )
        return found
    for tenant in tenants_in(settings):
        for log in sorted((root / tenant).glob(f"*/{LOG}")):
            for path in files_of(log.parent):
                pin(root, path, pins_dir(settings) / "store", found)
    return found


def files_of(table: Path) -> Iterator[Path]:
    """The files of a table's newest version, and the log up to it."""
    # Only where there is a store: polars and deltalake take a while.
    import polars as pl
    from deltalake import DeltaTable

    if not DeltaTable.is_deltatable(str(table)):
        return
    delta = DeltaTable(str(table))
    yield from (table / path for path in pl.DataFrame(delta.get_add_actions(flatten=True))["path"])
    # Not `_last_checkpoint`, which is written over; readers find the last one without it.
    for entry in sorted((table / LOG).iterdir()):
        version = entry.name.partition(".")[0]
        if version.isdigit() and int(version) <= delta.version():
            yield entry


def pin(root: Path, path: Path, pins: Path, found: StoredFiles) -> None:
    """A file that is pinned already is the same: none is ever written twice."""
    name = path.relative_to(root).as_posix()
    target = pins / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    found.pins[name] = target
