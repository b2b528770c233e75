"""The staging folder of a job: every result is written here, fsynced and hashed, before anyone can see it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path

from gateway.durable import sync_opened
from gateway.pipeline.drop import StagedFile
from gateway.pipeline.followed import followed_digest

# A thread for the disk costs more than it saves where there is little to hash.
APART_BYTES = 1 << 20


class Staging:
    """One job's staging folder; `files` in the order in which they are to appear, each named `prefix` and a suffix."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder = folder
        self.files: list[StagedFile] = []
        self.prefix = prefix

    def write(self, suffix: str, produce: Callable[[Path], object], *, large: bool = False) -> StagedFile:
        """Let `produce` write the file `<drop><suffix>`, and make it durable; one that is `large`, meanwhile."""
        path = self.folder / suffix.lstrip(".")
        if large:
            size, digest = followed_digest(path, produce)
        else:
            produce(path)
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                digest = synced_digest(file) if size > APART_BYTES else digest_of(file)
        staged = StagedFile(self.prefix + suffix, path.name, size, digest)
        self.files.append(staged)
        return staged

    def take_back(self, role: str) -> None:
        """Remove the file that was written in this role, if one was."""
        for file in [one for one in self.files if one.staged.split(".")[0] == role]:
            (self.folder / file.staged).unlink()
            self.files.remove(file)


def synced_digest(file: BufferedReader) -> str:
    """The SHA-256 of a file, which is made durable meanwhile: that is work for the disk, this for the processor."""
    with ThreadPoolExecutor(1) as disk:
        synced = disk.submit(os.fsync, file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        synced.result()
    return digest


def digest_of(file: BufferedReader) -> str:
    """As `synced_digest`, for a small file."""
    sync_opened(file.fileno())
    return hashlib.sha256(file.read()).hexdigest()
