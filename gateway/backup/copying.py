"""Copying into a backup and out of it: durable, with the digest of what was copied."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gateway.durable import sync_folder

CHUNK = 1024 * 1024


def copy(source: Path, target: Path, length: int | None = None) -> str:
    """A new file with the same bytes (the first `length`), mode and mtime, fsynced; its SHA-256. No link is followed.

    The name becomes durable with `sync_folders`. Raises FileExistsError when `target` is there.
    """
    target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    digest = hashlib.sha256()
    with open(reading, "rb") as file:
        found = os.fstat(file.fileno())
        mode = found.st_mode & 0o777
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode | 0o200)
        with open(writing, "wb") as copied:
            left = length if length is not None else found.st_size
            while left and (chunk := file.read(min(CHUNK, left))):
                digest.update(chunk)
                copied.write(chunk)
                left -= len(chunk)
            copied.flush()
            os.utime(copied.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
            os.fchmod(copied.fileno(), mode)
            os.fsync(copied.fileno())
    return digest.hexdigest()


def sync_folders(root: Path) -> None:
    """Make all names below a folder durable, the deepest first."""
    for folder, _, _ in os.walk(root, topdown=False):
        sync_folder(Path(folder))
