"""Recovery: what becomes of the uploads that a process left open when it ended without a word."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from gateway.config import Settings
from gateway.errors import UploadRefused
from gateway.ledger import Ledger, uploads
from gateway.ledger.uploads import UploadRow
from gateway.pickup.folder import inbox, parent_of
from gateway.pickup.names import is_temporary
from gateway.sftp.spool import all_but_the_last, durable_prefix

if TYPE_CHECKING:
    from gateway.sftp.uploads import Uploads

log = structlog.get_logger(__name__)


def recover(done_by: Uploads, settings: Settings, ledger: Ledger, row: UploadRow) -> None:
    """Make an open upload that nobody has a handle of incomplete, or stored where it was so already."""
    path = done_by.spooled(row.id)
    if not path.exists():
        close_stored(done_by, settings, ledger, row)
    elif not store_again(done_by, ledger, row):
        size = 0 if row.in_place else all_but_the_last(durable_prefix(path))
        os.truncate(path, size)
        done_by.interrupt(row.id, size, "the gateway ended before the close")


def store_again(done_by: Uploads, ledger: Ledger, row: UploadRow) -> bool:
    """It was in under its temporary name, and a rename to its final one was cut short: True when it is in again."""
    if not uploads.was_stored(ledger, row.id):
        return False
    try:
        if is_temporary(row.path, done_by.policy(row)):
            done_by.store_temporary(row, done_by.spooled(row.id).stat().st_size)
            return True
    except (OSError, UploadRefused) as error:
        log.warning("upload could not get its temporary name back", upload=row.id, error=type(error).__name__)
    return False


def close_stored(done_by: Uploads, settings: Settings, ledger: Ledger, row: UploadRow) -> None:
    """It has no file in the spool: it is in the inbox under its temporary name, or it never began."""
    try:
        if not is_temporary(row.path, done_by.policy(row)):
            raise FileNotFoundError
        with parent_of(inbox(settings, row.tenant, row.feed), row.path) as (folder, name):
            size = os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
        uploads.close_upload(ledger, row.id, size)
    except (OSError, UploadRefused):
        uploads.abort(ledger, row.id, "the gateway ended before the close and nothing had arrived")
