"""The staging folder of a job: every result is written here, fsynced and hashed, before anyone can see it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.pipeline.drop import StagedFile


class Staging:
    """One job's staging folder; `files` in the order in which they are to appear."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder = folder
        self.files: list[StagedFile] = []
        self._prefix = prefix

    def write(self, suffix: str, produce: Callable[[Path], object]) -> StagedFile:
        """Let `produce` write the file `<drop><suffix>`, and make it durable."""
        path = self.folder / suffix.lstrip(".")
        produce(path)
        with path.open("rb") as file, ThreadPoolExecutor(1) as disk:
            # The disk is busy with the one and the processor with the other.
            synced = disk.submit(os.fsync, file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            synced.result()
        staged = StagedFile(self._prefix + suffix, path.name, path.stat().st_size, digest)
        self.files.append(staged)
        return staged
