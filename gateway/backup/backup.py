"""Taking a backup while the gateway serves.

The ledger is copied at one moment. The files that this copy needs get a second name at once (a pin), wherever they
have moved to by then; where one was replaced or renamed in between, the ledger is copied anew. Then there is time to
copy the bytes. The folder has a hidden name until it is whole, so that a half backup is never taken for one.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from gateway import __version__, clock, durable
from gateway.backup import manifest
from gateway.backup.copying import copy, sync_folders
from gateway.backup.stored import StoredFiles, alone_in_the_store, pin_store
from gateway.config import Settings
from gateway.errors import BackupError
from gateway.ledger import Ledger, commits, copies, drops, jobs, uploads
from gateway.ledger.drops import DropRow
from gateway.ledger.uploads import UploadRow
from gateway.locks import keeping
from gateway.pickup.claim import archived_path
from gateway.pickup.folder import inbox
from gateway.pickup.landing import spool_path
from gateway.pipeline.drop import Outcome
from gateway.retention.pins import pin_drop, pin_file, pins_dir, unpin_all

FORMAT = 1
SNAPSHOT_SECONDS_MAX = 120.0
SNAPSHOT_SPACING_SECONDS = 0.05
PUBLISHED_SECONDS_MAX = 10.0
"""So long the results of jobs that are in the store are waited for: a gateway that serves publishes them at once."""
CUT = "it was under way when the backup was taken"


@dataclass(slots=True)
class Backup:
    """What was copied: the digests by path in the backup, and what the operator must hear."""

    digests: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    warnings: list[str] = field(default_factory=list)

    def add(self, source: Path, folder: Path, path: str, length: int | None = None) -> str:
        digest = copy(source, folder / path, length)
        self.digests[path] = digest
        self.bytes += (folder / path).stat().st_size
        return digest


def back_up(settings: Settings, ledger: Ledger, target: Path) -> Backup:
    """Take a backup of `settings.root` and its data into the folder `target`, which must not be there or be empty.

    Raises BackupError; then there is no `target`.
    """
    refuse_full(target)
    hidden = target.with_name(f".{target.name}.unfinished")
    # Nothing is swept meanwhile.
    with keeping(settings.data_dir, wait=True):
        shutil.rmtree(hidden, ignore_errors=True)
        unpin_all(settings)
        try:
            hidden.mkdir(mode=0o700, parents=True)
            pins_dir(settings).mkdir()
            backup = copy_all(settings, ledger, hidden)
            sync_folders(hidden)
            hidden.rename(target)
            durable.sync_folder(target.parent)
        except OSError as error:
            shutil.rmtree(hidden, ignore_errors=True)
            raise BackupError(f"{target}: the backup cannot be taken: {error}") from error
        finally:
            unpin_all(settings)
    return backup


def refuse_full(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target}: this is there already; name a folder that is new or empty")


def copy_all(settings: Settings, ledger: Ledger, folder: Path) -> Backup:
    backup = Backup()
    (folder / "data").mkdir()
    copied, pins, stored = snapshot(settings, ledger, folder / "data" / "ledger.db", backup)
    try:
        copy_store(stored, folder, backup)
        copy_originals(settings, copied, pins, folder, backup)
        copy_uploads(settings, ledger, copied, pins, folder, backup)
        copy_results(settings, copied, folder, backup)
        for commit in commits.unfinished(copied):
            commits.cut(copied, commit, CUT)
        for job in jobs.begun(copied):
            jobs.return_to_queue(copied, job.id, CUT, clock.now())
        for upload in uploads.open_uploads(copied):
            uploads.abort(copied, upload.id, CUT)
    finally:
        copied.close()
    copy_config(settings, folder, backup)
    facts = {"format": FORMAT, "at": clock.text(clock.now()), "gateway": __version__, "root": str(settings.root)}
    durable.write(folder / "backup.json", json.dumps(facts, indent=2).encode() + b"\n", 0o600)
    for path in ("backup.json", "data/ledger.db"):
        backup.digests[path] = manifest.digest_of(folder / path)
        backup.bytes += (folder / path).stat().st_size
    manifest.write(folder, backup.digests)
    return backup


def snapshot(
    settings: Settings, live: Ledger, path: Path, backup: Backup
) -> tuple[Ledger, dict[str, Path], StoredFiles]:
    """A copy of the ledger of one moment, and the pins of the files that may move, by the id of drop or upload.

    No commit is under way in that moment, so that the store's files are those that this ledger knows of.
    """
    deadline = time.monotonic() + SNAPSHOT_SECONDS_MAX
    while True:
        path.unlink(missing_ok=True)
        with alone_in_the_store(settings):
            wait_for_publication(live)
            live.copy_to(path)
            # After the ledger: the store may have what the ledger does not know of, never the other way round.
            stored = pin_store(settings)
        copied = Ledger(path)
        pins, missing, moved = pin_all(settings, live, copied)
        if not moved:
            backup.warnings += [
                f"{one.tenant}/{one.feed}/{one.path}: the file of drop {one.id} is not there" for one in missing
            ]
            backup.warnings += stored.warnings
            backup.warnings += [
                f"job {job_id} is in the store, and its results are not in the outbox yet: take another backup when it "
                f"has ended, or after a restore of this one: `gateway requeue {job_id}`"
                for job_id in commits.unpublished(copied)
            ]
            return copied, pins, stored
        copied.close()
        if time.monotonic() > deadline:
            raise BackupError("the files in the inboxes are renamed and replaced too fast; try again in a while")
        # The files of clients that are busy may rest in a moment; nothing tells of it.
        time.sleep(SNAPSHOT_SPACING_SECONDS)


def wait_for_publication(live: Ledger) -> None:
    """A job that is in the store would run again after a restore, and have no report: the store would not be asked."""
    deadline = time.monotonic() + PUBLISHED_SECONDS_MAX
    while commits.unpublished(live) and time.monotonic() < deadline:
        # Another process publishes them, and nothing tells of it.
        time.sleep(SNAPSHOT_SPACING_SECONDS)


def pin_all(settings: Settings, live: Ledger, copied: Ledger) -> tuple[dict[str, Path], list[DropRow], bool]:
    """The pins; the drops whose files are nowhere; and whether something has moved on since the copy."""
    pins: dict[str, Path] = {}
    missing: list[DropRow] = []
    moved = any(copies.was_closed(copied, upload) for upload in uploads.open_uploads(copied))
    for drop in copies.unfinished(copied):
        if pin := pin_drop(settings, live, drop):
            pins[drop.id] = pin
        else:
            missing.append(drop)
            moved = moved or drops.get(live, drop.id) != drop
    for upload in (*copies.without_drop(copied), *copies.incomplete(copied)):
        if pin := pin_upload(settings, upload):
            pins[upload.id] = pin
        else:
            moved = moved or uploads.get(live, upload.id) != upload
    return pins, missing, moved


def pin_upload(settings: Settings, upload: UploadRow) -> Path | None:
    if upload.state == "incomplete":
        return pin_file(settings, spool_path(settings, upload.id), upload.id, None, None)
    path = inbox(settings, upload.tenant, upload.feed) / upload.path
    return pin_file(settings, path, upload.id, None, upload.bytes)


def copy_store(stored: StoredFiles, folder: Path, backup: Backup) -> None:
    for path, pin in stored.pins.items():
        backup.add(pin, folder, f"data/store/{path}")


def copy_originals(settings: Settings, copied: Ledger, pins: dict[str, Path], folder: Path, backup: Backup) -> None:
    """The file of every drop goes where the copied ledger has it: into the inbox, or the archive."""
    for portion in copies.kept(copied):
        for drop in portion:
            place = (
                inbox(settings, drop.tenant, drop.feed) / drop.path if drop.in_inbox else archived_path(settings, drop)
            )
            source = pins.get(drop.id, archived_path(settings, drop))
            if drop.leaving == "delete" or not source.is_file():
                continue
            digest = backup.add(source, folder, f"data/{place.relative_to(settings.data_dir).as_posix()}")
            if drop.sha256 is not None and digest != drop.sha256:
                backup.warnings.append(
                    f"{place}: the file of drop {drop.id} is not what arrived, by its SHA-256; the disk may be failing"
                )


def copy_uploads(
    settings: Settings, live: Ledger, copied: Ledger, pins: dict[str, Path], folder: Path, backup: Backup
) -> None:
    """Those that broke off, and those that stand in an inbox under a temporary name."""
    for upload in copies.without_drop(copied):
        path = f"data/tenants/{upload.tenant}/inbox/{upload.feed}/{upload.path}"
        # A file that landed from elsewhere under that name was copied with its drop.
        if upload.id in pins and path not in backup.digests:
            backup.add(pins[upload.id], folder, path)
    for upload in copies.incomplete(copied):
        path = f"data/spool/uploads/{upload.id}"
        if upload.id in pins:
            backup.add(pins[upload.id], folder, path, upload.bytes)
        if upload.id not in pins or uploads.get(live, upload.id) != upload:
            # Its client goes on with it in this moment: nobody knows which bytes were copied.
            uploads.abort(copied, upload.id, CUT)
            if backup.digests.pop(path, None):
                (folder / path).unlink()


def copy_results(settings: Settings, copied: Ledger, folder: Path, backup: Backup) -> None:
    """What is in the outboxes of jobs that had ended, but for what a partner has removed or a new run has replaced."""
    for portion in copies.with_results(copied):
        for job in portion:
            place = f"tenants/{job.tenant}/outbox/{job.feed}"
            for file in Outcome.from_json(str(job.outcome)).files:
                source, path = settings.data_dir / place / file.name, f"data/{place}/{file.name}"
                if path in backup.digests or not source.is_file() or source.stat().st_size != file.bytes:
                    continue
                try:
                    digest = backup.add(source, folder, path)
                except FileNotFoundError:
                    continue
                if digest != file.sha256:
                    backup.bytes -= file.bytes
                    del backup.digests[path]
                    (folder / path).unlink()


def copy_config(settings: Settings, folder: Path, backup: Backup) -> None:
    """What is configured in the directory, and the host keys that are in it."""
    root = settings.root
    found = [root / "gateway.toml", *sorted((root / "tenants").glob("*.toml"))]
    found += sorted(path for path in (root / "contracts").rglob("*") if path.is_file())
    for key in settings.host_key_paths:
        if key.is_relative_to(root):
            found += [path for path in (key, key.with_name(f"{key.name}.pub")) if path.is_file()]
        else:
            backup.warnings.append(f"{key}: this host key is outside of {root}, and not in the backup")
    for path in found:
        backup.add(path, folder, f"config/{path.relative_to(root).as_posix()}")
