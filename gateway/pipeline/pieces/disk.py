"""The disk of a spool: what has to stay free of it for others."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """Where a spool is; `free_min` bytes of its disk are not for it."""

    folder: Path
    free_min: int

    def room_for(self, length: int) -> None:
        """Raises OSError (ENOSPC) where so many bytes more would take what is kept free; the job is tried again."""
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        if free - length < self.free_min:
            most = f"{length:,} bytes more would leave less than the {self.free_min:,} that are kept free"
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {most}", str(self.folder))
