"""Writing out: large uploads go to the disk while they come, so that the fsync of the close has little left to do.

It is a hint to the kernel, which starts to write what is dirty of a range and waits for nothing; errors are those of
the fsync. A hint that comes too late, for a descriptor that is closed or has become another file's, does no harm.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

STEP_BYTES = 32 * 1024 * 1024
THREADS = ThreadPoolExecutor(1, thread_name_prefix="write-out")


class WriteOut:
    """Of one upload."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._begin = 0
        self._bytes = 0

    def written(self, offset: int, length: int) -> None:
        """Called for each write; every so many bytes, a thread tells the kernel."""
        if not self._bytes:
            self._begin = offset
        self._bytes += length
        if self._bytes >= STEP_BYTES:
            THREADS.submit(start, self._descriptor, self._begin, self._bytes)
            self._bytes = 0


def start(descriptor: int, begin: int, length: int) -> None:
    """Pages that are dirty, or on their way, are not dropped: pickup reads the file soon."""
    with contextlib.suppress(OSError):
        os.posix_fadvise(descriptor, begin, length, os.POSIX_FADV_DONTNEED)
