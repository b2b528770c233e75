"""A full disk: the put fails with a sentence, nothing half-way is seen, and all goes on when there is space again."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import standing
from tests.faults.disk import SmallDisk
from tests.faults.outcomes import outcomes
from tests.faults.partner import MORE, PEOPLE, Partner, write
from tests.faults.site import Site
from tests.waiting import until

DISK_BYTES = 8_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk", DISK_BYTES)
    yield disk
    disk.end()


@pytest.fixture
def small_site(tmp_path: Path, disk: SmallDisk) -> Iterator[Site]:
    """A site on the small disk, which serves."""
    site = Site(tmp_path / "site", data=disk.path / "data", retry_seconds=2)
    site.serve()
    yield site
    site.kill()


def refused(partner: Partner, content: bytes) -> str:
    """A put that fails; what the client is told."""
    with partner.connected() as client, pytest.raises(OSError, match=r"/a\.csv: ") as failure:
        write(client, f"{partner.folder}/a.csv", content)
    return str(failure.value)


def test_a_put_that_fills_the_disk_fails_and_works_when_there_is_space_again(small_site: Site, disk: SmallDisk) -> None:
    partner = Partner(small_site)
    partner.put("first.csv", b"identity,Name\nzoe,Zoe\n")
    small_site.ended()
    disk.fill(leave=60_000)
    assert "space left" in refused(partner, PEOPLE)
    assert not small_site.has_died()
    assert standing(small_site.inbox) == []
    assert [drop["path"] for drop in small_site.drops()] == ["first.csv"]
    disk.free()
    partner.put("a.csv", PEOPLE)
    assert [job["status"] for job in small_site.ended(2)] == ["completed", "completed"]
    assert len(outcomes(small_site)) == 2


def test_a_ledger_without_space_takes_no_upload_and_loses_nothing(small_site: Site, disk: SmallDisk) -> None:
    partner = Partner(small_site)
    disk.fill()
    told = refused(partner, b"identity,Name\nann,Ann\n")
    assert "space left" in told or "could not do this" in told
    assert small_site.drops() == []
    disk.free()
    partner.put("a.csv", PEOPLE)
    (job,) = small_site.ended()
    # By another connection: a transaction that was left open would hide it.
    assert (job["status"], job["total_rows"]) == ("completed", 5002)
    small_site.kill()
    small_site.serve()
    assert small_site.ended() == [job]


def test_results_that_find_no_space_are_made_when_there_is_some(small_site: Site, disk: SmallDisk) -> None:
    partner = Partner(small_site)
    (worker,) = small_site.workers()
    os.kill(worker, signal.SIGSTOP)
    partner.put("a.csv", PEOPLE)
    until(lambda: [job for job in small_site.jobs() if job["status"] == "validating"], small_site.log)
    disk.fill(leave=100_000)
    os.kill(worker, signal.SIGCONT)
    until(lambda: small_site.rows("SELECT 1 FROM jobs WHERE not_before IS NOT NULL"), small_site.log)
    assert list(small_site.outbox.iterdir()) == []
    disk.free()
    (job,) = small_site.ended()
    assert (job["status"], job["accepted_rows"]) == ("completed", 5001)
    assert len(outcomes(small_site)) == 1


def test_uploads_leave_the_reserve_of_the_disk_to_reports_and_removals(tmp_path: Path, disk: SmallDisk) -> None:
    """Not even a hole goes into the reserve; all else goes on, and so do uploads when there is space again."""
    reserve = 3_000_000
    site = Site(tmp_path / "site", data=disk.path / "data", retry_seconds=2, reserve=reserve)
    site.serve()
    try:
        partner = Partner(site)
        partner.put("first.csv", b"identity,Name\nzoe,Zoe\n")
        site.ended()
        (worker,) = site.workers()
        os.kill(worker, signal.SIGSTOP)
        partner.put("waits.csv", PEOPLE)
        assert "a.csv: the gateway has no space left for uploads; try again later" in refused(
            partner, bytes(DISK_BYTES)
        )
        # The ledger, and the copy that its job has, may use the reserve meanwhile.
        assert shutil.disk_usage(disk.path).free >= reserve - 1_000_000
        until(lambda: not site.rows("SELECT 1 FROM uploads WHERE state = 'open'"), site.log)
        with partner.connected() as client:
            # Who begins again where there was no space gives back what the first try has taken.
            write(client, f"{partner.folder}/a.csv", MORE)
            with (
                client.open(f"{partner.folder}/hole.part", "w") as file,
                pytest.raises(OSError, match="no space left for uploads"),
            ):
                file.truncate(DISK_BYTES)
        disk.fill(leave=reserve - 500_000)
        with partner.connected() as client:
            with pytest.raises(OSError, match="csv: the gateway has no space left for uploads"):
                client.open(f"{partner.folder}/b.csv", "w")
            with pytest.raises(OSError, match="folder: the gateway has no space left for uploads"):
                client.mkdir(f"{partner.folder}/folder")
            results = f"/outbox/{site.feed}"
            with client.open(f"{results}/first.csv.report.json") as file:
                assert b'"completed"' in file.read()
            client.remove(f"{results}/first.csv.report.html")
            os.kill(worker, signal.SIGCONT)
            until(lambda: "waits.csv.report.json" in client.listdir(results), site.log)
        assert "uploads are refused: the disk has only its reserve left" in site.log()
        disk.free()
        partner.put("b.csv", PEOPLE + b"zoe,Zoe,1\n")
        assert [job["status"] for job in site.ended(4)] == ["completed"] * 4
    finally:
        site.kill()
