"""Publication: staged files appear in the outbox, each whole, the report last."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.durable import sync_folder
from gateway.pipeline.drop import Outcome, StagedFile


@dataclass(frozen=True, slots=True)
class Publication:
    """An outcome whose files wait in `staging` and belong into `outbox`; both are on one file system."""

    outcome: Outcome
    staging: Path
    outbox: Path

    def show(self, files: Sequence[StagedFile]) -> set[Path]:
        """Rename some of the files into the outbox; the folders that they are in now."""
        folders = set()
        for file in files:
            target = self.outbox / file.name
            try:
                move(self.staging / file.staged, target)
            except FileNotFoundError:
                if not is_published(target, file):
                    raise
            folders.add(target.parent)
        return folders


def publish(outcome: Outcome, staging: Path, outbox: Path) -> None:
    """Rename every staged file into the outbox, in order; when report.json is there, all are.

    Safe to repeat after a kill at any point: what is already there is left alone. A file that is neither staged nor
    published raises FileNotFoundError.
    """
    for error in publish_all([Publication(outcome, staging, outbox)]):
        if error is not None:
            raise error


def publish_all(publications: Sequence[Publication]) -> list[OSError | None]:
    """As `publish`, and each folder is made durable once for all; what went wrong with each."""
    errors: list[OSError | None] = [None] * len(publications)
    # All others must be durable before a report can be seen.
    for part in (slice(None, -1), slice(-1, None)):
        changed: dict[Path, list[int]] = {}
        for at, publication in enumerate(publications):
            if errors[at] is None:
                try:
                    for folder in publication.show(publication.outcome.files[part]):
                        changed.setdefault(folder, []).append(at)
                except OSError as error:
                    errors[at] = error
        for folder, those in changed.items():
            try:
                sync_folder(folder)
            except FileNotFoundError:
                # The partner has taken what was in it already, and the folder with it.
                continue
            except OSError as error:
                errors = [error if at in those else before for at, before in enumerate(errors)]
    return errors


def move(staged: Path, target: Path) -> None:
    """Rename into a folder that is made when it is missing: who removes empty ones may come in between."""
    while True:
        try:
            os.rename(staged, target)
        except FileNotFoundError:
            if not staged.exists():
                raise
            target.parent.mkdir(parents=True, exist_ok=True)
            continue
        return


def is_published(target: Path, file: StagedFile) -> bool:
    """True when the outbox already holds this very file."""
    if not target.is_file() or target.stat().st_size != file.bytes:
        return False
    with target.open("rb") as published:
        return hashlib.file_digest(published, "sha256").hexdigest() == file.sha256
