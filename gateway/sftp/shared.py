"""What the processes of one port share in memory: the counts of quotas, and the lines of users with a bandwidth.

Each is a few numbers in a small file that all have mapped, and a lock that the kernel frees when its process ends.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import threading
from collections.abc import Hashable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from gateway.config import Settings
from gateway.locks import Marks, place_of
from gateway.sftp.bandwidth import NEVER, Line
from gateway.sftp.quota import Counted, Counts

S = TypeVar("S", bound=ctypes.Structure)


class Moment(ctypes.Structure):
    """Until when a line is busy, by the clock that all processes of a machine have; zero is never."""

    _fields_ = (("at", ctypes.c_double),)
    at: float


class SharedLock(AbstractContextManager[None]):
    """For one thread of one process at a time. Not reentrant."""

    def __init__(self, marks: Marks, name: Hashable) -> None:
        self._threads = threading.Lock()
        self._marks = marks
        self._name = name

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            self._marks.take(self._name)
        except BaseException:  # Whatever it is, the next one must not wait for ever.
            self._threads.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._marks.free(self._name)
        self._threads.release()


class SharedLine(Line):
    """One direction of one user in all processes together."""

    def __init__(self, bytes_per_second_max: int, moment: Moment, lock: SharedLock) -> None:
        self._limit = bytes_per_second_max
        self._moment = moment
        self._lock = lock

    @property
    def free_at(self) -> float:
        return self._moment.at or NEVER

    @free_at.setter
    def free_at(self, at: float) -> None:
        self._moment.at = at

    def take(self, length: int, now: float) -> None:
        with self._lock:
            super().take(length, now)


class SharedNumbers:
    """The files of a gateway's processes; the one that starts the others calls `begin_anew` before."""

    def __init__(self, settings: Settings) -> None:
        self._folder = folder_of(settings)
        self._marks = Marks(self._folder / "locks")
        self.uploads = Marks(settings.data_dir / "uploads.lock")

    @staticmethod
    def begin_anew(settings: Settings) -> None:
        shutil.rmtree(folder_of(settings), ignore_errors=True)
        folder_of(settings).mkdir(mode=0o750, parents=True)

    def counted(self, tenant: str, feed: str) -> Counted:
        """Where the counts of a feed are."""
        name = "feed", tenant, feed
        return Counted(self._mapped(name, Counts), self._lock("counting", *name), self._lock("growing", *name))

    def line(self, bytes_per_second_max: int, *name: str) -> Line:
        """One direction of a user, by those names."""
        if not bytes_per_second_max:
            return Line(bytes_per_second_max)
        return SharedLine(bytes_per_second_max, self._mapped(name, Moment), self._lock(*name))

    def _lock(self, *name: str) -> SharedLock:
        return SharedLock(self._marks, name)

    def _mapped(self, name: tuple[str, ...], kind: type[S]) -> S:
        descriptor = os.open(self._folder / f"{place_of(name):x}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            # What is there already keeps its bytes; what is new is all zero.
            os.ftruncate(descriptor, ctypes.sizeof(kind))
            return kind.from_buffer(mmap.mmap(descriptor, ctypes.sizeof(kind)))
        finally:
            os.close(descriptor)


def folder_of(settings: Settings) -> Path:
    return settings.spool_dir / "shared"
