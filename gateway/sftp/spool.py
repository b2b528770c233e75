"""What the bytes of an upload in the spool tell: how much of them is good, and the time that the client gave them."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.errors import UploadRefused
from gateway.ledger.uploads import UploadRow

# The kernel's file times are a few milliseconds behind the clock.
CLOCK_STEP = timedelta(seconds=0.1)


def copy(source: int, target: int, length: int) -> None:
    """The first bytes of a file into an empty one, shared where the file system can. Raises UploadRefused."""
    copied = 0
    while copied < length:
        count = os.copy_file_range(source, target, length - copied, copied, copied)
        if count == 0:
            raise UploadRefused("another session has cut this file while it was opened here; open it again")
        copied += count


def time_of_client(row: UploadRow, path: Path) -> datetime | None:
    """The file time that the client set: one that no write between open and close can have left."""
    found = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    written = row.ended_at is not None and row.opened_at - CLOCK_STEP <= found <= row.ended_at + CLOCK_STEP
    return None if written else found


def is_at(folder: int, name: str, descriptor: int) -> bool:
    """Whether the open file is the one that stands at that name of a folder, which is a descriptor too."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(descriptor))
    return False


def all_but_the_last(size: int) -> int:
    """How many bytes are kept of an upload that broke off.

    Clients take a name that has the size of the whole file for a file that is in: rclone says so when the bytes agree,
    paramiko when the close has failed, and OpenSSH refuses to resume it. So the last byte must come once more.
    """
    return max(size - 1, 0)


def durable_prefix(path: Path) -> int:
    """The gapless start of a file that was left behind while it was being written out of order.

    Where a hole begins, up to a block before it may be the zeros of a block that was only written in part.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        hole = os.lseek(file.fileno(), 0, os.SEEK_HOLE) if size else 0
        block = os.fstat(file.fileno()).st_blksize
    return size if hole >= size else max(0, hole - block)
