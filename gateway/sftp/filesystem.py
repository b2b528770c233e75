"""The file system that a client sees: `/inbox`, `/outbox` and `/samples` of its tenant, and nothing else.

What a place allows is decided here; what the names of an inbox stand for is in `inbox`. Everything that touches
a disk or the ledger runs in a worker thread.
"""

from __future__ import annotations

import asyncio
import functools
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncssh
from asyncssh.constants import FXF_APPEND, FXF_CREAT, FXF_TRUNC, FXF_WRITE

from gateway.config import LiveSettings, UserSettings
from gateway.errors import UploadRefused
from gateway.pickup.folder import parent_of
from gateway.sftp.answers import answer
from gateway.sftp.inbox import Found, Inbox, clock_time
from gateway.sftp.paths import AREAS, Place, list_below, normal, open_below, place_of, stat_below
from gateway.sftp.uploads import Login, OpenUpload, Uploads

P = ParamSpec("P")
R = TypeVar("R")

CHANGES = FXF_WRITE | FXF_APPEND | FXF_CREAT | FXF_TRUNC
READING_AREAS = ("outbox", "samples")


class OpenFile:
    """A read handle."""

    def __init__(self, place: Place, descriptor: int) -> None:
        self._place = place
        self.descriptor = descriptor

    def __str__(self) -> str:
        return str(self._place)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, offset)


def answered(
    method: Callable[Concatenate[Filesystem, P], Awaitable[R]],
) -> Callable[Concatenate[Filesystem, P], Coroutine[Any, Any, R]]:
    """A request whose every failure becomes an SFTP error with a sentence, and is told to the client."""

    @functools.wraps(method)
    async def request(self: Filesystem, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(self, *args, **kwargs)
        except Exception as error:
            refused = answer(error, shown(args[0] if args else b""))
            if not isinstance(refused, asyncssh.SFTPNoSuchFile):
                self.tell(refused.reason)
            raise refused from error

    return request


class Filesystem(asyncssh.SFTPServer):
    """One session's view. The methods are named by asyncssh, one for each SFTP request."""

    def __init__(
        self,
        channel: asyncssh.SSHServerChannel[bytes],
        tell: Callable[[str], None],
        *,
        live: LiveSettings,
        login: Login,
        inbox: Inbox,
        uploads: Uploads,
    ) -> None:
        super().__init__(channel)
        self.tell = tell
        self._live = live
        self._login = login
        self._inbox = inbox
        self._uploads = uploads

    def format_user(self, uid: int | None) -> str:
        return self._login.username

    def format_group(self, gid: int | None) -> str:
        return self._login.tenant

    @answered
    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        place = self._place(path)
        if not pflags & CHANGES:
            return OpenFile(place, await asyncio.to_thread(self._open_reading, place))
        self._demand_file_in_inbox(place)
        return await asyncio.to_thread(self._inbox.open_writing, place, pflags)

    async def close(self, file_obj: object) -> None:
        """The client's CLOSE, or the end of the session: only the session's mark tells which."""
        if isinstance(file_obj, OpenUpload):
            await (self._finish(file_obj) if file_obj.closing else self._break_off(file_obj))
        elif isinstance(file_obj, OpenFile):
            os.close(file_obj.descriptor)

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
        if place.area != "inbox":
            raise UploadRefused(f"{place}: only files in /inbox/<feed>/ can be changed")
        if place.path and attrs.size is not None:
            await asyncio.to_thread(self._inbox.truncate, place, attrs.size)
        if place.path and attrs.mtime is not None:
            await asyncio.to_thread(self._inbox.set_times, place, attrs.atime or attrs.mtime, attrs.mtime)

    lsetstat = setstat

    @answered
    async def fsetstat(self, file_obj: Any, attrs: asyncssh.SFTPAttrs) -> None:
        if not isinstance(file_obj, OpenUpload):
            raise UploadRefused(f"{file_obj}: the handle is open for reading only")
        if attrs.size is not None:
            file_obj.set_size(attrs.size)
        if attrs.mtime is not None:
            os.utime(file_obj.descriptor, (attrs.atime or attrs.mtime, attrs.mtime))
            file_obj.client_mtime = clock_time(attrs.mtime)

    @answered
    async def fsync(self, file_obj: Any) -> None:
        await asyncio.to_thread(os.fsync, file_obj.descriptor)

    def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """Its own refusals are answers to OPENDIR already; what the disk says comes with the first READDIR."""
        try:
            place = self._place(path)
        except Exception as error:
            refused = answer(error, shown(path))
            self.tell(refused.reason)
            raise refused from error
        return self._names(place)

    @answered
    async def remove(self, path: bytes) -> None:
        place = self._place(path)
        if place.area == "outbox" and place.path:
            await asyncio.to_thread(self._remove_result, place)
            return
        self._demand_file_in_inbox(place)
        await asyncio.to_thread(self._inbox.remove, place)

    @answered
    async def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        place = self._place(path)
        self._demand_file_in_inbox(place)
        await asyncio.to_thread(self._inbox.make_folder, place)

    @answered
    async def rmdir(self, path: bytes) -> None:
        place = self._place(path)
        self._demand_file_in_inbox(place)
        await asyncio.to_thread(self._inbox.remove_folder, place)

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
        return await asyncio.to_thread(os.statvfs, self._live.current.tenant_dir(self._login.tenant))

    @answered
    async def fstatvfs(self, file_obj: Any) -> os.statvfs_result:
        return os.fstatvfs(file_obj.descriptor)

    @answered
    async def _finish(self, handle: OpenUpload) -> None:
        await asyncio.to_thread(self._uploads.finish, handle)

    async def _break_off(self, handle: OpenUpload) -> None:
        """Must not raise: the handles after this one would stay open."""
        try:
            await asyncio.to_thread(self._uploads.break_off, handle)
        except Exception as error:
            answer(error, str(handle))

    async def _rename(self, oldpath: bytes, newpath: bytes, *, overwrite: bool) -> None:
        old, new = self._place(oldpath), self._place(newpath)
        for place in (old, new):
            self._demand_file_in_inbox(place)
        await asyncio.to_thread(self._inbox.rename, old, new, overwrite=overwrite)

    async def _names(self, place: Place) -> AsyncIterator[asyncssh.SFTPName]:
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

    def _demand_file_in_inbox(self, place: Place) -> None:
        if place.area != "inbox" or not place.path:
            raise UploadRefused(f"{place}: nothing can be changed here; files go into /inbox/<feed>/")

    def _root(self, place: Place) -> Path:
        folder = self._live.current.tenant_dir(self._login.tenant) / place.area / place.feed
        if place.feed:
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _attributes(self, place: Place) -> asyncssh.SFTPAttrs:
        if not place.feed:
            return folder_attributes()
        if place.area == "inbox" and place.path:
            found = self._inbox.get(place)
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
            names: dict[str, Found] = self._inbox.list(place)
            return {name: attributes(found.status, found.size) for name, found in names.items()}
        return {name: attributes(status, status.st_size) for name, status in list_below(root, place.path).items()}

    def _open_reading(self, place: Place) -> int:
        if not place.path:
            raise IsADirectoryError(21, os.strerror(21), str(place))
        if place.area == "inbox":
            return self._inbox.open_reading(place)
        return open_below(self._root(place), place.path)

    def _remove_result(self, place: Place) -> None:
        with parent_of(self._root(place), place.path) as (folder, name):
            os.unlink(name, dir_fd=folder)


def attributes(status: os.stat_result, size: int) -> asyncssh.SFTPAttrs:
    """What a client is told of a file or folder: kind, size and times; modes are the same for all."""
    mode = stat.S_IFDIR | 0o750 if stat.S_ISDIR(status.st_mode) else stat.S_IFREG | 0o640
    return asyncssh.SFTPAttrs(
        size=size, uid=0, gid=0, permissions=mode, atime=int(status.st_atime), mtime=int(status.st_mtime), nlink=1
    )


def folder_attributes() -> asyncssh.SFTPAttrs:
    """The attributes of `/`, an area or a feed's list: folders that cannot be changed."""
    return asyncssh.SFTPAttrs(size=0, uid=0, gid=0, permissions=stat.S_IFDIR | 0o550, atime=0, mtime=0, nlink=1)


def shown(subject: object) -> str:
    """A path as the client sent it, or the name of a handle's file."""
    return subject.decode("utf-8", "backslashreplace") if isinstance(subject, bytes) else str(subject)
