"""A small disk, so that it can be filled: a tmpfs."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SmallDisk:
    """`size` bytes, at `path`. Mounting is for root, or for whom sudo asks nothing."""

    def __init__(self, path: Path, size: int) -> None:
        path.mkdir()
        self.path = path
        self._filling = path / "filling"
        self._do("mount", "-t", "tmpfs", "-o", f"size={size},uid={os.geteuid()}", "tmpfs", str(path))

    def fill(self, leave: int = 0) -> None:
        """Take all the space, but `leave` bytes of it."""
        with self._filling.open("ab") as file:
            # The gateway writes meanwhile: what was free a moment ago may be less by now, or more.
            while (wanted := self._free_bytes() - leave) > 0:
                with at_most_full():
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), wanted)

    def free(self) -> None:
        """There is space again."""
        self._filling.unlink(missing_ok=True)

    def _free_bytes(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def end(self) -> None:
        self._do("umount", str(self.path))

    def _do(self, *command: str) -> None:
        subprocess.run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command], check=True)


@contextmanager
def at_most_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
