"""What a client may change below `/inbox/<feed>/`; for each name it depends on what the name stands for.

Everything here blocks: call it from a worker thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from errno import EEXIST, ENOENT
from pathlib import Path

from asyncssh.constants import FXF_APPEND, FXF_CREAT, FXF_EXCL, FXF_TRUNC

from gateway import clock
from gateway.config import FeedSettings, LiveSettings, Settings
from gateway.errors import LedgerError, UploadRefused
from gateway.ledger import Ledger, drops, holds, landings, uploads, visible
from gateway.ledger.drops import DropRow
from gateway.pickup.claim import clear_the_name
from gateway.pickup.folder import parent_of
from gateway.pickup.holding import holding
from gateway.pickup.names import is_dry_run, is_temporary
from gateway.pickup.proofs import kind_of
from gateway.sftp.handles import OpenUpload
from gateway.sftp.logged_in import Login
from gateway.sftp.names import Found, Names
from gateway.sftp.new_names import refuse_bad_name, refuse_too_deep, refuse_twin
from gateway.sftp.paths import Place, inbox_of, list_below
from gateway.sftp.uploads import Uploads, Wakes


class Inbox:
    """The inbox as one login may change it."""

    def __init__(
        self, live: LiveSettings, ledger: Ledger, pickup: Wakes, open_uploads: Uploads, names: Names, login: Login
    ) -> None:
        self._live = live
        self._ledger = ledger
        self._pickup = pickup
        self._uploads = open_uploads
        self._names = names
        self._login = login

    def open_writing(self, place: Place, flags: int) -> OpenUpload:
        """A write handle, by the meaning of the SFTP open flags (draft-ietf-secsh-filexfer-02, 6.3)."""
        found = self._names.find(place)
        if found is None and not flags & FXF_CREAT:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), place.path)
        if found is not None and found.is_folder:
            raise UploadRefused(f"{place}: this is a folder; name a file in it")
        if found is not None and flags & FXF_EXCL and flags & FXF_CREAT:
            raise FileExistsError(EEXIST, os.strerror(EEXIST), place.path)
        self._demand_folder(place)
        if found is None:
            self._refuse_new_name(place)
        self._restart_settling(place, "the client opened it again")
        append = bool(flags & FXF_APPEND)
        if found is None or flags & FXF_TRUNC:
            return self._uploads.start(self._login, place, append=append, in_place_of=found.partial if found else None)
        if found.partial is not None and found.partial.state == "incomplete":
            return self._uploads.resume(found.partial, append=append)
        return self._start_from(found, append)

    def truncate(self, place: Place, size: int) -> None:
        """setstat with a size: the file lands anew with the other length."""
        found = self._names.get(place)
        if found.size == size or found.is_folder:
            return
        handle = self.open_writing(place, 0)
        try:
            handle.set_size(size)
        except UploadRefused:
            self._uploads.break_off(handle, "could not be cut")
            raise
        self._uploads.finish(handle)

    def set_times(self, place: Place, atime: float, mtime: float) -> None:
        """The file times that the client wants; a file that waits for its claim settles anew."""
        found = self._names.get(place)
        if found.is_folder:
            return
        descriptor = self._names.open_reading(place)
        try:
            os.utime(descriptor, (atime, mtime))
        finally:
            os.close(descriptor)
        drop = self._names.visible_drop(place)
        if drop is not None and found.partial is None:
            drops.set_client_mtime(self._ledger, drop.id, clock_time(mtime))
            self._restart_settling(place, "the client set its times")

    def remove(self, place: Place) -> None:
        """Before the claim this withdraws the drop; after it, the name is hidden and the job goes on."""
        found = self._names.get(place)
        if found.is_folder:
            raise UploadRefused(f"{place}: this is a folder; remove it with rmdir")
        if found.partial is not None:
            self._uploads.discard(found.partial)
        elif found.claimed is not None:
            self._remove_claimed(place, found.claimed)
        else:
            self._unless_claimed(place, self._remove_standing, self.remove)

    def make_folder(self, place: Place) -> None:
        refuse_too_deep(place)
        self._demand_folder(place)
        self._refuse_new_name(place)
        with parent_of(self._root(place), place.path) as (folder, name):
            self._uploads.room(self._login.tenant, place).name()
            os.mkdir(name, 0o750, dir_fd=folder)
            os.fsync(folder)

    def remove_folder(self, place: Place) -> None:
        with parent_of(self._root(place), place.path) as (folder, name):
            os.rmdir(name, dir_fd=folder)
            os.fsync(folder)

    def rename(self, old: Place, new: Place, *, overwrite: bool) -> None:
        """A rename within the inbox. From a temporary name to a final one, it lands the file."""
        found, target = self._names.get(old), self._names.find(new)
        if found.partial is not None:
            raise UploadRefused(f"{old}: the upload is not complete; finish it (reput) before it is renamed")
        if old == new:
            return
        if target is None:
            self._refuse_new_name(new, old)
        if old.feed != new.feed and found.claimed is None:
            self._make_room(new, found.size)
        self._make_way(new, target, overwrite=overwrite)
        if found.claimed is not None:
            self._rename_claimed(found.claimed, old, new)
        elif found.is_folder:
            self._rename_folder(old, new)
        else:
            self._unless_claimed(
                old,
                lambda place: self._rename_standing(place, new),
                lambda place: self.rename(place, new, overwrite=overwrite),
            )

    def _make_way(self, new: Place, target: Found | None, *, overwrite: bool) -> None:
        """See that the new name can be taken, before anything is changed."""
        self._demand_folder(new)
        # A claimed file is on its way already: it keeps its bytes, and its name is free for the next generation.
        if target is None or target.claimed is not None:
            return
        if target.is_folder or not overwrite:
            raise FileExistsError(EEXIST, os.strerror(EEXIST), new.path)
        if target.partial is not None:
            self._uploads.discard(target.partial)

    def _make_room(self, new: Place, size: int) -> None:
        """A file comes from another feed: it counts here as if it were uploaded."""
        room = self._uploads.room(self._login.tenant, new)
        room.name()
        room.take(size, 0)

    def _rename_claimed(self, drop: DropRow, old: Place, new: Place) -> None:
        if old.feed != new.feed:
            raise UploadRefused(
                f"{old}: the file is being processed for feed {old.feed}; upload it again to {new} instead"
            )
        if is_dry_run(new.path) != drop.dry_run:
            tried = "tried, and not stored" if drop.dry_run else "processed, and not only tried"
            raise UploadRefused(f"{old}: the file is being {tried}; upload it again to {new} instead")
        visible.rename(self._ledger, drop, new.path)

    def _rename_folder(self, old: Place, new: Place) -> None:
        refuse_too_deep(new)
        if list_below(self._root(old), old.path):
            raise UploadRefused(f"{old}: a folder with files in it keeps its name; rename the files, or make a new one")
        self._move(old, new)

    def _rename_standing(self, old: Place, new: Place) -> None:
        final = not self._is_temporary(new)
        stored = uploads.stored(self._ledger, *self._name(old)) if self._is_temporary(old) else None
        if stored is not None and final:
            self._uploads.land_stored(stored, old, new)
            return
        with holding(self._name(old), self._name(new)):
            for place in (old, new):
                clear_the_name(self._settings, self._ledger, self._name(place))
            drop = self._names.waiting_drop(old)
            if drop is not None and final:
                kind = kind_of(new.path, self._policy(new))
                landings.rename_landed(
                    self._ledger, drop.id, new.feed, new.path, kind, clock.now(), self._settle_seconds
                )
            elif drop is not None:
                reason = f"renamed to the temporary name {new.path}"
                holds.withdraw(self._ledger, drop, reason, None, clock.now())
            upload_id = stored.id if stored is not None else drop.upload_id if drop is not None else None
            if upload_id is not None and not final:
                uploads.set_place(self._ledger, upload_id, new.feed, new.path)
            self._move(old, new)
            # Or an earlier generation would come to light under a name that the client has just given up.
            visible.hide(self._ledger, self._name(old))
        self._pickup.wake()

    def _move(self, old: Place, new: Place) -> None:
        with (
            parent_of(self._root(old), old.path) as (source, old_name),
            parent_of(self._root(new), new.path) as (target, new_name),
        ):
            os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=target)
            os.fsync(source)
            os.fsync(target)

    def _remove_claimed(self, place: Place, drop: DropRow) -> None:
        """The name is hidden and the job goes on; what is held because it looks cut off is withdrawn."""
        with holding(drop.name):
            if drop.state == "held" and drop.held_for == "suspect":
                with contextlib.suppress(LedgerError):  # Released in this moment: its job goes on.
                    holds.withdraw(self._ledger, drop, "removed by the client", None, clock.now())
            visible.hide(self._ledger, self._name(place))
        self._pickup.wake()

    def _remove_standing(self, place: Place) -> None:
        with holding(self._name(place)):
            clear_the_name(self._settings, self._ledger, self._name(place))
            drop = self._names.waiting_drop(place)
            # Withdrawn first: between the two a claim must not find a drop whose file is gone.
            if drop is not None:
                holds.withdraw(self._ledger, drop, "removed by the client", "delete", clock.now())
            with parent_of(self._root(place), place.path) as (folder, name):
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
            if drop is not None:
                drops.left(self._ledger, drop.id)
            visible.hide(self._ledger, self._name(place))

    def _unless_claimed(self, place: Place, act: Callable[[Place], None], again: Callable[[Place], None]) -> None:
        """Do it to a file in the inbox; when a claim was quicker, let the claim finish and look at the name anew."""
        try:
            act(place)
        except (LedgerError, FileNotFoundError):
            drop = drops.newest(self._ledger, *self._name(place))
            if drop is None or drop.in_inbox or drop.claimed_at is None:
                raise
            self._pickup.claim_now(drop.id)
            with holding(self._name(place)):
                pass
            if self._names.get(place).is_standing:
                raise
            again(place)

    def _start_from(self, found: Found, append: bool) -> OpenUpload:
        """A new upload that begins with the bytes that the name stands for."""
        base = self._names.open_reading(found.place)
        try:
            return self._uploads.start(self._login, found.place, append=append, base=base, base_bytes=found.size)
        finally:
            os.close(base)

    def _restart_settling(self, place: Place, reason: str) -> None:
        """Who opens a file again that waits for its claim is not done with it."""
        drop = self._names.waiting_drop(place)
        if drop is not None:
            drops.restart_settling(self._ledger, drop.id, clock.now(), self._settle_seconds, reason)

    def _refuse_new_name(self, place: Place, old: Place | None = None) -> None:
        refuse_bad_name(place, self._policy(place))
        under_way = uploads.names_under_way(self._ledger, self._login.tenant, self._login.username, place.feed)
        refuse_twin(self._root(place), place, under_way, old)

    def _demand_folder(self, place: Place) -> None:
        """A folder that is not there is said now, and not after the last byte."""
        with parent_of(self._root(place), place.path):
            pass

    @property
    def _settings(self) -> Settings:
        return self._live.current

    @property
    def _settle_seconds(self) -> float:
        return self._settings.gateway.pickup.settle_seconds

    def _is_temporary(self, place: Place) -> bool:
        return is_temporary(place.path, self._policy(place))

    def _policy(self, place: Place) -> FeedSettings:
        return self._settings.tenants[self._login.tenant].feeds[place.feed]

    def _name(self, place: Place) -> tuple[str, str, str]:
        return self._login.tenant, place.feed, place.path

    def _root(self, place: Place) -> Path:
        return inbox_of(self._settings, self._login.tenant, place)


def clock_time(seconds: float) -> datetime:
    """A time that a client sent, in UTC."""
    return datetime.fromtimestamp(seconds, tz=UTC)
