"""The folders of feeds and of the spool; what is below an inbox is walked part by part, never through a link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.config import Settings
from gateway.ledger.states import DRY_RUN_FOLDER

AREAS = ("inbox", "outbox", "samples")
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def inbox(settings: Settings, tenant: str, feed: str) -> Path:
    """Where a feed's drops land."""
    return settings.tenant_dir(tenant) / "inbox" / feed


def make_folders(settings: Settings) -> None:
    """The spool's folders, and those of every configured feed."""
    for name in ("uploads", "work", "spare"):
        make_durably(settings.spool_dir / name)
    for tenant, configured in settings.tenants.items():
        for area in AREAS:
            make_durably(settings.tenant_dir(tenant) / area)
            for feed in configured.feeds:
                make_durably(settings.tenant_dir(tenant) / area / feed)
        for feed in configured.feeds:
            make_dry_run(inbox(settings, tenant, feed))


def make_dry_run(root: Path) -> None:
    """The folder for dry runs in an inbox; a file that has its name goes its way first."""
    with suppress(FileExistsError):
        make_durably(root / DRY_RUN_FOLDER)


def make_durably(folder: Path) -> None:
    """The folder and those above it: what is put into them survives a power cut only when they do."""
    if not folder.is_dir():
        make_durably(folder.parent)
        folder.mkdir(mode=0o750, exist_ok=True)
        sync(folder.parent)


@contextmanager
def parent_of(root: Path, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """The open folder that holds `path` (relative to `root`), and the last component of it.

    With `make`, missing folders are made and are durable. Raises OSError; ELOOP or ENOTDIR for a link.
    """
    *folders, name = path.split("/")
    descriptor = os.open(root, FOLDER)
    try:
        for folder in folders:
            if make:
                make_folder(descriptor, folder)
            inner = os.open(folder, FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor, name
    finally:
        os.close(descriptor)


def make_folder(parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o750, dir_fd=parent)
    except FileExistsError:
        return
    os.fsync(parent)


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
