"""A small disk: a tmpfs that only the tests see, in a mount namespace that ends with its process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class SmallDisk:
    """`size` bytes, at `path`. Without root's rights it is mounted in a user namespace."""

    def __init__(self, mount_point: Path, size: int) -> None:
        mount_point.mkdir()
        namespaces = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
        script = f'mount -t tmpfs -o size={size} tmpfs "$1" && echo mounted && exec cat'
        self._holder = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-c", script, "sh", str(mount_point)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"mounted\n", (
            "neither as root nor in a namespace can a tmpfs be mounted"
        )
        self.path = Path(f"/proc/{self._holder.pid}/root{mount_point}")
        self._filling = self.path / "filling"

    def fill(self, leave: int = 0) -> None:
        """Take all the space, but `leave` bytes of it."""
        found = os.statvfs(self.path)
        size = found.f_bavail * found.f_frsize - leave
        with self._filling.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), size)

    def free(self) -> None:
        """There is space again."""
        self._filling.unlink(missing_ok=True)

    def end(self) -> None:
        self._holder.communicate()
