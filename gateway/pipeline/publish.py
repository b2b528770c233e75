"""Publication: staged files appear in the outbox, each whole, the report last."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gateway.durable import sync_folder
from gateway.pipeline.drop import Outcome, StagedFile


def publish(outcome: Outcome, staging: Path, outbox: Path) -> None:
    """Rename every staged file into the outbox, in order; when report.json is there, all are.

    Safe to repeat after a kill at any point: what is already there is left alone. A file that is neither staged nor
    published raises FileNotFoundError. The outbox is on the file system of `staging`.
    """
    folders: list[Path] = []
    for file in outcome.files:
        target = outbox / file.name
        staged = staging / file.staged
        if file is outcome.files[-1]:
            # All others must be durable before the report can be seen.
            for folder in dict.fromkeys(folders):
                sync_folder(folder)
        try:
            move(staged, target)
        except FileNotFoundError:
            if not is_published(target, file):
                raise
        folders.append(target.parent)
    for folder in dict.fromkeys(folders):
        sync_folder(folder)


def move(staged: Path, target: Path) -> None:
    """Rename into a folder that is made when it is missing: who removes empty ones may come in between."""
    while True:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(staged, target)
        except FileNotFoundError:
            if staged.exists() and not target.parent.exists():
                continue
            raise
        return


def is_published(target: Path, file: StagedFile) -> bool:
    """True when the outbox already holds this very file."""
    if not target.is_file() or target.stat().st_size != file.bytes:
        return False
    with target.open("rb") as published:
        return hashlib.file_digest(published, "sha256").hexdigest() == file.sha256
