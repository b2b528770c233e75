"""Uploads: a file that a client is writing, in the spool, until its close lands it or its break-off keeps the rest.

Nothing here is visible to pickup: bytes are in `spool/uploads/<upload id>` until `finish` lands them whole.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

import asyncssh
import structlog

from gateway.config import FeedSettings, LiveSettings, Settings
from gateway.errors import UploadRefused
from gateway.ledger import Ledger, new_id, uploads
from gateway.ledger.uploads import UploadRow
from gateway.locks import Marks
from gateway.pickup.folder import inbox, parent_of, sync
from gateway.pickup.holding import holding
from gateway.pickup.landing import land, spool_path
from gateway.pickup.names import is_temporary
from gateway.sftp import recovery
from gateway.sftp.handles import OpenUpload
from gateway.sftp.logged_in import Login
from gateway.sftp.paths import Place
from gateway.sftp.quota import Counted, counted_alone
from gateway.sftp.room import Room, Rooms
from gateway.sftp.spool import all_but_the_last, copy, is_at, time_of_client

log = structlog.get_logger(__name__)

DISCONNECTED = "the connection ended before the close"
REMOVED = "the file was removed while it was being uploaded; upload it again"


class Wakes(Protocol):
    """What uploads and the inbox need of pickup."""

    def wake(self) -> None: ...

    def claim_now(self, drop_id: str) -> None: ...


class Uploads:
    """The uploads of one gateway process. All methods but `handle_of` block: call them from a worker thread.

    `marks` are given where several processes serve: each upload that one of them has to do with is taken there, so
    that nobody else recovers it while that process lives.
    """

    def __init__(
        self,
        live: LiveSettings,
        ledger: Ledger,
        pickup: Wakes,
        marks: Marks | None = None,
        counted: Callable[[str, str], Counted] = counted_alone,
    ) -> None:
        self._live = live
        self._ledger = ledger
        self._pickup = pickup
        self._marks = marks
        self._open: dict[str, OpenUpload] = {}
        self._ended = threading.Condition()
        self._draining = False
        self._untold: dict[str, tuple[int, str]] = {}
        self._rooms = Rooms(live, ledger, self._open_bytes, counted)

    @property
    def _settings(self) -> Settings:
        return self._live.current

    def handle_of(self, upload_id: str) -> OpenUpload | None:
        """The open handle of an upload of this process."""
        return self._open.get(upload_id)

    def room(self, tenant: str, place: Place) -> Room:
        """What a tenant may still bring to the feed of a place."""
        return self._rooms.of(tenant, place)

    def _open_bytes(self, tenant: str, feed: str) -> int:
        handles = list(self._open.values())
        ours = sum(handle.size for handle in handles if (handle.row.tenant, handle.row.feed) == (tenant, feed))
        return ours + (self._open_elsewhere(tenant, feed) if self._marks is not None else 0)

    def _open_elsewhere(self, tenant: str, feed: str) -> int:
        """The bytes of the uploads of a feed that other processes have open."""
        size = 0
        for row in uploads.open_uploads(self._ledger):
            if (row.tenant, row.feed) == (tenant, feed) and row.id not in self._open:
                with contextlib.suppress(FileNotFoundError):  # It has just ended.
                    size += self.spooled(row.id).stat().st_size
        return size

    def look_again(self) -> None:
        """Fail the open uploads that were removed by way of another process."""
        with self._ended:
            for handle in self._open.values():
                if handle.failure is None and os.fstat(handle.descriptor).st_nlink == 0:
                    handle.failure = f"{handle}: {REMOVED}"

    def drain(self, seconds: float) -> None:
        """Take no new upload, and wait until those that are open have ended, or the time is up."""
        self._draining = True
        with self._ended:
            self._ended.wait_for(lambda: not self._open, seconds)

    def start(
        self,
        login: Login,
        place: Place,
        *,
        append: bool = False,
        base: int | None = None,
        base_bytes: int = 0,
        in_place_of: UploadRow | None = None,
    ) -> OpenUpload:
        """A new upload, perhaps `in_place_of` a partial one.

        `base` is a descriptor whose first `base_bytes` the file starts with.
        """
        self._refuse_while_draining(place)
        self._make_room(login, place, base_bytes, in_place_of)
        self._tell_untold()
        row = self._begin(login, place, in_place=base is not None)
        try:
            handle = self._enter(row, os.O_CREAT | os.O_EXCL, base=base_bytes, resumed=False, append=append)
            if base is not None:
                copy(base, handle.descriptor, base_bytes)
        except (OSError, UploadRefused) as error:
            self._abandon(row, f"could not be begun: {type(error).__name__}")
            raise
        return handle

    def _begin(self, login: Login, place: Place, *, in_place: bool) -> UploadRow:
        """A new upload in the ledger; what it replaces is gone."""
        upload_id = new_id()
        self._take(upload_id)
        try:
            row, replaced = uploads.open_upload(
                self._ledger,
                tenant=login.tenant,
                username=login.username,
                feed=place.feed,
                path=place.path,
                address=login.address,
                client=login.client,
                fingerprint=login.fingerprint,
                in_place=in_place,
                upload_id=upload_id,
            )
        except BaseException:  # Whatever it was, there is no upload.
            self._free(upload_id)
            raise
        for other in replaced:
            self.spooled(other).unlink(missing_ok=True)
        return row

    def resume(self, row: UploadRow, *, append: bool) -> OpenUpload:
        """Go on with an incomplete upload."""
        place = Place("inbox", row.feed, row.path)
        self._refuse_while_draining(place)
        # Not waited for: whoever goes on with it keeps it until his upload ends.
        if not self._take(row.id, wait=False):
            raise UploadRefused(f"{place}: another session goes on with this upload; try again when that one has ended")
        try:
            return self._resume(row, append=append)
        except BaseException:  # Whatever it was, it is not open here.
            self._free(row.id)
            raise

    def _resume(self, row: UploadRow, *, append: bool) -> OpenUpload:
        row = uploads.resume(self._ledger, row.id, in_place=not append)
        try:
            size = self.spooled(row.id).stat().st_size
            return self._enter(row, 0, base=size, resumed=True, append=append)
        except (OSError, UploadRefused) as error:
            self.interrupt(row.id, row.bytes, f"could not be resumed: {type(error).__name__}")
            raise

    def finish(self, handle: OpenUpload) -> None:
        """The client's CLOSE: when this returns the file is durable; else it raises and no drop was made."""
        if not handle.changed and not handle.resumed and handle.failure is None:
            # Opened over an older file and left as it was: that file stands.
            self._abandon(handle.row, "closed without a write")
            return
        gap = handle.gap()
        if gap is not None and handle.failure is None:
            handle.failure = f"{handle}: bytes are missing from {gap} on; upload the file again, or resume it"
        if handle.failure is not None:
            self.break_off(handle, handle.failure)
            raise asyncssh.SFTPFailure(handle.failure)
        try:
            self._store(handle)
        except Exception as error:
            if isinstance(error, OSError):
                handle.distrust()
            self._recall(handle.row.id)
            removed = uploads.get(self._ledger, handle.row.id).state == "aborted"
            self.break_off(handle, f"could not be stored: {type(error).__name__}")
            if removed:
                raise asyncssh.SFTPFailure(f"{handle}: {REMOVED}") from error
            raise
        finally:
            self._leave(handle)

    def break_off(self, handle: OpenUpload, reason: str = DISCONNECTED) -> None:
        """The handle ends without a drop: what can be resumed stays in the spool."""
        size = all_but_the_last(handle.resumable())
        try:
            os.ftruncate(handle.descriptor, size)
            self.interrupt(handle.row.id, size, reason)
        except Exception:  # Raised again: whatever it is, the client has no OK.
            # A full disk, mostly: the ledger is told when the next upload begins.
            self._untold[handle.row.id] = size, reason
            raise
        finally:
            self._leave(handle)

    def discard(self, row: UploadRow) -> None:
        """The client removed its own partial upload."""
        handle = self.handle_of(row.id)
        if handle is not None:
            handle.failure = f"{handle}: {REMOVED}"
        uploads.abort(self._ledger, row.id, "removed by the client")
        self.spooled(row.id).unlink(missing_ok=True)

    def land_stored(self, row: UploadRow, old: Place, new: Place) -> None:
        """A file with a temporary name gets its final one: now it is a drop.

        It goes back to the spool first, so that there is one way only in which a file lands.
        """
        settings, spooled = self._settings, self.spooled(row.id)
        with self._taken(row.id):
            with holding((row.tenant, old.feed, old.path)):
                uploads.reopen(self._ledger, row.id, f"renamed to {new.path}")
                with parent_of(inbox(settings, row.tenant, old.feed), old.path) as (folder, name):
                    os.rename(name, spooled, src_dir_fd=folder)
                    os.fsync(folder)
            try:
                self._land(row, new, time_of_client(row, spooled))
            except Exception:  # Raised again, once the file has its temporary name back.
                self._recall(row.id)
                # The client was told that it is stored: it keeps its temporary name, and can be renamed again.
                self.store_temporary(row, self.spooled(row.id).stat().st_size)
                raise

    def recover(self) -> None:
        """When a process has ended: the uploads that it left open are incomplete, or stored already."""
        self.spooled("").mkdir(parents=True, exist_ok=True)
        for row in uploads.open_uploads(self._ledger):
            with self._taken(row.id, wait=False) as ours:
                # It may have ended by itself before it could be taken.
                if ours and uploads.get(self._ledger, row.id).state == "open":
                    recovery.recover(self, self._settings, self._ledger, row)

    def _store(self, handle: OpenUpload) -> None:
        row = handle.row
        if is_temporary(row.path, self.policy(row)):
            try:
                self.store_temporary(row, handle.size)
            except Exception:  # Raised again, once nobody can rename what the failed close does not vouch for.
                self._take_back(handle)
                raise
        else:
            self._land(row, Place("inbox", row.feed, row.path), handle.client_mtime)

    def _land(self, row: UploadRow, place: Place, client_mtime: datetime | None) -> None:
        drop_id = land(
            self._settings,
            self._ledger,
            upload_id=row.id,
            tenant=row.tenant,
            feed=place.feed,
            path=place.path,
            username=row.username,
            client_mtime=client_mtime,
        )
        log.info("upload landed", tenant=row.tenant, user=row.username, place=str(place), upload=row.id, drop=drop_id)
        self._pickup.wake()

    def store_temporary(self, row: UploadRow, size: int) -> None:
        """Into the inbox without a drop. Renamed first: what is in the inbox then is found again by `recover`."""
        sync(self.spooled(row.id))
        root = inbox(self._settings, row.tenant, row.feed)
        with holding((row.tenant, row.feed, row.path)), parent_of(root, row.path) as (folder, name):
            os.rename(self.spooled(row.id), name, dst_dir_fd=folder)
            os.fsync(folder)
            sync(self.spooled(""))
            uploads.close_upload(self._ledger, row.id, size)

    def _take_back(self, handle: OpenUpload) -> None:
        """Out of the inbox again, when it got there. Another file that stands at its name stays."""
        row = handle.row
        root = inbox(self._settings, row.tenant, row.feed)
        with holding((row.tenant, row.feed, row.path)), parent_of(root, row.path) as (folder, name):
            if not self.spooled(row.id).exists() and is_at(folder, name, handle.descriptor):
                os.rename(name, self.spooled(row.id), src_dir_fd=folder)

    def _abandon(self, row: UploadRow, reason: str) -> None:
        try:
            uploads.abort(self._ledger, row.id, reason)
            self.spooled(row.id).unlink(missing_ok=True)
        finally:
            # Last: what is not taken is recovered by a process that starts.
            handle = self.handle_of(row.id)
            if handle is not None:
                self._leave(handle)
            else:
                self._free(row.id)

    @contextlib.contextmanager
    def _taken(self, upload_id: str, *, wait: bool = True) -> Iterator[bool]:
        """Whether it was had, which is always so for those who wait."""
        taken = self._take(upload_id, wait=wait)
        try:
            yield taken
        finally:
            if taken:
                self._free(upload_id)

    def _take(self, upload_id: str, *, wait: bool = True) -> bool:
        return self._marks is None or self._marks.take(upload_id, wait=wait)

    def _free(self, upload_id: str) -> None:
        if self._marks is not None:
            self._marks.free(upload_id)

    def _recall(self, upload_id: str) -> None:
        """A landing that failed after its commit: the upload is open again, for its bytes are still in the spool."""
        if uploads.get(self._ledger, upload_id).state == "closed":
            uploads.reopen(self._ledger, upload_id, "could not be put into the inbox")

    def _tell_untold(self) -> None:
        """Say in the ledger how uploads ended that ended while it could not be written."""
        for upload_id, (size, reason) in list(self._untold.items()):
            with self._taken(upload_id, wait=False) as ours:
                # Else another process has recovered it, and somebody goes on with it there.
                if ours:
                    self.interrupt(upload_id, size, reason)
            self._untold.pop(upload_id, None)

    def interrupt(self, upload_id: str, size: int, reason: str) -> None:
        """It broke off, and so many of its bytes can be resumed."""
        if uploads.get(self._ledger, upload_id).state != "open":
            return  # The client removed it while it was open.
        if uploads.interrupt(self._ledger, upload_id, size, reason) == "aborted":
            self.spooled(upload_id).unlink(missing_ok=True)

    def policy(self, row: UploadRow) -> FeedSettings:
        tenant = self._settings.tenants.get(row.tenant)
        if tenant is None or row.feed not in tenant.feeds:
            raise UploadRefused(f"/inbox/{row.feed}: this feed is no longer configured; ask the gateway's operator")
        return tenant.feeds[row.feed]

    def _make_room(self, login: Login, place: Place, size: int, in_place_of: UploadRow | None) -> None:
        room = self.room(login.tenant, place)
        # A broken upload that begins again is one still; one that is open goes on beside the new one.
        if in_place_of is None or in_place_of.state == "open":
            room.name()
        if size:
            room.take(size, size)

    def _refuse_while_draining(self, place: Place) -> None:
        if self._draining:
            raise UploadRefused(f"{place}: the gateway is being stopped; upload the file again in a minute")

    def spooled(self, upload_id: str) -> Path:
        return spool_path(self._settings, upload_id)

    def _enter(self, row: UploadRow, flags: int, *, base: int, resumed: bool, append: bool) -> OpenUpload:
        limit = self.policy(row).drop_bytes_max
        descriptor = os.open(self.spooled(row.id), os.O_RDWR | os.O_CLOEXEC | flags, 0o640)
        room = self.room(row.tenant, Place("inbox", row.feed, row.path))
        handle = OpenUpload(row, descriptor, room=room, bytes_max=limit, base=base, resumed=resumed, append=append)
        with self._ended:
            self._open[row.id] = handle
        return handle

    def _leave(self, handle: OpenUpload) -> None:
        with self._ended:
            if self._open.pop(handle.row.id, None) is not None:
                os.close(handle.descriptor)
                self._free(handle.row.id)
            self._ended.notify_all()
