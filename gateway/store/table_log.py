"""The log of a Delta table: kept short, and mended after a power cut."""

from __future__ import annotations

from pathlib import Path

from deltalake import DeltaTable

from gateway.durable import sync_folder
from gateway.store.place import sync

# Each so many versions the log is summed up in one file; entries older than a day are then removed.
CHECKPOINT_EVERY = 20


def tend(delta: DeltaTable, folder: Path | None) -> None:
    """Sum the log up where it is time to, after its entries are durable."""
    version = delta.version()
    if version == 0 or version % CHECKPOINT_EVERY:
        return
    delta.create_checkpoint()
    if folder is not None:
        log = folder / "_delta_log"
        for path in log.glob(f"{version:020d}.checkpoint*.parquet"):
            sync(path)
        sync(log / "_last_checkpoint")
        sync_folder(log)
    delta.cleanup_metadata()


def drop_torn_entry(folder: Path | None) -> None:
    """Remove the log's newest entry if a power cut left a part of it.

    Nobody was told of that commit: it is told only after the entry is durable. So it is made again.
    """
    if folder is None or not (folder / "_delta_log").is_dir():
        return
    newest = max((folder / "_delta_log").glob("*.json"), default=None)
    if newest is None:
        return
    text = newest.read_bytes().rstrip()
    if not text or not text.endswith(b"}") or b"\0" in text:
        newest.unlink()
        sync_folder(newest.parent)
