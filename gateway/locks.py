"""The locks of a data directory. The kernel frees them when their process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import AlreadyServing

SERVING = "gateway.lock"
KEEPING = "keep.lock"
RESTORING = "restore.unfinished"
"""Stands in a data directory from the first file of a restore to the last."""


@contextmanager
def alone_in(data_dir: Path) -> Iterator[None]:
    """Hold the lock of a data directory, or AlreadyServing."""
    data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    with (data_dir / SERVING).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyServing(
                f"{data_dir}: another gateway (process {lock.read().strip() or 'unknown'}) serves this data directory"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def serving_process(data_dir: Path) -> str | None:
    """The id of the process that serves the data directory; None when none does."""
    try:
        lock = (data_dir / SERVING).open()
    except FileNotFoundError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read().strip() or "unknown"
    return None


@contextmanager
def keeping(data_dir: Path, *, wait: bool) -> Iterator[bool]:
    """Sweep or back up, never both at once: True when the lock was had. With `wait` it is waited for."""
    with (data_dir / KEEPING).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
