"""The file system that a client sees: `/inbox`, `/outbox` and `/samples` of its tenant, and nothing else.

What a place allows is decided here; what the names of an inbox stand for is in `inbox`. Everything that touches
a disk or the ledger runs in a worker thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.constants import FXF_APPEND, FXF_CREAT, FXF_TRUNC, FXF_WRITE

from gateway.config import LiveSettings, UserSettings
from gateway.errors import UploadRefused
from gateway.ledger.audit import AuditQueue
from gateway.pickup.folder import AREAS, parent_of
from gateway.sftp.answers import answer, answered, refusal, shown
from gateway.sftp.attributes import attributes, folder_attributes
from gateway.sftp.handles import OpenFile, OpenUpload
from gateway.sftp.inbox import Inbox, clock_time
from gateway.sftp.limits import Handles
from gateway.sftp.logged_in import Login, event_of
from gateway.sftp.names import Names
from gateway.sftp.paths import Place, feed_root, list_below, normal, open_below, place_of, stat_below
from gateway.sftp.pressure import BackPressure
from gateway.sftp.room import space
from gateway.sftp.uploads import Uploads

CHANGES = FXF_WRITE | FXF_APPEND | FXF_CREAT | FXF_TRUNC
READING_AREAS = ("outbox", "samples")


class Filesystem(asyncssh.SFTPServer):
    """One session's view. The methods are named by asyncssh, one for each SFTP request."""

    def __init__(
        self,
        channel: asyncssh.SSHServerChannel[bytes],
        tell: Callable[[str], None],
        *,
        live: LiveSettings,
        login: Login,
        names: Names,
        inbox: Inbox,
        uploads: Uploads,
        audit: AuditQueue,
        handles: Handles,
        pressure: BackPressure,
    ) -> None:
        super().__init__(channel)
        self._handles = handles
        self.tell = tell
        self._live = live
        self._login = login
        self._names = names
        self._inbox = inbox
        self._uploads = uploads
        self._audit = audit
        self._pressure = pressure

    def format_user(self, uid: int | None) -> str:
        return self._login.username

    def format_group(self, gid: int | None) -> str:
        return self._login.tenant

    @answered
    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        with self._one_more_handle():
            if not pflags & CHANGES:
                return await self._open_file(path)
            place = self._place_in_inbox(path)
            return await asyncio.to_thread(self._inbox.open_writing, place, pflags)

    @answered
    async def open_file(self, path: bytes) -> OpenFile:
        """Not a request: what a command reads is opened as `open` does it."""
        with self._one_more_handle():
            return await self._open_file(path)

    async def known_sha256(self, file: OpenFile) -> str | None:
        """The digest of an open file, where the ledger has it: from its claim on."""
        if file.place.area != "inbox":
            return None
        return await asyncio.to_thread(self._names.known_sha256, file.place, file.descriptor)

    async def close(self, file_obj: object) -> None:
        """The client's CLOSE, or the end of the session: only the session's mark tells which."""
        if not isinstance(file_obj, (OpenUpload, OpenFile)):
            return
        self._handles.give_back(self._login.tenant)
        if isinstance(file_obj, OpenUpload):
            await (self._finish(file_obj) if file_obj.closing else self._break_off(file_obj))
        else:
            os.close(file_obj.descriptor)
            size = file_obj.bytes_read
            self._audit.add(event_of(self._login, "download", subject=str(file_obj), size=size))

    @answered
    async def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        place = self._place(path)
        return await asyncio.to_thread(self._attributes, place)

    lstat = stat

    @answered
    async def fstat(self, file_obj: Any) -> asyncssh.SFTPAttrs:
        status = os.fstat(file_obj.descriptor)
        return attributes(status, file_obj.size if isinstance(file_obj, OpenUpload) else status.st_size)

    @answered
    async def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Sizes and times are honoured in the inbox; owners and modes mean nothing here and are taken as done."""
        place = self._place(path)
        if attrs.size is None and attrs.mtime is None:
            await asyncio.to_thread(self._attributes, place)
            return
        if place.area != "inbox":
            raise UploadRefused(f"{place}: only files in /inbox/<feed>/ can be changed")
        if place.path and attrs.size is not None:
            await asyncio.to_thread(self._inbox.truncate, place, attrs.size)
        if place.path and attrs.mtime is not None:
            await asyncio.to_thread(self._inbox.set_times, place, attrs.atime or attrs.mtime, attrs.mtime)

    lsetstat = setstat

    @answered
    async def fsetstat(self, file_obj: Any, attrs: asyncssh.SFTPAttrs) -> None:
        if attrs.size is None and attrs.mtime is None:
            return
        if not isinstance(file_obj, OpenUpload):
            raise UploadRefused(f"{file_obj}: the handle is open for reading only")
        if attrs.size is not None:
            file_obj.set_size(attrs.size)
        if attrs.mtime is not None:
            os.utime(file_obj.descriptor, (attrs.atime or attrs.mtime, attrs.mtime))
            file_obj.client_mtime = clock_time(attrs.mtime)

    @answered
    async def fsync(self, file_obj: Any) -> None:
        if isinstance(file_obj, OpenUpload):
            await asyncio.to_thread(file_obj.sync)

    def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """Its own refusals are answers to OPENDIR already; what the disk says comes with the first READDIR."""
        try:
            place = self._place(path)
        except Exception as error:
            raise refusal(error, path, self.tell) from error
        return self._entries(place)

    @answered
    async def remove(self, path: bytes) -> None:
        if result := self._place_of_result(path):
            await asyncio.to_thread(self._remove_result, result, os.unlink)
        else:
            await asyncio.to_thread(self._inbox.remove, self._place_in_inbox(path))
        await self._note("remove", path)

    @answered
    async def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        await asyncio.to_thread(self._inbox.make_folder, self._place_in_inbox(path))
        await self._note("mkdir", path)

    @answered
    async def rmdir(self, path: bytes) -> None:
        if result := self._place_of_result(path):
            await asyncio.to_thread(self._remove_result, result, os.rmdir)
        else:
            await asyncio.to_thread(self._inbox.remove_folder, self._place_in_inbox(path))
        await self._note("rmdir", path)

    @answered
    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._rename(oldpath, newpath, overwrite=False)

    @answered
    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._rename(oldpath, newpath, overwrite=True)

    def realpath(self, path: bytes) -> bytes:
        try:
            return normal(path).encode()
        except UploadRefused as error:
            raise answer(error, shown(path)) from error

    @answered
    async def readlink(self, path: bytes) -> bytes:
        raise UploadRefused(f"{self._place(path)}: there are no links here")

    @answered
    async def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        raise UploadRefused(f"{self._place(newpath)}: links cannot be made here; upload the file itself")

    @answered
    async def link(self, oldpath: bytes, newpath: bytes) -> None:
        raise UploadRefused(f"{self._place(newpath)}: links cannot be made here; upload the file itself")

    @answered
    async def statvfs(self, path: bytes) -> os.statvfs_result:
        self._place(path)
        return await asyncio.to_thread(space, self._live.current)

    @answered
    async def fstatvfs(self, file_obj: Any) -> os.statvfs_result:
        return await asyncio.to_thread(space, self._live.current)

    @answered
    async def _finish(self, handle: OpenUpload) -> None:
        await asyncio.to_thread(self._uploads.finish, handle)
        await self._pressure.hold_back(self._login.tenant)

    async def _break_off(self, handle: OpenUpload) -> None:
        """Must not raise: the handles after this one would stay open."""
        try:
            await asyncio.to_thread(self._uploads.break_off, handle)
        except Exception as error:
            answer(error, str(handle))

    async def _rename(self, oldpath: bytes, newpath: bytes, *, overwrite: bool) -> None:
        old, new = self._place_in_inbox(oldpath), self._place_in_inbox(newpath)
        await asyncio.to_thread(self._inbox.rename, old, new, overwrite=overwrite)
        await self._note("rename", oldpath, f"to {new}")

    async def _note(self, action: str, path: bytes, detail: str | None = None) -> None:
        """Into the audit, before the client is told that it is done."""
        event = event_of(self._login, action, subject=str(place_of(path)), detail=detail)
        await asyncio.to_thread(self._audit.write, event)

    async def _entries(self, place: Place) -> AsyncIterator[asyncssh.SFTPName]:
        try:
            found = await asyncio.to_thread(self._list, place)
        except Exception as error:
            raise answer(error, str(place)) from error
        for name, attrs in found.items():
            yield asyncssh.SFTPName(name.encode(errors="surrogateescape"), attrs=attrs)

    def _user(self) -> UserSettings:
        found = self._live.current.user(self._login.username)
        if found is None or found[0] != self._login.tenant:
            raise UploadRefused("this login is no longer configured; ask the gateway's operator")
        return found[1]

    def _place(self, path: bytes) -> Place:
        """The place of a path that this user may know of."""
        place = place_of(path)
        if place.area == "inbox" and not self._user().may_upload:
            raise UploadRefused(
                f"{place}: a viewer cannot use the inbox, only read /outbox and /samples; "
                "ask the gateway's operator for the role of a creator"
            )
        if place.feed and place.feed not in self._live.current.tenants[self._login.tenant].feeds:
            raise FileNotFoundError(2, os.strerror(2), str(place))
        return place

    def _place_in_inbox(self, path: bytes) -> Place:
        """The place of a name that this user may change: below a feed's folder in the inbox."""
        try:
            place = self._place(path)
        except FileNotFoundError:
            place = Place()
        if place.area != "inbox" or not place.path:
            folders = ", ".join(f"/inbox/{feed}/" for feed in self._live.current.tenants[self._login.tenant].feeds)
            raise UploadRefused(f"{shown(path)}: nothing can be changed here; files go into {folders}")
        return place

    def _place_of_result(self, path: bytes) -> Place | None:
        """The place of what publishing has made in the outbox: it can be removed, and nothing else."""
        try:
            place = self._place(path)
        except FileNotFoundError:
            return None
        if place.area != "outbox" or not place.path:
            return None
        if not self._user().may_upload:
            raise UploadRefused(f"{place}: a viewer only reads; leave it to those who upload, or to its retention")
        return place

    def _root(self, place: Place) -> Path:
        return feed_root(self._live.current, self._login.tenant, place.area, place.feed)

    def _attributes(self, place: Place) -> asyncssh.SFTPAttrs:
        if not place.feed:
            return folder_attributes()
        if place.area == "inbox" and place.path:
            found = self._names.get(place)
            return attributes(found.status, found.size)
        status = stat_below(self._root(place), place.path)
        return attributes(status, status.st_size)

    def _list(self, place: Place) -> dict[str, asyncssh.SFTPAttrs]:
        if not place.area:
            areas = AREAS if self._user().may_upload else READING_AREAS
            return dict.fromkeys(areas, folder_attributes())
        if not place.feed:
            return dict.fromkeys(self._live.current.tenants[self._login.tenant].feeds, folder_attributes())
        root = self._root(place)
        if place.area == "inbox":
            return {name: attributes(found.status, found.size) for name, found in self._names.list(place).items()}
        return {name: attributes(status, status.st_size) for name, status in list_below(root, place.path).items()}

    @contextlib.contextmanager
    def _one_more_handle(self) -> Iterator[None]:
        """Counted until it is closed, unless the opening fails."""
        self._handles.take(self._login.tenant, self._live.current.gateway.limits)
        try:
            yield
        except BaseException:  # Whatever it was, nothing was opened.
            self._handles.give_back(self._login.tenant)
            raise

    async def _open_file(self, path: bytes) -> OpenFile:
        place = self._place(path)
        return OpenFile(place, await asyncio.to_thread(self._open_reading, place))

    def _open_reading(self, place: Place) -> int:
        if not place.path:
            raise IsADirectoryError(21, os.strerror(21), str(place))
        if place.area == "inbox":
            return self._names.open_reading(place)
        return open_below(self._root(place), place.path)

    def _remove_result(self, place: Place, remove: Callable[..., None]) -> None:
        with parent_of(self._root(place), place.path) as (folder, name):
            remove(name, dir_fd=folder)
