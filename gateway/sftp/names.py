"""What the names below `/inbox/<feed>/` stand for (DESIGN.md, invariant 6).

A name stands for the user's own partial upload, else the file in the inbox, else the claimed one while it is still
shown. Everything here blocks: call it from a worker thread.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path

from gateway import clock
from gateway.config import LiveSettings, Settings
from gateway.ledger import Ledger, drops, uploads, visible
from gateway.ledger.drops import DropRow
from gateway.ledger.uploads import UploadRow
from gateway.pickup.claim import archived_path
from gateway.pickup.landing import spool_path
from gateway.sftp.logged_in import Login
from gateway.sftp.paths import Place, inbox_of, list_below, open_below, stat_below
from gateway.sftp.spool import durable_prefix
from gateway.sftp.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Found:
    """What a name stands for: exactly one of `partial`, `claimed`, or a file or folder in the inbox."""

    place: Place
    status: os.stat_result
    size: int
    partial: UploadRow | None = None
    claimed: DropRow | None = None

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_standing(self) -> bool:
        """Whether it is in the inbox itself."""
        return self.partial is None and self.claimed is None


class Names:
    """The names of an inbox as one login sees them."""

    def __init__(self, live: LiveSettings, ledger: Ledger, open_uploads: Uploads, login: Login) -> None:
        self._live = live
        self._ledger = ledger
        self._uploads = open_uploads
        self._login = login

    def find(self, place: Place) -> Found | None:
        """What the name stands for."""
        return self._partial(place) or self._standing(place) or self._claimed(place)

    def get(self, place: Place) -> Found:
        """What the name stands for, or FileNotFoundError."""
        found = self.find(place)
        if found is None:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), place.path)
        return found

    def list(self, place: Place) -> dict[str, Found]:
        """The names in a folder; the stronger meaning of a name wins."""
        standing = list_below(self._root(place), place.path)
        now = clock.now()
        names: dict[str, Found] = {}
        for drop in visible.claimed(self._ledger, self._login.tenant, place.feed, now, self._grace_seconds):
            put(names, place, drop.shown_path, self._claimed_as(drop))
        for name, status in standing.items():
            names[name] = Found(inside(place, name), status, status.st_size)
        for row in uploads.partials(self._ledger, self._login.tenant, self._login.username, place.feed):
            put(names, place, row.path, self._partial_as(row))
        return names

    def open_reading(self, place: Place) -> int:
        """A descriptor of the bytes that the name stands for."""
        found = self.get(place)
        if found.is_standing:
            return open_below(self._root(place), place.path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        if found.partial is not None:
            return os.open(spool_path(self._settings, found.partial.id), flags)
        if found.claimed is None:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), place.path)
        return os.open(archived_path(self._settings, found.claimed), flags)

    def known_sha256(self, place: Place, descriptor: int) -> str | None:
        """The digest that the ledger has of the very bytes that the descriptor reads; never of another generation's."""
        drop, status = self.visible_drop(place), os.fstat(descriptor)
        if drop is None or (drop.inode, drop.bytes) != (status.st_ino, status.st_size):
            return None
        return drop.sha256

    def waiting_drop(self, place: Place) -> DropRow | None:
        """The drop of the file in the inbox; a file with a temporary name, or of a local program, may have none."""
        drop = drops.newest(self._ledger, self._login.tenant, place.feed, place.path)
        return drop if drop is not None and drop.in_inbox else None

    def visible_drop(self, place: Place) -> DropRow | None:
        """The drop that is shown under the name, in the inbox or claimed."""
        name = self._login.tenant, place.feed, place.path
        return visible.find(self._ledger, name, clock.now(), self._grace_seconds)

    def _partial(self, place: Place) -> Found | None:
        row = uploads.partial(self._ledger, self._login.tenant, self._login.username, place.feed, place.path)
        return self._partial_as(row) if row is not None else None

    def _partial_as(self, row: UploadRow) -> Found | None:
        try:
            status = spool_path(self._settings, row.id).stat()
        except FileNotFoundError:
            return None  # It is just landing, or on its way from a temporary name to the final one.
        try:
            size = self._size_of_partial(row, status)
        except FileNotFoundError:
            return None
        return Found(Place("inbox", row.feed, row.path), status, size, partial=row)

    def _size_of_partial(self, row: UploadRow, status: os.stat_result) -> int:
        """While it is being written out of order, the file is longer than what can be resumed."""
        if handle := self._uploads.handle_of(row.id):
            return handle.resumable()
        # Another process has it open: what can be told is what would be good of it if that process died.
        if row.state == "open":
            return 0 if row.in_place else durable_prefix(spool_path(self._settings, row.id))
        return status.st_size

    def _standing(self, place: Place) -> Found | None:
        try:
            status = stat_below(self._root(place), place.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Found(place, status, status.st_size)

    def _claimed(self, place: Place) -> Found | None:
        drop = self.visible_drop(place) if place.path else None
        return self._claimed_as(drop) if drop is not None and not drop.in_inbox else None

    def _claimed_as(self, drop: DropRow) -> Found | None:
        try:
            status = archived_path(self._settings, drop).stat()
        except FileNotFoundError:
            return None
        return Found(Place("inbox", drop.feed, drop.shown_path), status, drop.bytes, claimed=drop)

    @property
    def _settings(self) -> Settings:
        return self._live.current

    @property
    def _grace_seconds(self) -> float:
        return self._settings.gateway.pickup.grace_seconds

    def _root(self, place: Place) -> Path:
        return inbox_of(self._settings, self._login.tenant, place)


def inside(folder: Place, name: str) -> Place:
    return Place(folder.area, folder.feed, f"{folder.path}/{name}" if folder.path else name)


def put(names: dict[str, Found], folder: Place, path: str, found: Found | None) -> None:
    """Among the names of `folder`, when it is the folder of `path`."""
    parent, _, name = path.rpartition("/")
    if found is not None and parent == folder.path:
        names[name] = found
