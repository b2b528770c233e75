"""A backup keeps every state: what waits, what is in work, what is staged, and uploads that are not whole yet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gateway import clock
from gateway.backup import backup, copying
from gateway.backup.backup import back_up
from gateway.backup.restore import restore
from gateway.config import load
from gateway.errors import BackupError
from gateway.ledger import Ledger, drops, holds, jobs, uploads
from gateway.locks import keeping
from gateway.pickup.claim import archived_path, take_file
from gateway.pickup.landing import spool_path
from gateway.retention.sweeping import Sweeping
from tests.conftest import standing
from tests.pickup.conftest import PROFILES
from tests.waiting import until


def test_every_state_comes_back_as_it_was(site: Any, tmp_path: Path) -> None:
    """Waiting, held, claimed, in work, staged, quarantined; uploads broken off, open, and under a temporary name."""
    ids = {
        name: site.upload(f"{name}.csv") for name in ("landed", "held", "claimed", "staged", "quarantined", "moving")
    }
    for name in ("claimed", "staged", "quarantined"):
        claim(site, ids[name])
    begin_all(site)
    jobs.stage(site.ledger, str(site.drop(ids["staged"]).job_id), "{}", site.drop(ids["staged"]).landed_at)
    drops.move(site.ledger, ids["held"], ("landed",), "held", "for a test", held_for="done_marker")
    drops.finish(site.ledger, ids["quarantined"], "quarantined", "for a test")
    # A landing between its commit and its rename.
    os.rename(site.inbox / "moving.csv", spool_path(site.settings, site.drop(ids["moving"]).upload_id))
    broken, opened, stored = (site.spool(name) for name in ("broken.csv", "open.csv", "stored.csv.part"))
    uploads.interrupt(site.ledger, broken, len(PROFILES) - 3, "for a test")
    os.rename(spool_path(site.settings, stored), site.inbox / "stored.csv.part")
    uploads.close_upload(site.ledger, stored, len(PROFILES))

    back_up(site.settings, site.ledger, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "new", replace=False)

    settings = load(tmp_path / "new")
    ledger = Ledger(settings.ledger_path)
    places = {name: settings.tenant_dir("acme") / "inbox" / "profiles" / f"{name}.csv" for name in ids}
    for name, drop_id in ids.items():
        drop = drops.get(ledger, drop_id)
        assert drop.state == site.state(drop_id)
        place = places[name] if drop.in_inbox else archived_path(settings, drop)
        assert place.read_bytes() == PROFILES
        assert place.stat().st_ino == drop.inode
    statuses = {job.filename: (job.status, job.tries) for job in jobs.select(ledger)}
    assert statuses["claimed.csv"] == statuses["staged.csv"] == ("queued", 0)
    states = {upload_id: uploads.get(ledger, upload_id).state for upload_id in (broken, opened, stored)}
    assert states == {broken: "incomplete", opened: "aborted", stored: "closed"}
    assert spool_path(settings, broken).read_bytes() == PROFILES[:-3]
    assert (settings.tenant_dir("acme") / "inbox" / "profiles" / "stored.csv.part").read_bytes() == PROFILES
    ledger.close()


def claim(site: Any, drop_id: str) -> None:
    with site.ledger.transaction():
        jobs.create(site.ledger, site.drop(drop_id), "ann@acme.example", clock.now())
        drops.claim(site.ledger, drop_id, clock.now())
    assert take_file(site.settings, site.drop(drop_id))


def begin_all(site: Any) -> None:
    while jobs.begin_next(site.ledger, clock.now()):
        pass


def restored(tmp_path: Path) -> Ledger:
    restore(tmp_path / "copy", tmp_path / "new", replace=False)
    return Ledger(load(tmp_path / "new").ledger_path)


def test_what_moves_on_while_the_ledger_is_copied_is_found_where_it_is_by_then(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first copy of the ledger one drop is claimed, one is replaced, one is withdrawn."""
    claimed, replaced, gone = (site.upload(name) for name in ("claimed.csv", "replaced.csv", "gone.csv"))
    copy_to, copies = Ledger.copy_to, []

    def copy_and_move_on(self: Ledger, path: Path) -> None:
        copy_to(self, path)
        copies.append(path)
        if len(copies) == 1:
            claim(site, claimed)
            site.upload("replaced.csv", b"identity,Name\nnew,New\n")
            holds.withdraw(site.ledger, site.drop(gone), "for a test", None, clock.now())
            (site.inbox / "gone.csv").unlink()

    monkeypatch.setattr(Ledger, "copy_to", copy_and_move_on)
    done = back_up(site.settings, site.ledger, tmp_path / "copy")
    assert (len(copies), done.warnings) == (2, [])
    ledger = restored(tmp_path)
    inbox = load(tmp_path / "new").tenant_dir("acme") / "inbox" / "profiles"
    assert standing(inbox) == ["replaced.csv"]
    assert (inbox / "replaced.csv").read_bytes() == b"identity,Name\nnew,New\n"
    assert drops.get(ledger, replaced).inode == (inbox / "replaced.csv").stat().st_ino
    assert drops.get(ledger, gone).state == "withdrawn"
    ledger.close()


def test_a_drop_that_is_only_claimed_meanwhile_needs_no_second_copy_of_the_ledger(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_id = site.upload("a.csv")
    copy_to, copies = Ledger.copy_to, []

    def copy_and_claim(self: Ledger, path: Path) -> None:
        copy_to(self, path)
        copies.append(path)
        claim(site, drop_id)

    monkeypatch.setattr(Ledger, "copy_to", copy_and_claim)
    back_up(site.settings, site.ledger, tmp_path / "copy")
    assert len(copies) == 1
    ledger = restored(tmp_path)
    assert drops.get(ledger, drop_id).state == "landed"
    assert (load(tmp_path / "new").tenant_dir("acme") / "inbox" / "profiles" / "a.csv").read_bytes() == PROFILES
    ledger.close()


def test_an_upload_that_is_gone_on_with_while_it_is_copied_is_not_taken_for_whole(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = site.spool("a.csv")
    uploads.interrupt(site.ledger, upload_id, len(PROFILES), "for a test")
    copy = copying.copy

    def copy_and_resume(source: Path, target: Path, length: int | None = None) -> str:
        digest = copy(source, target, length)
        if target.name == upload_id:
            uploads.resume(site.ledger, upload_id, in_place=True)
        return digest

    monkeypatch.setattr(backup, "copy", copy_and_resume)
    back_up(site.settings, site.ledger, tmp_path / "copy")
    ledger = restored(tmp_path)
    assert uploads.get(ledger, upload_id).state == "aborted"
    assert not (tmp_path / "copy" / "data" / "spool").exists() or not list(
        (tmp_path / "copy" / "data" / "spool").rglob(upload_id)
    )
    ledger.close()


class FullDisk:
    """There is no space left for a file."""

    def __call__(self, source: Path, target: Path, length: int | None = None) -> str:
        raise OSError(28, "No space left on device", str(target))


def test_a_full_disk_leaves_no_backup_and_no_pins_and_says_so(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.upload("a.csv")
    monkeypatch.setattr(backup, "copy", FullDisk())
    with pytest.raises(BackupError, match="No space left"):
        back_up(site.settings, site.ledger, tmp_path / "copy")
    assert not [path for path in tmp_path.iterdir() if "copy" in path.name]
    assert not (site.settings.spool_dir / "pins").exists()


def test_nothing_is_swept_while_a_backup_is_taken(site: Any) -> None:
    never = site.settings.gateway.retention.model_copy(update={"partial_hours": 1e-9})
    changed = site.settings.gateway.model_copy(update={"retention": never})
    site.live.current = site.settings.model_copy(update={"gateway": changed})
    upload_id = site.spool("a.csv")
    uploads.interrupt(site.ledger, upload_id, len(PROFILES), "for a test")
    with keeping(site.settings.data_dir, wait=True):
        sweeping = Sweeping(site.live, site.ledger)
        sweeping.start()
        sweeping.stop()
        assert uploads.get(site.ledger, upload_id).state == "incomplete"
    sweeping = Sweeping(site.live, site.ledger)
    sweeping.start()
    until(lambda: uploads.get(site.ledger, upload_id).state == "expired")
    sweeping.stop()
