"""Restoring a backup: verified first, into a data directory that no gateway serves.

Copies have other inode numbers than their originals, by which pickup knows its files: the ledger gets the new ones.
While files are copied a mark stands in the data directory, and no gateway starts there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway import clock, durable
from gateway.backup import manifest
from gateway.backup.copying import copy, sync_folders
from gateway.config import Settings, load_gateway
from gateway.errors import BackupError
from gateway.ledger import Ledger, copies, drops
from gateway.ledger.drops import DropRow
from gateway.locks import RESTORING, alone_in
from gateway.pickup.claim import place_of
from gateway.pickup.folder import make_durably

DATA = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "spool", "tenants", "store")


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back. `moved_to` is where the data that was there before is now."""

    settings: Settings
    files: int
    bytes: int
    with_config: bool
    moved_to: Path | None


def restore(source: Path, root: Path, *, replace: bool) -> Restored:
    """Bring a backup back. The configuration only where `root` has none.

    Raises BackupError, AlreadyServing, ConfigError.
    """
    sizes = manifest.verified(source)
    with_config = not (root / "gateway.toml").exists()
    try:
        if with_config:
            restore_config(source, root, sizes)
        settings = Settings(root=root, gateway=load_gateway(root), tenants={})
        make_durably(settings.data_dir)
        with alone_in(settings.data_dir):
            check_way(settings, replace=replace)
            # First of all: a gateway that started while the old ledger is aside would begin with an empty one.
            durable.write(settings.data_dir / RESTORING, f"{source}\n".encode())
            moved_to = make_way(settings)
            restore_data(source, settings, sizes)
    except OSError as error:
        raise BackupError(f"{source}: the backup cannot be restored: {error}") from error
    return Restored(settings, len(sizes), sum(sizes.values()), with_config, moved_to)


def restore_config(source: Path, root: Path, sizes: dict[str, int]) -> None:
    """gateway.toml comes last, so that a restore that was cut short does it again."""
    paths = [path.removeprefix("config/") for path in sizes if path.startswith("config/")]
    for path in sorted(paths, key=lambda path: path == "gateway.toml"):
        target, copied = root / path, source / "config" / path
        if not target.exists():
            copy(copied, target)
        elif manifest.digest_of(target) != manifest.digest_of(copied):
            raise BackupError(f"{target}: this is another one than that of the backup; move it away")
    sync_folders(root)


def check_way(settings: Settings, *, replace: bool) -> None:
    """Raises BackupError when there is data that nobody has asked to replace, and that is no half of a restore."""
    if standing(settings) and not replace and not (settings.data_dir / RESTORING).exists():
        raise BackupError(
            f"{settings.data_dir}: there is data of a gateway already; `--replace` moves it aside and restores over it"
        )


def make_way(settings: Settings) -> Path | None:
    """Move what is in the data directory aside; where to."""
    there = standing(settings)
    if not there:
        return None
    aside = settings.data_dir / f"replaced-{clock.now():%Y%m%dT%H%M%S%f}"
    aside.mkdir(mode=0o750)
    # The ledger first: without it nothing of the rest is taken for a gateway's data.
    for path in there:
        path.rename(aside / path.name)
    durable.sync_folder(settings.data_dir)
    return aside


def standing(settings: Settings) -> list[Path]:
    """What is in the data directory, if there is more than empty folders."""
    there = [settings.data_dir / name for name in DATA if (settings.data_dir / name).exists()]
    return there if any(has_files(path) for path in there) else []


def has_files(path: Path) -> bool:
    """Samples are none: every start makes them."""
    return path.is_file() or any(
        found.is_file() and "samples" not in found.relative_to(path).parts[1:2] for found in path.rglob("*")
    )


def restore_data(source: Path, settings: Settings, sizes: dict[str, int]) -> None:
    for path in sizes:
        if path.startswith("data/"):
            copy(source / path, settings.data_dir / path.removeprefix("data/"))
    for name in ("uploads", "work"):
        make_durably(settings.spool_dir / name)
    ledger = Ledger(settings.ledger_path)
    try:
        for portion in copies.kept(ledger):
            with ledger.transaction():
                for drop in portion:
                    note_inode(settings, ledger, drop)
    finally:
        ledger.close()
    sync_folders(settings.data_dir)
    (settings.data_dir / RESTORING).unlink()
    durable.sync_folder(settings.data_dir)


def note_inode(settings: Settings, ledger: Ledger, drop: DropRow) -> None:
    path = place_of(settings, drop)
    if path.is_file():
        drops.change(ledger, drop.id, "1", inode=path.stat().st_ino)
