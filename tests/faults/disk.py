"""A small disk, so that it can be filled: a tmpfs."""

from __future__ import annotations

import os
import subprocess
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
        found = os.statvfs(self.path)
        with self._filling.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), found.f_bavail * found.f_frsize - leave)

    def free(self) -> None:
        """There is space again."""
        self._filling.unlink(missing_ok=True)

    def end(self) -> None:
        self._do("umount", str(self.path))

    def _do(self, *command: str) -> None:
        subprocess.run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command], check=True)
