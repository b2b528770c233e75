"""What a sweep removed, and how a file goes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()

Stopping = Callable[[], bool]


def never() -> bool:
    """For a sweep that nobody stops."""
    return False


@dataclass(slots=True)
class Swept:
    """Files (or rows of the ledger) and bytes."""

    count: int = 0
    bytes: int = 0

    def remove(self, path: Path) -> None:
        """Unlink a file and count it; one that is gone already does not count. Raises OSError."""
        try:
            size = path.lstat().st_size
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        self.count += 1
        self.bytes += size

    def remove_folder(self, folder: Path) -> None:
        """A folder and all that is in it. What cannot be removed is logged and stays for the next start."""
        sizes = [path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()]
        if not folder.is_dir():
            return
        try:
            shutil.rmtree(folder)
        except OSError as error:
            log.warning("folder cannot be removed", folder=str(folder), error=str(error))
            return
        self.count += len(sizes)
        self.bytes += sum(sizes)


def is_older(path: os.DirEntry[str], seconds: float) -> bool:
    """Whether a file was last changed before that time; False when it is gone. A client can set mtime, not ctime."""
    try:
        return path.stat(follow_symlinks=False).st_ctime < seconds
    except FileNotFoundError:
        return False
