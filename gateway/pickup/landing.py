"""Landing: a whole upload becomes a drop in its inbox, durably, and a landing that was cut short is finished.

The order is: bytes fsynced, one ledger transaction (upload closed, drop landed), rename, folders fsynced. After
a kill at any point the ledger says what is still to be done (DESIGN.md, invariants 1, 3 and 7).
"""

from __future__ import annotations

import contextlib
import os
import stat
from datetime import datetime, timedelta
from pathlib import Path

from gateway import clock
from gateway.config import Settings
from gateway.errors import UploadRefused
from gateway.ledger import Ledger, drops, holds, landings, uploads
from gateway.ledger.drops import DropRow
from gateway.ledger.landings import Landing
from gateway.pickup.claim import clear_the_name
from gateway.pickup.folder import inbox, parent_of, sync
from gateway.pickup.holding import holding
from gateway.pickup.proofs import kind_of


def land(
    settings: Settings,
    ledger: Ledger,
    *,
    upload_id: str,
    tenant: str,
    feed: str,
    path: str,
    username: str,
    client_mtime: datetime | None = None,
) -> str:
    """The id of the drop that the upload has become; when this returns, it survives a power cut.

    Blocks on fsync: call it from a worker thread. Raises UploadRefused or OSError, and then nothing has landed.
    """
    spooled = spool_path(settings, upload_id)
    sync(spooled)
    found = spooled.stat()
    now = clock.now()
    policy = settings.tenants[tenant].feeds[feed]
    landing = Landing(
        tenant=tenant,
        feed=feed,
        path=path,
        bytes=found.st_size,
        inode=found.st_ino,
        landed_at=now,
        settles_at=now + timedelta(seconds=settings.gateway.pickup.settle_seconds),
        kind=kind_of(path, policy),
        upload_id=upload_id,
        username=username,
        client_mtime=client_mtime,
    )
    with holding((tenant, feed, path)):
        refuse_folder(settings, landing)
        clear_the_name(settings, ledger, (tenant, feed, path))
        before = drops.newest(ledger, tenant, feed, path)
        with ledger.transaction():
            uploads.close_upload(ledger, upload_id, found.st_size)
            drop = landings.record_landing(ledger, landing, supersedes=policy.on_overwrite == "replace")
        try:
            move_into_inbox(settings, upload_id, tenant, feed, path)
        except OSError as error:
            undo(settings, ledger, before, drop, f"could not be moved into the inbox: {error.strerror}")
            raise
    return drop.id


def undo(settings: Settings, ledger: Ledger, before: DropRow | None, drop: DropRow, reason: str) -> None:
    """A landing that failed after its commit. Its bytes stay in the spool, or come back there."""
    back_into_spool(settings, drop)
    if before is not None and before.id == drop.id:
        landings.put_back(ledger, before, f"the upload that was to replace it {reason}")
    else:
        # Where it could not be taken out: who was told that it is not in must not find it processed.
        holds.withdraw(ledger, drop, reason, "delete", clock.now())


def back_into_spool(settings: Settings, drop: DropRow) -> None:
    """It may stand in the inbox, when only an fsync failed."""
    with (
        contextlib.suppress(OSError),
        parent_of(inbox(settings, drop.tenant, drop.feed), drop.path) as (folder, name),
    ):
        if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino == drop.inode:
            os.rename(name, spool_path(settings, str(drop.upload_id)), src_dir_fd=folder)


def refuse_folder(settings: Settings, landing: Landing) -> None:
    """A rename cannot replace a folder; said before anything is committed."""
    root = inbox(settings, landing.tenant, landing.feed)
    with parent_of(root, landing.path, make=True) as (folder, name):
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
    if stat.S_ISDIR(found.st_mode):
        raise UploadRefused(f"{landing.path}: a folder of that name is in the inbox; use another name")


def finish_landings(settings: Settings, ledger: Ledger) -> int:
    """When a process has ended: finish every landing that its kill cut short. How many there were."""
    return sum(finish_landing(settings, ledger, drop) for drop in drops.landed_by_upload(ledger))


def finish_landing(settings: Settings, ledger: Ledger, drop: DropRow) -> bool:
    """Do what is left of a landing whose drop is committed; True when there was something left."""
    if drop.upload_id is None or not spool_path(settings, drop.upload_id).exists():
        return False
    with holding(drop.name):
        # Another process that lives may have finished it, or undone it, while this one waited for the name.
        now = drops.get(ledger, drop.id)
        if (now.upload_id, now.name) != (drop.upload_id, drop.name) or not is_cut_short(settings, ledger, now):
            return False
        move_into_inbox(settings, drop.upload_id, *drop.name)
    return True


def is_cut_short(settings: Settings, ledger: Ledger, drop: DropRow) -> bool:
    """Whether the ledger has the drop as landed, and its bytes are still in the spool."""
    if drop.upload_id is None or drop.state not in (*drops.UNSETTLED, "queued"):
        return False
    is_closed = uploads.get(ledger, drop.upload_id).state == "closed"
    return is_closed and spool_path(settings, drop.upload_id).exists()


def move_into_inbox(settings: Settings, upload_id: str, tenant: str, feed: str, path: str) -> None:
    spooled = spool_path(settings, upload_id)
    with parent_of(inbox(settings, tenant, feed), path, make=True) as (folder, name):
        os.rename(spooled, name, dst_dir_fd=folder)
        os.fsync(folder)
    sync(spooled.parent)


def spool_path(settings: Settings, upload_id: str) -> Path:
    """Where the bytes of an upload are until it lands."""
    return settings.spool_dir / "uploads" / upload_id
