"""Pins: second names for files that a backup is about to copy, so that they are there whatever happens to the first.

A link and no copy, in `spool/pins/`; the lock `keeping` is held while they stand.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gateway.config import Settings
from gateway.ledger import Ledger, drops
from gateway.ledger.drops import DropRow
from gateway.pickup.claim import archived_path, original_path
from gateway.pickup.folder import inbox
from gateway.pickup.landing import spool_path


def pins_dir(settings: Settings) -> Path:
    return settings.spool_dir / "pins"


def unpin_all(settings: Settings) -> None:
    """Remove all pins, also those that a killed backup left."""
    shutil.rmtree(pins_dir(settings), ignore_errors=True)


def pin_drop(settings: Settings, live: Ledger, drop: DropRow) -> Path | None:
    """The pin of the drop's file, wherever it is by now; None when it is nowhere."""
    job_id = drop.job_id or drops.get(live, drop.id).job_id
    places = [spool_path(settings, drop.upload_id)] if drop.upload_id else []
    # In the order in which a file moves: one that leaves a place behind our back comes into the next.
    places.append(inbox(settings, drop.tenant, drop.feed) / drop.path)
    places += [archived_path(settings, drop)] if job_id is None else [original_path(settings, job_id)]
    return next((pin for place in places if (pin := pin_file(settings, place, drop.id, drop.inode, drop.bytes))), None)


def pin_file(settings: Settings, path: Path, name: str, inode: int | None, size: int | None) -> Path | None:
    """The pin of a file; None when it is not there, or is another one by inode or size."""
    pin = pins_dir(settings) / name
    if pin.exists() and matches(pin, inode, size):
        return pin
    pin.unlink(missing_ok=True)
    try:
        os.link(path, pin, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not matches(pin, inode, size):
        pin.unlink()
        return None
    return pin


def matches(path: Path, inode: int | None, size: int | None) -> bool:
    found = path.lstat()
    return (inode is None or found.st_ino == inode) and (size is None or found.st_size == size)
