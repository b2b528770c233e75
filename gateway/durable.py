"""Files that appear complete or not at all, and survive a power cut: write hidden, fsync, rename."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

WAITING: ContextVar[list[int] | None] = ContextVar("waiting", default=None)
"""Open files and folders that are to be durable when `together` ends."""
WAITING_MAX = 128
"""So many are open at most: a process may have no more than 1,024, and a commit takes up to 400 jobs."""


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


def create(path: Path, content: bytes) -> None:
    """A new file of few bytes, which are durable; its name is not, before its folder is synced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        sync_opened(descriptor)
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Make the content of a small file survive a power cut; its name is up to `sync_folder`."""
    sync_closed(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    sync_closed(folder, os.O_RDONLY | os.O_DIRECTORY)


def sync_closed(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        sync_opened(descriptor)
    finally:
        os.close(descriptor)


def sync_opened(descriptor: int) -> None:
    """Make an open small file, or folder, durable; in `together`, when that ends."""
    waiting = WAITING.get()
    if waiting is None:
        os.fsync(descriptor)
        return
    waiting.append(os.dup(descriptor))
    if len(waiting) >= WAITING_MAX:
        sync_all(waiting)


@contextmanager
def together() -> Iterator[None]:
    """Whatever is synced inside is durable when this ends without an error; of very many some are so before.

    A file system writes its journal once for all of them, where it would do so for each: that takes half of the time
    and of the processor.
    """
    waiting: list[int] = []
    outer = WAITING.set(waiting)
    try:
        yield
        sync_all(waiting)
    finally:
        WAITING.reset(outer)
        for descriptor in waiting:
            os.close(descriptor)


def sync_all(waiting: list[int]) -> None:
    """Make them durable and close them, so that none waits any more."""
    # All are on their way before the first is waited for: its journal then has the places of the others' blocks.
    for descriptor in waiting:
        with suppress(OSError):  # It is an advice, which not every file system takes.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    for descriptor in waiting:
        os.fsync(descriptor)
    while waiting:
        os.close(waiting.pop())
