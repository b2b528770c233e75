"""What a client is told of files and folders."""

from __future__ import annotations

import os
import stat

import asyncssh


def attributes(status: os.stat_result, size: int) -> asyncssh.SFTPAttrs:
    """What a client is told of a file or folder: kind, size and times; modes are the same for all."""
    mode = stat.S_IFDIR | 0o750 if stat.S_ISDIR(status.st_mode) else stat.S_IFREG | 0o640
    return asyncssh.SFTPAttrs(
        size=size, uid=0, gid=0, permissions=mode, atime=int(status.st_atime), mtime=int(status.st_mtime), nlink=1
    )


def folder_attributes() -> asyncssh.SFTPAttrs:
    """The attributes of `/`, an area or a feed's list: folders that cannot be changed."""
    return asyncssh.SFTPAttrs(size=0, uid=0, gid=0, permissions=stat.S_IFDIR | 0o550, atime=0, mtime=0, nlink=1)
