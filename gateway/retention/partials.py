"""Partial uploads: those that broke off, that never got their final name, and bytes in the spool that nobody knows."""

from __future__ import annotations

import os
from datetime import datetime

import structlog

from gateway.config import FeedSettings, Settings
from gateway.errors import LedgerError
from gateway.ledger import Ledger, uploads
from gateway.ledger.drops import Name
from gateway.pickup.folder import inbox, parent_of
from gateway.pickup.holding import holding
from gateway.pickup.landing import spool_path
from gateway.pickup.names import is_temporary
from gateway.pickup.scan import files_below
from gateway.retention.swept import Swept, is_older

log = structlog.get_logger()


def sweep_partials(settings: Settings, ledger: Ledger, before: datetime) -> Swept:
    """Expire what nobody has gone on with since that time. An upload that is open is never touched."""
    swept = Swept()
    for row in uploads.incomplete(ledger, before):
        try:
            uploads.expire(ledger, row.id, "incomplete", "nobody went on with it in time")
        except LedgerError:
            continue  # Its client goes on with it in this moment.
        swept.remove(spool_path(settings, row.id))
    for tenant, configured in settings.tenants.items():
        for feed, policy in configured.feeds.items():
            sweep_temporary(settings, ledger, (tenant, feed), policy, before, swept)
    sweep_orphans(settings, ledger, before, swept)
    return swept


def sweep_temporary(
    settings: Settings,
    ledger: Ledger,
    place: tuple[str, str],
    policy: FeedSettings,
    before: datetime,
    swept: Swept,
) -> None:
    """Uploads that stand in the inbox under a temporary name. What a local program writes there is its own."""
    for path, found in files_below(inbox(settings, *place)):
        if found.st_ctime < before.timestamp() and is_temporary(path, policy):
            try:
                expire_temporary(settings, ledger, (*place, path), before, swept)
            except OSError as error:
                log.warning("file with a temporary name cannot be removed", path=ascii(path), error=str(error))


def expire_temporary(settings: Settings, ledger: Ledger, name: Name, before: datetime, swept: Swept) -> None:
    # Whoever renames it to its final name holds the name as well.
    with holding(name):
        row = uploads.stored(ledger, *name)
        if row is None or row.ended_at is None or row.ended_at >= before:
            return
        with parent_of(inbox(settings, *name[:2]), name[2]) as (folder, last):
            found = os.stat(last, dir_fd=folder, follow_symlinks=False)
            if found.st_size != row.bytes or found.st_ctime >= before.timestamp():
                return  # A local program has put another file there.
            uploads.expire(ledger, row.id, "closed", "it kept its temporary name for too long")
            os.unlink(last, dir_fd=folder)
            os.fsync(folder)
    swept.count += 1
    swept.bytes += found.st_size


def sweep_orphans(settings: Settings, ledger: Ledger, before: datetime, swept: Swept) -> None:
    """Old files in the spool of no upload, or of one that has ended: a kill came between the ledger and the file."""
    with os.scandir(settings.spool_dir / "uploads") as found:
        old = [entry.name for entry in found if is_older(entry, before.timestamp())]
    for name in old:
        row = uploads.look_up(ledger, name)
        if row is None or row.state in ("aborted", "expired"):
            swept.remove(spool_path(settings, name))
