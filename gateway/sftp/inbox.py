"""What a client may do below `/inbox/<feed>/`: names, and what each stands for (DESIGN.md, invariant 6).

A name stands for the user's own partial upload, else the file in the inbox, else the claimed one while it is still
shown. Everything here blocks: call it from a worker thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from errno import ENOENT
from pathlib import Path

from asyncssh.constants import FXF_APPEND, FXF_CREAT, FXF_EXCL, FXF_TRUNC

from gateway import clock
from gateway.config import LiveSettings, Settings
from gateway.errors import LedgerError, UploadRefused
from gateway.ledger import Ledger, drops, uploads
from gateway.ledger.drops import DropRow
from gateway.ledger.uploads import UploadRow
from gateway.pickup.claim import original_path
from gateway.pickup.folder import inbox, parent_of
from gateway.pickup.holding import holding
from gateway.pickup.landing import spool_path
from gateway.pickup.names import is_temporary
from gateway.sftp.paths import Place, list_below, open_below, stat_below
from gateway.sftp.uploads import Login, OpenUpload, Uploads, Wakes


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


class Inbox:
    """The inbox as one login sees it."""

    def __init__(self, live: LiveSettings, ledger: Ledger, pickup: Wakes, open_uploads: Uploads, login: Login) -> None:
        self._live = live
        self._ledger = ledger
        self._pickup = pickup
        self._uploads = open_uploads
        self._login = login

    @property
    def _settings(self) -> Settings:
        return self._live.current

    @property
    def _grace_seconds(self) -> float:
        return self._settings.gateway.pickup.grace_seconds

    @property
    def _settle_seconds(self) -> float:
        return self._settings.gateway.pickup.settle_seconds

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
        tenant, feed = self._login.tenant, place.feed
        standing = list_below(self._root(place), place.path)
        names: dict[str, Found] = {}
        for drop in drops.visible_in(self._ledger, tenant, feed, clock.now(), self._grace_seconds):
            self._put(names, place, drop.shown_path, self._claimed_as(drop))
        for name, status in standing.items():
            names[name] = Found(inside(place, name), status, status.st_size)
        for row in uploads.partials(self._ledger, tenant, self._login.username, feed):
            self._put(names, place, row.path, self._partial_as(row))
        return names

    def open_reading(self, place: Place) -> int:
        """A descriptor of the bytes that the name stands for."""
        found = self.get(place)
        if found.is_standing:
            return open_below(self._root(place), place.path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        if found.partial is not None:
            return os.open(spool_path(self._settings, found.partial.id), flags)
        return os.open(original_path(self._settings, str(found.claimed and found.claimed.job_id)), flags)

    def open_writing(self, place: Place, flags: int) -> OpenUpload:
        """A write handle, by the meaning of the SFTP open flags (draft-ietf-secsh-filexfer-02, 6.3)."""
        found = self.find(place)
        if found is None and not flags & FXF_CREAT:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), place.path)
        if found is not None and found.is_folder:
            raise UploadRefused(f"{place}: this is a folder; name a file in it")
        if found is not None and flags & FXF_EXCL and flags & FXF_CREAT:
            raise FileExistsError(17, os.strerror(17), place.path)
        with parent_of(self._root(place), place.path):
            pass  # A folder that is not there is said now and not after the last byte.
        append = bool(flags & FXF_APPEND)
        if found is None or flags & FXF_TRUNC:
            return self._uploads.start(self._login, place, append=append)
        if found.partial is not None and found.partial.state == "incomplete":
            return self._uploads.resume(found.partial, append=append)
        return self._start_from(found, append)

    def truncate(self, place: Place, size: int) -> None:
        """setstat with a size: the file lands anew with the other length."""
        found = self.get(place)
        if found.size == size or found.is_folder:
            return
        handle = self.open_writing(place, 0)
        try:
            handle.set_size(size)
        except BaseException:
            self._uploads.break_off(handle, "could not be cut")
            raise
        self._uploads.finish(handle)

    def set_times(self, place: Place, atime: float, mtime: float) -> None:
        """The file times that the client wants; a file that waits for its claim settles anew."""
        found = self.get(place)
        if found.is_folder:
            return
        descriptor = self.open_reading(place)
        try:
            os.utime(descriptor, (atime, mtime))
        finally:
            os.close(descriptor)
        drop = found.claimed or (self._waiting(place) if found.is_standing else None)
        if drop is not None:
            drops.set_client_mtime(self._ledger, drop.id, clock_time(mtime))
            drops.restart_settling(self._ledger, drop.id, clock.now(), self._settle_seconds)

    def set_landed_time(self, place: Place, mtime: datetime) -> None:
        """The time that a client set through its handle, for the drop that the handle became."""
        drop = self._waiting(place)
        if drop is not None:
            drops.set_client_mtime(self._ledger, drop.id, mtime)

    def remove(self, place: Place) -> None:
        """Before the claim this withdraws the drop; after it, the name is hidden and the job goes on."""
        found = self.get(place)
        if found.is_folder:
            raise UploadRefused(f"{place}: this is a folder; remove it with rmdir")
        if found.partial is not None:
            self._uploads.discard(found.partial)
        elif found.claimed is not None:
            drops.hide(self._ledger, found.claimed.id)
        else:
            self._unless_claimed(place, lambda: self._remove_standing(place), lambda: self.remove(place))

    def make_folder(self, place: Place) -> None:
        with parent_of(self._root(place), place.path) as (folder, name):
            os.mkdir(name, 0o750, dir_fd=folder)
            os.fsync(folder)

    def remove_folder(self, place: Place) -> None:
        with parent_of(self._root(place), place.path) as (folder, name):
            os.rmdir(name, dir_fd=folder)
            os.fsync(folder)

    def rename(self, old: Place, new: Place, *, overwrite: bool) -> None:
        """A rename within the inbox. From a temporary name to a final one, it lands the file."""
        found, target = self.get(old), self.find(new)
        if old == new:
            return
        if found.partial is not None:
            raise UploadRefused(f"{old}: the upload is not complete; finish it (reput) before it is renamed")
        if target is not None and target.is_folder:
            raise FileExistsError(17, os.strerror(17), new.path)
        # A claimed file is on its way already: it keeps its bytes, and its name is free for the next generation.
        if target is not None and target.claimed is None and not overwrite:
            raise FileExistsError(17, os.strerror(17), new.path)
        if found.claimed is not None:
            self._rename_claimed(found.claimed, old, new)
        elif found.is_folder:
            self._rename_folder(old, new)
        else:
            self._unless_claimed(
                old, lambda: self._rename_standing(old, new), lambda: self.rename(old, new, overwrite=overwrite)
            )

    def _rename_claimed(self, drop: DropRow, old: Place, new: Place) -> None:
        if old.feed != new.feed:
            raise UploadRefused(
                f"{old}: the file is being processed for feed {old.feed}; upload it again to {new} instead"
            )
        drops.record_rename(self._ledger, drop.id, new.path)

    def _rename_folder(self, old: Place, new: Place) -> None:
        if list_below(self._root(old), old.path):
            raise UploadRefused(f"{old}: a folder with files in it keeps its name; rename the files, or make a new one")
        self._move(old, new)

    def _rename_standing(self, old: Place, new: Place) -> None:
        drop = self._waiting(old)
        upload = uploads.stored(self._ledger, self._login.tenant, old.feed, old.path)
        final = not self._is_temporary(new)
        if drop is None and upload is not None and final:
            self._uploads.land_stored(upload, old, new)
            return
        with holding(self._name(old), self._name(new)):
            if drop is not None and final:
                self._free(new)
                drops.rename_landed(self._ledger, drop.id, new.feed, new.path, clock.now(), self._settle_seconds)
            elif drop is not None:
                drops.withdraw(self._ledger, drop.id, f"renamed to the temporary name {new.path}")
            if upload is not None and not final:
                uploads.set_place(self._ledger, upload.id, new.feed, new.path)
            self._move(old, new)
        self._pickup.wake()

    def _free(self, new: Place) -> None:
        """A queued drop of the name is claimed with its own bytes before another file takes the name."""
        target = drops.newest(self._ledger, self._login.tenant, new.feed, new.path)
        if target is not None and target.state == "queued":
            raise LedgerError(f"drop {target.id} is queued")

    def _move(self, old: Place, new: Place) -> None:
        with (
            parent_of(self._root(old), old.path) as (source, old_name),
            parent_of(self._root(new), new.path) as (target, new_name),
        ):
            os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=target)
            os.fsync(source)
            os.fsync(target)

    def _remove_standing(self, place: Place) -> None:
        with holding(self._name(place)):
            drop = self._waiting(place)
            # Withdrawn first: between the two a claim must not find a drop whose file is gone.
            if drop is not None:
                drops.withdraw(self._ledger, drop.id, "removed by the client")
            with parent_of(self._root(place), place.path) as (folder, name):
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)

    def _unless_claimed(self, place: Place, act: Callable[[], None], again: Callable[[], None]) -> None:
        """Do it to a file in the inbox; when a claim was quicker, let the claim finish and look at the name anew."""
        try:
            act()
        except (LedgerError, FileNotFoundError):
            drop = drops.newest(self._ledger, self._login.tenant, place.feed, place.path)
            if drop is None or drop.state not in ("queued", "claimed", "done"):
                raise
            self._pickup.claim_now(drop.id)
            if self._standing(place) is not None:
                raise
            again()

    def _start_from(self, found: Found, append: bool) -> OpenUpload:
        """A new upload that begins with the bytes that the name stands for."""
        drop = self._waiting(found.place)
        if drop is not None:
            drops.restart_settling(self._ledger, drop.id, clock.now(), self._settle_seconds)
        base = self.open_reading(found.place)
        try:
            return self._uploads.start(self._login, found.place, append=append, base=base)
        finally:
            os.close(base)

    def _partial(self, place: Place) -> Found | None:
        row = uploads.partial(self._ledger, self._login.tenant, self._login.username, place.feed, place.path)
        return self._partial_as(row) if row is not None else None

    def _partial_as(self, row: UploadRow) -> Found | None:
        try:
            status = spool_path(self._settings, row.id).stat()
        except FileNotFoundError:
            return None  # It is just landing, or on its way from a temporary name to the final one.
        return Found(Place("inbox", row.feed, row.path), status, self._uploads.size_of(row), partial=row)

    def _standing(self, place: Place) -> Found | None:
        try:
            status = stat_below(self._root(place), place.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Found(place, status, status.st_size)

    def _claimed(self, place: Place) -> Found | None:
        if not place.path:
            return None
        tenant, now = self._login.tenant, clock.now()
        drop = drops.find_visible(self._ledger, tenant, place.feed, place.path, now, self._grace_seconds)
        return self._claimed_as(drop) if drop is not None and drop.state in ("claimed", "done") else None

    def _claimed_as(self, drop: DropRow) -> Found | None:
        try:
            status = original_path(self._settings, str(drop.job_id)).stat()
        except FileNotFoundError:
            return None
        return Found(Place("inbox", drop.feed, drop.shown_path), status, drop.bytes, claimed=drop)

    def _put(self, names: dict[str, Found], folder: Place, path: str, found: Found | None) -> None:
        """Among the names of `folder`, when it is the folder of `path`."""
        parent, _, name = path.rpartition("/")
        if found is not None and parent == folder.path:
            names[name] = found

    def _waiting(self, place: Place) -> DropRow | None:
        """The drop of the file in the inbox; a file with a temporary name, or of a local program, may have none."""
        drop = drops.newest(self._ledger, self._login.tenant, place.feed, place.path)
        return drop if drop is not None and drop.state in ("landed", "queued") else None

    def _is_temporary(self, place: Place) -> bool:
        return is_temporary(place.path, self._settings.tenants[self._login.tenant].feeds[place.feed])

    def _name(self, place: Place) -> tuple[str, str, str]:
        return self._login.tenant, place.feed, place.path

    def _root(self, place: Place) -> Path:
        return inbox(self._settings, self._login.tenant, place.feed)


def inside(folder: Place, name: str) -> Place:
    return Place(folder.area, folder.feed, f"{folder.path}/{name}" if folder.path else name)


def clock_time(seconds: float) -> datetime:
    """A time that a client sent, in UTC."""
    return datetime.fromtimestamp(seconds, tz=clock.now().tzinfo)
