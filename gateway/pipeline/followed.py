"""A file that is hashed and made durable while it is still being written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

READ_BYTES = 4 << 20
# So much is sent to the disk at once: the rest of the file is put together meanwhile.
SYNC_BYTES = 64 << 20
# How long to wait for the writer, which is about as fast as the hash.
WAIT_SECONDS = 0.002


def followed_digest(path: Path, produce: Callable[[Path], object]) -> tuple[int, str]:
    """Let `produce` write the file from its beginning to its end; its size and SHA-256, once it is durable."""
    path.touch()
    written = Event()
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(hashed, path, written)
        try:
            produce(path)
        finally:
            written.set()
        return digest.result()


def hashed(path: Path, written: Event) -> tuple[int, str]:
    """Size and SHA-256 of a file that grows until `written` is set."""
    digest, size, synced = hashlib.sha256(), 0, 0
    with path.open("rb", buffering=0) as file:
        while True:
            final = written.is_set()
            while piece := file.read(READ_BYTES):
                digest.update(piece)
                size += len(piece)
                if size - synced >= SYNC_BYTES:
                    os.fdatasync(file.fileno())
                    synced = size
            if final:
                os.fsync(file.fileno())
                return size, digest.hexdigest()
            written.wait(WAIT_SECONDS)
