"""Claiming: a settled drop's file leaves the inbox for its job's own work folder, by link and unlink.

Not by rename: a rename out of a watched folder holds watchdog's next event for half a second.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from gateway.config import Settings
from gateway.ledger import Ledger, drops
from gateway.ledger.drops import DropRow, Name
from gateway.pickup.folder import inbox, parent_of


def work_dir(settings: Settings, job_id: str) -> Path:
    """A job's own folder in the spool."""
    return settings.spool_dir / "work" / job_id


def original_path(settings: Settings, job_id: str) -> Path:
    """The bytes of a claimed drop."""
    return work_dir(settings, job_id) / "original"


def archived_path(settings: Settings, drop: DropRow) -> Path:
    """The bytes of a drop that has left the inbox; one without a job (a marker) has a folder of its own."""
    return original_path(settings, drop.job_id or drop.id)


def place_of(settings: Settings, drop: DropRow) -> Path:
    """Where the ledger has the bytes of a drop: in its inbox, or in the archive."""
    if drop.in_inbox:
        return inbox(settings, drop.tenant, drop.feed) / drop.path
    return archived_path(settings, drop)


def take_file(settings: Settings, drop: DropRow) -> bool:
    """Move a claimed drop's file into its work folder; True when the bytes are there.

    Can be repeated after a kill at any point. The caller holds the drop's name.
    """
    original = archived_path(settings, drop)
    if is_taken(original, drop):
        return True
    original.parent.mkdir(parents=True, exist_ok=True)
    try:
        with parent_of(inbox(settings, drop.tenant, drop.feed), drop.path) as (folder, name):
            link_and_unlink(folder, name, drop.inode, original)
    except (FileNotFoundError, NotADirectoryError):
        # Taken already, or removed by a local program: whether the bytes are here decides.
        pass
    return is_same_file(original, drop)


def link_and_unlink(folder: int, name: str, inode: int, original: Path) -> None:
    if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino != inode:
        return  # Another file has the name by now; this one was taken before.
    if not original.exists() or original.lstat().st_ino != inode:
        # Another one that is there already was held, and has been replaced by this one.
        original.unlink(missing_ok=True)
        os.link(name, original, src_dir_fd=folder, follow_symlinks=False)
    os.unlink(name, dir_fd=folder)


def clear_the_name(settings: Settings, ledger: Ledger, name: Name) -> None:
    """The file of a drop that is claimed or has ended leaves its name, if it still stands there after a kill.

    Whoever changes the file of a name calls this first, and holds the name: those bytes are not the client's any more.
    """
    before = drops.newest(ledger, *name)
    if before is not None and before.leaving:
        take_leaving(settings, ledger, before)
    elif before is not None and before.state == "claimed":
        take_file(settings, before)


def finish_claims(settings: Settings, ledger: Ledger) -> None:
    """At start: take the files of claims that a kill cut short."""
    for drop in drops.claimed(ledger):
        with contextlib.suppress(OSError):  # Its job says so, and tries again.
            take_file(settings, drop)


def take_leaving(settings: Settings, ledger: Ledger, drop: DropRow) -> None:
    """Take the file of a drop that has ended out of the inbox. Can be repeated; the caller holds the drop's name."""
    if drop.leaving == "archive":
        take_file(settings, drop)
    else:
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            parent_of(inbox(settings, drop.tenant, drop.feed), drop.path) as (folder, name),
        ):
            if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino == drop.inode:
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
    drops.left(ledger, drop.id)


def is_taken(original: Path, drop: DropRow) -> bool:
    """Whether nothing is left to be done: the file is here, and has no other name."""
    try:
        found = original.lstat()
    except FileNotFoundError:
        return False
    return (found.st_ino, found.st_size, found.st_nlink) == (drop.inode, drop.bytes, 1)


def is_same_file(original: Path, drop: DropRow) -> bool:
    """Whether the claimed file is the one that landed, by inode and size."""
    try:
        found = original.lstat()
    except FileNotFoundError:
        return False
    return (found.st_ino, found.st_size) == (drop.inode, drop.bytes)
