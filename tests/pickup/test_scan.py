"""The scan: settling, claiming, local files, names that are never picked up."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway import clock
from gateway.config import FeedSettings
from gateway.ledger import drops
from gateway.pickup.claim import original_path
from gateway.pickup.local import BETWEEN_SCANS_SECONDS_MIN, LANDINGS_MAX
from gateway.pickup.names import is_temporary
from gateway.pickup.scan import Scan
from tests.waiting import until


def walk_twice(site: Any) -> Scan:
    """Two walks with the rest between them that a local file needs, then the claims."""
    scan = Scan(site.live, site.ledger)
    while (again := scan.walk()) is not None:
        threading.Event().wait(max((again - clock.now()).total_seconds(), 0))
    scan.claim_settled()
    return scan


def test_a_drop_is_not_claimed_before_it_has_settled(make_site: Any) -> None:
    site = make_site(settle_seconds=60)
    drop_id = site.upload("a.csv")
    scan = Scan(site.live, site.ledger)
    assert scan.claim_settled() == 0
    scan.claim_now(drop_id)
    assert site.drop(drop_id).state == "landed"
    assert (site.inbox / "a.csv").exists()


def test_touching_a_drop_restarts_its_settling(site: Any) -> None:
    drop_id = site.upload("a.csv")
    drops.restart_settling(site.ledger, drop_id, clock.now(), 60, "its times were set")
    assert Scan(site.live, site.ledger).claim_settled() == 0


def test_a_settled_drop_leaves_the_inbox_for_its_jobs_folder(site: Any) -> None:
    drop_id = site.upload("2026/a.csv")
    assert Scan(site.live, site.ledger).claim_settled() == 1
    drop = site.drop(drop_id)
    (job,) = site.jobs()
    assert (drop.state, drop.job_id, job.status, job.filename) == ("claimed", job.id, "queued", "2026/a.csv")
    assert not (site.inbox / "2026" / "a.csv").exists()
    assert original_path(site.settings, job.id).stat().st_ino == drop.inode
    assert site.transitions(drop_id) == ["landed", "queued", "claimed"]


def test_of_a_flood_of_local_files_the_first_are_claimed_before_the_walk_is_over(site: Any) -> None:
    for number in range(2 * LANDINGS_MAX + 1):
        (site.inbox / f"{number}.csv").write_bytes(b"identity\n%d\n" % number)
    claimed: list[int] = []
    scan = Scan(site.live, site.ledger, lambda: claimed.append(len(site.jobs())))
    assert scan.walk() is not None
    until(lambda: scan.walk() is None)
    assert claimed == [LANDINGS_MAX, 2 * LANDINGS_MAX]
    assert scan.landing_seconds > 0
    assert scan.claim_settled() == 1
    assert scan.walk() is None
    assert scan.landing_seconds == 0


@pytest.mark.rule("C19")
def test_the_job_knows_who_uploaded_and_when(site: Any) -> None:
    drop_id = site.upload("a.csv")
    Scan(site.live, site.ledger).claim_settled()
    (job,) = site.jobs()
    assert (job.uploaded_by, job.uploaded_on) == ("ann@acme.example", site.drop(drop_id).landed_at)


def test_two_that_claim_at_once_make_one_job(site: Any) -> None:
    names = [f"{number}.csv" for number in range(120)]
    for name in names:
        site.upload(name)
    start = threading.Barrier(2)
    counts: list[int] = []

    def claim() -> None:
        scan = Scan(site.live, site.ledger)
        start.wait()
        counts.append(scan.claim_settled())

    threads = [threading.Thread(target=claim) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == len(names)
    assert sorted(job.filename for job in site.jobs()) == sorted(names)
    assert all(original_path(site.settings, job.id).exists() for job in site.jobs())


def test_a_landing_and_a_claim_of_one_name_at_once_lose_no_bytes(site: Any) -> None:
    done = threading.Event()
    scan = Scan(site.live, site.ledger)

    def claim_on() -> None:
        while not done.is_set():
            scan.claim_settled()

    claimer = threading.Thread(target=claim_on)
    claimer.start()
    for number in range(60):
        site.upload("a.csv", b"identity\n%d\n" % number)
    done.set()
    claimer.join()
    scan.claim_settled()
    processed = [original_path(site.settings, job.id).read_bytes() for job in site.jobs()]
    generations = [row["generation"] for row in site.ledger.rows("SELECT generation FROM drops ORDER BY id")]
    assert generations == list(range(1, len(processed) + 1))
    assert processed[-1] == b"identity\n59\n"
    assert len(set(processed)) == len(processed)


def test_a_landed_file_that_somebody_removed_is_a_vanished_drop(make_site: Any) -> None:
    site = make_site(settle_seconds=60)
    drop_id = site.upload("a.csv")
    (site.inbox / "a.csv").unlink()
    Scan(site.live, site.ledger).walk()
    assert site.drop(drop_id).state == "vanished"
    assert site.jobs() == []


def test_a_vanished_drop_keeps_no_other_from_its_claim(site: Any) -> None:
    gone, there = site.upload("a.csv"), site.upload("b.csv")
    (site.inbox / "a.csv").unlink()
    assert Scan(site.live, site.ledger).claim_settled() == 1
    assert [site.drop(drop).state for drop in (gone, there)] == ["vanished", "claimed"]


def test_a_file_that_cp_put_there_lands_as_a_local_drop(site: Any, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"identity\nann\n")
    before = clock.now()
    subprocess.run(["cp", tmp_path / "b.csv", site.inbox / "b.csv"], check=True)
    walk_twice(site)
    (job,) = site.jobs()
    drop = site.drop(job.drop_id)
    assert (drop.username, drop.upload_id, job.uploaded_by, drop.bytes) == (None, None, None, 13)
    assert before <= drop.landed_at <= clock.now()


def test_a_folder_that_mv_put_there_is_scanned_too(site: Any, tmp_path: Path) -> None:
    (tmp_path / "2026" / "02").mkdir(parents=True)
    (tmp_path / "2026" / "02" / "b.csv").write_bytes(b"identity\nann\n")
    subprocess.run(["mv", tmp_path / "2026", site.inbox], check=True)
    walk_twice(site)
    assert [job.filename for job in site.jobs()] == ["2026/02/b.csv"]


def test_a_local_file_that_is_still_written_waits(site: Any) -> None:
    scan = Scan(site.live, site.ledger)
    with (site.inbox / "b.csv").open("wb") as file:
        file.write(b"identity\n")
        file.flush()
        for _ in range(3):
            again = scan.walk()
            assert again is not None
            threading.Event().wait((again - clock.now()).total_seconds())
        assert drops.newest(site.ledger, "acme", "profiles", "b.csv") is None
        file.write(b"ann\n")
    walk_twice(site)
    (job,) = site.jobs()
    assert job.file_size == 13


def test_a_local_file_that_is_moved_away_during_the_walk_is_no_drop(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.csv", "b.csv"):
        (site.inbox / name).write_bytes(b"identity\nann\n")
    scan = Scan(site.live, site.ledger)
    end_walk = scan._local.end_walk

    def end_without_one() -> Any:
        if scan._local._finished:
            (site.inbox / "a.csv").unlink(missing_ok=True)
        return end_walk()

    monkeypatch.setattr(scan._local, "end_walk", end_without_one)
    while (again := scan.walk()) is not None:
        threading.Event().wait(max((again - clock.now()).total_seconds(), 0))
    assert drops.newest(site.ledger, "acme", "profiles", "a.csv") is None
    assert drops.newest(site.ledger, "acme", "profiles", "b.csv") is not None


def test_a_folder_that_cannot_be_walked_keeps_no_finished_file_of_another_from_landing(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.inbox / "a.csv").write_bytes(b"identity\nann\n")
    scan = Scan(site.live, site.ledger)
    walk_feed = scan._walk_feed

    def walk_or_fail(settings: Any, tenant: str, feed: str, policy: Any) -> None:
        walk_feed(settings, tenant, feed, policy)
        if feed == list(settings.tenants[tenant].feeds)[-1]:
            raise PermissionError(feed)

    monkeypatch.setattr(scan, "_walk_feed", walk_or_fail)
    for _ in range(2):
        with pytest.raises(PermissionError):
            scan.walk()
        threading.Event().wait(BETWEEN_SCANS_SECONDS_MIN)
    with pytest.raises(PermissionError):
        scan.walk()
    assert drops.newest(site.ledger, "acme", "profiles", "a.csv") is not None


def test_a_local_program_that_replaces_a_landed_file_makes_a_drop_of_its_own(make_site: Any, tmp_path: Path) -> None:
    site = make_site(settle_seconds=0.1)
    first = site.upload("a.csv")
    (tmp_path / "new.csv").write_bytes(b"identity\nzoe\n")
    os.replace(tmp_path / "new.csv", site.inbox / "a.csv")
    walk_twice(site)
    (job,) = site.jobs()
    assert site.drop(first).state == "superseded"
    assert original_path(site.settings, job.id).read_bytes() == b"identity\nzoe\n"


@pytest.mark.parametrize(
    "name",
    ["a.csv.filepart", "a.csv.partial", "a.part", "a.tmp", ".in.a.csv", ".a.csv", "A.CSV.FILEPART", ".git/a.csv"],
)
def test_a_temporary_name_is_never_picked_up(site: Any, name: str) -> None:
    (site.inbox / name).parent.mkdir(exist_ok=True)
    (site.inbox / name).write_bytes(b"identity\nann\n")
    assert is_temporary(name)
    walk_twice(site)
    assert site.jobs() == []


def test_a_feed_adds_temporary_names_of_its_own() -> None:
    feed = FeedSettings(contract="clevertap-profiles", temporary_names=(".uploading", "~*"))
    assert is_temporary("a.csv.uploading", feed)
    assert is_temporary("~a.csv", feed)
    assert not is_temporary("a.csv", feed)
    assert not is_temporary("partial.csv", feed)


def test_links_and_pipes_are_ignored(site: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_bytes(b"identity\nann\n")
    (site.inbox / "link.csv").symlink_to(tmp_path / "secret.csv")
    (site.inbox / "folder").symlink_to(tmp_path)
    os.mkfifo(site.inbox / "pipe.csv")
    walk_twice(site)
    assert site.jobs() == []


def test_a_name_that_is_no_text_keeps_no_other_from_landing(site: Any) -> None:
    (Path(os.fsdecode(os.fsencode(site.inbox) + b"/caf\xe9.csv"))).write_bytes(b"identity\nann\n")
    (site.inbox / "b.csv").write_bytes(b"identity\nann\n")
    walk_twice(site)
    assert [job.filename for job in site.jobs()] == ["b.csv"]
