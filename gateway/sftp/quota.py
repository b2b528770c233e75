"""Quotas: how many files and bytes of a feed may wait, and the sentences of who brings one more.

All counts that waits: what stands in the inbox, with folders and temporary names, uploads under way and those that
broke off, and files whose jobs have not ended. Of a file its length counts, holes and all: so nothing gets round it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from gateway.config import FeedSettings, LiveSettings
from gateway.errors import UploadRefused
from gateway.ledger import Ledger, waiting
from gateway.ledger.states import DRY_RUN_FOLDER
from gateway.ledger.waiting import Waiting
from gateway.pickup.folder import inbox
from gateway.sftp.paths import Place

COUNT_SECONDS = 1.0
"""A count is believed for so long, with what was added since; when it comes near to a limit, it is made anew."""
SHARE_OF_TIME = 20
"""Counting takes at most this part of the time, however large the inbox, and however often somebody is refused."""
QUICK_SECONDS = 0.005
"""In a worker thread, a count that is quicker is made whenever it is wanted."""


class Counts(ctypes.Structure):
    """The counts of a feed, as they may stand in memory that processes share; all zero, they are long out of date."""

    _fields_ = (
        ("files", ctypes.c_int64),
        ("bytes_before", ctypes.c_int64),
        ("grown", ctypes.c_int64),
        ("counted_at", ctypes.c_double),
        ("cost", ctypes.c_double),
    )
    files: int
    bytes_before: int
    grown: int
    counted_at: float
    cost: float


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts of a feed, and the locks of whoever counts and of whoever adds bytes."""

    counts: Counts
    counting: AbstractContextManager[object]
    growing: AbstractContextManager[object]


def counted_alone(tenant: str, feed: str) -> Counted:
    """For the one process that serves."""
    return Counted(Counts(counted_at=float("-inf")), threading.Lock(), threading.Lock())


class Quota:
    """What waits of one feed. `grow` runs on the event loop, all else in worker threads."""

    def __init__(
        self,
        live: LiveSettings,
        ledger: Ledger,
        tenant: str,
        feed: str,
        open_bytes: Callable[[], int],
        counted: Counted,
    ) -> None:
        self._live = live
        self._ledger = ledger
        self._tenant = tenant
        self._feed = feed
        self._open_bytes = open_bytes
        self._counting = counted.counting
        self._growing = counted.growing
        self._counts = counted.counts

    def add_file(self, place: Place) -> None:
        """One more file or folder. Raises UploadRefused when there are as many as there may be."""
        files_max, bytes_max = self._policy.inbox_files_max, self._policy.inbox_bytes_max
        with self._counting:
            is_near = self._counts.files >= files_max or self._bytes() > bytes_max // 2
            if (is_near or self._age() > COUNT_SECONDS) and (self._counts.cost < QUICK_SECONDS or self._is_due()):
                self._count()
            if self._counts.files >= files_max:
                raise UploadRefused(
                    f"{place}: {self._counts.files} files and folders of this feed wait or are being uploaded, and "
                    f"{files_max} may; try again when they have been processed, or remove some"
                )
            self._counts.files += 1

    def grow(self, place: Place, length: int) -> None:
        """So many bytes more. Raises UploadRefused when that is more than there may be."""
        bytes_max = self._policy.inbox_bytes_max
        if self._bytes() + length > bytes_max and self._is_due():
            with self._counting:
                self._count()
        with self._growing:
            if self._bytes() + length > bytes_max:
                raise UploadRefused(
                    f"{place}: {self._bytes()} bytes of this feed wait or are being uploaded, and {bytes_max} may; "
                    "try again when they have been processed, or remove some"
                )
            self._counts.grown += length

    def _bytes(self) -> int:
        return self._counts.bytes_before + self._counts.grown

    def _age(self) -> float:
        return time.monotonic() - self._counts.counted_at

    def _is_due(self) -> bool:
        return self._age() > self._counts.cost * SHARE_OF_TIME

    def _count(self) -> None:
        begun, grown = time.monotonic(), self._counts.grown
        stands = standing(inbox(self._live.current, self._tenant, self._feed))
        outside = waiting.outside_the_inbox(self._ledger, self._tenant, self._feed)
        self._counts.files = stands.files + outside.files
        # What grows while it is counted counts twice until the next time, rather than not at all.
        self._counts.bytes_before = stands.bytes + outside.bytes + self._open_bytes() - grown
        self._counts.counted_at = time.monotonic()
        self._counts.cost = self._counts.counted_at - begun

    @property
    def _policy(self) -> FeedSettings:
        tenant = self._live.current.tenants.get(self._tenant)
        if tenant is None or self._feed not in tenant.feeds:
            raise UploadRefused(f"/inbox/{self._feed}: this feed is no longer configured; ask the gateway's operator")
        return tenant.feeds[self._feed]


def standing(root: Path) -> Waiting:
    """What is in an inbox and below it; folders count as files, but for the one for dry runs, which is ours."""
    files, size = -int((root / DRY_RUN_FOLDER).is_dir()), 0
    folders = [str(root)]
    while folders:
        # A folder may go while this runs, or be too deep for a name when a local program has made it.
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                files += 1
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    size += size_of(entry)
    return Waiting(files, size)


def size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
