"""The log of a Delta table: kept short, and mended after a power cut."""

from __future__ import annotations

import json
from pathlib import Path

from deltalake import DeltaTable

from gateway.durable import sync, sync_folder

# After so many versions the log is summed up in one file; entries older than a day are then removed.
CHECKPOINT_EVERY = 20


def sum_up(delta: DeltaTable, folder: Path | None) -> None:
    """The log as it is now in one file; entries older than a day go."""
    version = delta.version()
    delta.create_checkpoint()
    if folder is not None:
        history = folder / "_delta_log"
        for path in history.glob(f"{version:020d}.checkpoint*.parquet"):
            sync(path)
        sync(history / "_last_checkpoint")
        sync_folder(history)
    delta.cleanup_metadata()


def drop_torn_entry(folder: Path | None) -> None:
    """Remove the log's newest entry if a power cut left a part of it, or of the files of a compaction.

    Nobody was told of such a commit: it is told only after all of it is durable. So it is made again. What a compaction
    replaced is still there.
    """
    if folder is None or not (folder / "_delta_log").is_dir():
        return
    newest = max((folder / "_delta_log").glob("*.json"), default=None)
    if newest is None:
        return
    if is_torn(newest.read_bytes(), folder):
        newest.unlink()
        sync_folder(newest.parent)


def is_torn(entry: bytes, folder: Path) -> bool:
    """Whether an entry is not whole, or rewrote rows as they are into files that are not."""
    try:
        actions = [json.loads(line) for line in entry.splitlines()]
    except ValueError:
        return True
    added = [action["add"] for action in actions if "add" in action]
    return not actions or any(not one["dataChange"] and size_of(folder / one["path"]) != one["size"] for one in added)


def size_of(path: Path) -> int:
    """Of a file, -1 when it is not there."""
    return path.stat().st_size if path.exists() else -1
