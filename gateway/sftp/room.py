"""The room that uploads may take: what their feeds' quotas leave, and what the disk has beyond its reserve.

So a client hears of a disk that fills up while there is still space for the ledger, for results, and for the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import asyncssh
import structlog

from gateway.config import LiveSettings, Settings
from gateway.ledger import Ledger
from gateway.sftp.paths import Place
from gateway.sftp.quota import Counted, Quota

log = structlog.get_logger(__name__)

LOOK_BYTES = 16 * 1024**2
LOOK_SECONDS = 1.0
WARN_SECONDS = 60.0
FREE_TO_ALL = 4
"""The place of f_bavail in a statvfs_result."""


class Reserve:
    """The part of the disk that uploads leave free. Looks at the disk every so many bytes, and once a second."""

    def __init__(self, live: LiveSettings) -> None:
        self._live = live
        self._left = 0
        self._looked_at = float("-inf")
        self._warned_at = float("-inf")

    def take(self, place: Place, length: int) -> None:
        """So many bytes are about to be written. Raises SFTPNoSpaceOnFilesystem when only the reserve is left."""
        if length > self._left or time.monotonic() - self._looked_at > LOOK_SECONDS:
            spare = self._spare()
            if spare <= 0 or length > spare:
                self._left = -1
                raise asyncssh.SFTPNoSpaceOnFilesystem(
                    f"{place}: the gateway has no space left for uploads; try again later, or ask its operator"
                )
            self._left = min(spare, LOOK_BYTES)
        self._left -= length

    def _spare(self) -> int:
        settings = self._live.current
        found = os.statvfs(settings.spool_dir)
        self._looked_at = time.monotonic()
        free, reserve = found.f_bavail * found.f_frsize, settings.gateway.limits.disk_reserve_bytes
        if free <= reserve and self._looked_at - self._warned_at > WARN_SECONDS:
            self._warned_at = self._looked_at
            log.error("uploads are refused: the disk has only its reserve left", free=free, disk_reserve_bytes=reserve)
        return free - reserve


def space(settings: Settings) -> os.statvfs_result:
    """What a client is told of the disk: the reserve is not for it."""
    found = os.statvfs(settings.spool_dir)
    reserved = -(-settings.gateway.limits.disk_reserve_bytes // found.f_frsize)
    # The ten that it lists; f_fsid is not among them, and says nothing to a client.
    fields = list(found)
    fields[FREE_TO_ALL] = max(found.f_bavail - reserved, 0)
    return os.statvfs_result(fields)


class Room:
    """What one upload, or one new name, may take."""

    def __init__(self, quota: Quota, reserve: Reserve, place: Place) -> None:
        self._quota = quota
        self._reserve = reserve
        self._place = place

    def name(self) -> None:
        """A new file or folder. Raises UploadRefused or SFTPNoSpaceOnFilesystem."""
        self._reserve.take(self._place, 0)
        self._quota.add_file(self._place)

    def take(self, growth: int, length: int) -> None:
        """`length` bytes are about to be written, and the file grows by `growth`. Raises like `name`."""
        self._reserve.take(self._place, length)
        if growth > 0:
            self._quota.grow(self._place, growth)


class Rooms:
    """The room of every feed. `open_bytes` is what open uploads of a feed have, `counted` where its counts are."""

    def __init__(
        self,
        live: LiveSettings,
        ledger: Ledger,
        open_bytes: Callable[[str, str], int],
        counted: Callable[[str, str], Counted],
    ) -> None:
        self._live = live
        self._ledger = ledger
        self._open_bytes = open_bytes
        self._counted = counted
        self._reserve = Reserve(live)
        self._quotas: dict[tuple[str, str], Quota] = {}

    def of(self, tenant: str, place: Place) -> Room:
        name = tenant, place.feed
        if name not in self._quotas:
            quota = Quota(self._live, self._ledger, *name, lambda: self._open_bytes(*name), self._counted(*name))
            self._quotas.setdefault(name, quota)
        return Room(self._quotas[name], self._reserve, place)
