"""Files that appear complete or not at all, and survive a power cut: write hidden, fsync, rename."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write(path: Path, content: bytes, mode: int = 0o640, *, replace: bool = True) -> None:
    """Make `path` hold `content`; a reader sees the old file or the new one, never a part.

    With `replace=False` a file that is there is left as it is, and FileExistsError raised.
    """
    descriptor, hidden = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(hidden, path)
        else:
            os.link(hidden, path)
    finally:
        Path(hidden).unlink(missing_ok=True)
    sync_folder(path.parent)


def sync(path: Path) -> None:
    """Make the content of a file survive a power cut; its name is up to `sync_folder`."""
    sync_opened(os.open(path, os.O_RDONLY))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    sync_opened(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


def sync_opened(descriptor: int) -> None:
    """Make durable what is open under the descriptor, which is closed then."""
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
