"""Landing: generations, replacement before a drop settles, and landings that a kill cut short."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import UploadRefused
from gateway.ledger import drops, jobs, uploads
from gateway.pickup.landing import finish_landings, land, spool_path
from gateway.pickup.scan import Scan

LAND_AND_DIE = """
import os, signal, sys
from pathlib import Path
from gateway.config import load
from gateway.ledger import Ledger
from gateway.pickup import landing

moment, upload_id, root = sys.argv[1:]
settings = load(Path(root))

def die(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)

def rename_and_die(source, target, rename=os.rename, **keywords):
    rename(source, target, **keywords)
    die()

if moment == "before the commit":
    landing.landings.record_landing = die
elif moment == "before the rename":
    landing.move_into_inbox = die
else:
    os.rename = rename_and_die
landing.land(settings, Ledger(settings.ledger_path), upload_id=upload_id, tenant="acme", feed="profiles",
             path="a.csv", username="ann")
"""


def test_a_landed_file_is_in_the_inbox_and_in_the_ledger(site: Any) -> None:
    drop = site.drop(site.upload("2026/a.csv"))
    assert (site.inbox / "2026" / "a.csv").stat().st_ino == drop.inode
    assert (drop.state, drop.generation, drop.username, drop.bytes) == ("landed", 1, "ann", 30)
    assert uploads.get(site.ledger, str(drop.upload_id)).state == "closed"
    assert not spool_path(site.settings, str(drop.upload_id)).exists()


def test_who_uploads_again_before_the_drop_has_settled_replaces_it(make_site: Any) -> None:
    site = make_site(settle_seconds=60)
    first = site.drop(site.upload("a.csv"))
    second = site.drop(site.upload("a.csv", b"identity\ncid\n"))
    assert (second.id, second.generation, second.bytes) == (first.id, 1, 13)
    assert second.upload_id != first.upload_id
    assert second.settles_at > first.settles_at
    assert (site.inbox / "a.csv").read_bytes() == b"identity\ncid\n"
    assert site.transitions(first.id) == ["landed", "landed"]


def test_a_name_that_was_claimed_gets_the_next_generation(site: Any) -> None:
    first = site.upload("a.csv")
    Scan(site.live, site.ledger).claim_settled()
    second = site.upload("a.csv", b"identity\ncid\n")
    assert [site.drop(drop).generation for drop in (first, second)] == [1, 2]


def test_landing_never_overwrites_a_claimed_file_that_still_stands_in_the_inbox(site: Any) -> None:
    first = site.upload("a.csv")
    drop = site.drop(first)
    with site.ledger.transaction():
        jobs.create(site.ledger, drop, None, drop.landed_at)
        drops.claim(site.ledger, first, drop.landed_at)
    site.upload("a.csv", b"identity\ncid\n")
    claimed = site.drop(first)
    assert claimed.state == "claimed"
    assert (site.settings.spool_dir / "work" / claimed.job_id / "original").read_bytes().startswith(b"identity,Name")
    assert (site.inbox / "a.csv").read_bytes() == b"identity\ncid\n"


def test_a_folder_of_that_name_refuses_the_landing_and_nothing_is_recorded(site: Any) -> None:
    (site.inbox / "a.csv").mkdir()
    upload_id = site.spool("a.csv")
    with pytest.raises(UploadRefused, match="a folder of that name"):
        land_upload(site, upload_id)
    assert uploads.get(site.ledger, upload_id).state == "open"
    assert drops.newest(site.ledger, "acme", "profiles", "a.csv") is None


def test_a_landing_does_not_follow_a_link_out_of_the_inbox(site: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (site.inbox / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Not a directory"):
        site.upload("out/a.csv")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("moment", ["before the commit", "before the rename", "before the sync"])
def test_a_kill_while_landing_leaves_all_or_nothing(site: Any, moment: str) -> None:
    upload_id = site.spool("a.csv")
    program = [sys.executable, "-c", LAND_AND_DIE, moment, upload_id, str(site.root)]
    assert subprocess.run(program, check=False).returncode == -signal.SIGKILL
    finish_landings(site.settings, site.ledger)
    drop = drops.newest(site.ledger, "acme", "profiles", "a.csv")
    if moment == "before the commit":
        assert drop is None
        assert uploads.get(site.ledger, upload_id).state == "open"
        assert spool_path(site.settings, upload_id).exists()
    else:
        assert drop is not None
        assert drop.state == "landed"
        assert (site.inbox / "a.csv").stat().st_ino == drop.inode
        assert not spool_path(site.settings, upload_id).exists()


def test_a_landing_that_was_cut_short_is_finished_when_the_pickup_starts(site: Any) -> None:
    upload_id = site.spool("a.csv")
    program = [sys.executable, "-c", LAND_AND_DIE, "before the rename", upload_id, str(site.root)]
    assert subprocess.run(program, check=False).returncode == -signal.SIGKILL
    with site.picking_up():
        (job,) = site.ended()
    assert (job.status, job.uploaded_by) == ("completed", "ann@acme.example")


def land_upload(site: Any, upload_id: str) -> str:
    return land(
        site.settings, site.ledger, upload_id=upload_id, tenant="acme", feed="profiles", path="a.csv", username="ann"
    )
