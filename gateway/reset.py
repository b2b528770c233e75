"""Reset of a tenant for tests: its store, its folders and its duplicate marks, as if it had never sent anything.

The ledger keeps what happened. Under the lock of the tenant's store one transaction looks that nothing is under way
and marks all that came before; then files and rows go. After a kill in between a repeat does the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway import clock
from gateway.config import Settings
from gateway.errors import ResetRefused
from gateway.ledger import Ledger, commits, resets
from gateway.locks import serving_process, writing
from gateway.pickup.claim import take_leaving
from gateway.pickup.folder import make_folders, sync
from gateway.pickup.holding import holding
from gateway.pickup.landing import spool_path
from gateway.pickup.scan import files_below
from gateway.store import TenantStore
from gateway.store.emptying import empty
from gateway.store.sizes import sizes

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What will go: rows of the store by table, files in the folders, uploads that are unfinished, marks."""

    rows: dict[str, int]
    inbox_files: int
    outbox_files: int
    uploads: int
    marks: int


def plan(settings: Settings, ledger: Ledger, tenant: str) -> Plan:
    """Raises ResetRefused where a reset would be, and StoreUnreachable."""
    refuse(settings, ledger, tenant)
    rows = {one.table: one.rows for one in sizes(store_of(settings, tenant))}
    inbox, outbox = (len(list(files_of(settings.tenant_dir(tenant) / area))) for area in ("inbox", "outbox"))
    return Plan(rows, inbox, outbox, len(resets.unfinished_uploads(ledger, tenant)), resets.marks(ledger, tenant))


def refuse(settings: Settings, ledger: Ledger, tenant: str) -> None:
    """Raises ResetRefused unless it is a tenant for tests, and nothing of it is under way."""
    configured = settings.tenants[tenant]
    if configured.environment != "test":
        raise ResetRefused(
            f"tenant '{tenant}' is for {configured.environment}: what it has imported is never removed or edited. "
            'Only a tenant with environment = "test" can be reset'
        )
    if serving_process(settings.data_dir) and not configured.disabled:
        raise ResetRefused(
            f"a gateway serves, and users of '{tenant}' may log in meanwhile; `gateway tenant disable {tenant}` first, "
            f"and `gateway tenant enable {tenant}` afterwards"
        )
    refuse_under_way(ledger, tenant)


def refuse_under_way(ledger: Ledger, tenant: str) -> None:
    found = [one.said for one in resets.under_way(ledger, tenant)]
    if commit := commits.unfinished_of(ledger, tenant):
        found.append(f"commit {commit.sequence} is {commit.state}")
    if found:
        more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
        raise ResetRefused(
            f"tenant '{tenant}' is at work: {'; '.join(found[:SHOWN])}{more}. Try again when it has ended"
        )


def reset(settings: Settings, ledger: Ledger, tenant: str) -> None:
    """Do it. Raises ResetRefused with nothing changed; StoreUnreachable and OSError leave the rest to a repeat."""
    # Whoever commits holds this too: what is staged from now on comes after the reset.
    with writing(settings.data_dir, tenant):
        with ledger.transaction():
            refuse(settings, ledger, tenant)
            before = clock.now()
            resets.begin(ledger, tenant, before)
        empty(store_of(settings, tenant))
        for upload_id in resets.expired(ledger, tenant):
            spool_path(settings, upload_id).unlink(missing_ok=True)
        for drop in resets.leaving(ledger, tenant):
            with holding(drop.name):
                take_leaving(settings, ledger, drop)
        for area in ("inbox", "outbox"):
            empty_folder(settings.tenant_dir(tenant) / area, before.timestamp())
        make_folders(settings)
        resets.end(ledger, tenant, clock.now())


def store_of(settings: Settings, tenant: str) -> TenantStore:
    return TenantStore(settings.store_url, tenant, settings.gateway.store.options)


def files_of(area: Path) -> Iterator[Path]:
    return (area / path for path, _ in files_below(area))


def empty_folder(area: Path, before: float) -> None:
    """Remove the files that were there before, and folders below those of the feeds that are empty then."""
    for path, found in list(files_below(area)):
        if found.st_ctime <= before:
            (area / path).unlink(missing_ok=True)
    for folder, _, _ in os.walk(area, topdown=False):
        if len(Path(folder).relative_to(area).parts) > 1:
            with suppress(OSError):  # Something is in it.
                os.rmdir(folder)
    if area.is_dir():
        sync(area)
