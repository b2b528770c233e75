"""The locks of a data directory. The kernel frees them when their process ends, however it ends."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.errors import AlreadyServing

SERVING = "gateway.lock"
KEEPING = "keep.lock"
WRITING = "store.locks"
"""A folder with a lock for each tenant: who holds it writes to the tenant's store."""
RESTORING = "restore.unfinished"
"""Stands in a data directory from the first file of a restore to the last."""


@contextmanager
def alone_in(data_dir: Path) -> Iterator[int]:
    """Hold the lock of a data directory, or AlreadyServing. Processes that are given its descriptor hold it too."""
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
        yield lock.fileno()


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
    with locked(data_dir / KEEPING, wait=wait) as had:
        yield had


@contextmanager
def writing(data_dir: Path, tenant: str, *, wait: bool = True) -> Iterator[bool]:
    """Write to a tenant's store, one of all processes at a time: True when the lock was had.

    A commit holds it from the look at the tables to the last entry in their logs; so do upkeep, reset and backup.
    """
    folder = data_dir / WRITING
    folder.mkdir(mode=0o750, exist_ok=True)
    with locked(folder / tenant, wait=wait) as had:
        yield had


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a file: True when it was had. With `wait` it is waited for."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


class Marks:
    """Names that are taken across processes, each as one byte of a file: the kernel frees those of a process that ends.

    Between the threads of a process they do not exclude anybody; a name is free when each of them has freed it.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._guard = threading.Lock()
        self._count: Counter[int] = Counter()

    def close(self) -> None:
        os.close(self._file)

    def take(self, name: Hashable, *, wait: bool = True) -> bool:
        """True when it was had; without `wait`, False when another process has it."""
        place = place_of(name)
        while not (had := self._take_now(place)) and wait:
            # Then it is asked for again: a thread of this process may free it before it is counted.
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLKW, range_of(fcntl.F_WRLCK, place))
        return had

    def _take_now(self, place: int) -> bool:
        with self._guard:
            if not self._count[place]:
                try:
                    fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, range_of(fcntl.F_WRLCK, place))
                except BlockingIOError:
                    return False
            self._count[place] += 1
            return True

    def free(self, name: Hashable) -> None:
        """What is free already stays so."""
        place = place_of(name)
        with self._guard:
            self._count[place] -= 1
            if self._count[place] <= 0:
                del self._count[place]
                fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, range_of(fcntl.F_UNLCK, place))

    @contextmanager
    def taken(self, *names: Hashable) -> Iterator[None]:
        """Wait for all of them; in one order in all processes, so that two cannot wait for each other."""
        with ExitStack() as had:
            for name in sorted(set(names), key=place_of):
                self.take(name)
                had.callback(self.free, name)
            yield


def place_of(name: Hashable) -> int:
    """The byte of a name: two names share one as good as never, and would then wait for each other."""
    return int.from_bytes(hashlib.blake2b(repr(name).encode(), digest_size=8).digest(), "big") >> 2


def range_of(kind: int, place: int) -> bytes:
    """A `struct flock` of one byte; a lock of an open file description has no process."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, place, 1, 0)
