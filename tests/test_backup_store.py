"""`gateway backup` and the store: both are of one moment, and a commit that is under way is none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import clock
from gateway.backup import backup
from gateway.backup import stored as stored_files
from gateway.backup.backup import Backup, back_up
from gateway.backup.restore import restore
from gateway.backup.stored import StoredFiles
from gateway.config import Settings, load
from gateway.ledger import Ledger, commits, drops, jobs, landings
from gateway.ledger.landings import Landing
from gateway.locks import writing
from gateway.store import TenantStore
from gateway.store.emptying import empty
from tests.store.conftest import Event, Row, contents
from tests.stored import Site

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """In a folder with a name that an address would have to quote."""
    site = Site(tmp_path / "a site")
    for number in range(3):
        site.bring(f"{number}.csv", [Row("ann", {"n": str(number)}, number)], [Event("ann", f"event {number}", number)])
    return site


def copied_from(site: Site) -> tuple[Path, Backup]:
    ledger = site.ledger()
    try:
        return site.root.parent / "copy", back_up(site.settings, ledger, site.root.parent / "copy")
    finally:
        ledger.close()


def restored_from(copied: Path) -> tuple[Path, TenantStore]:
    root = copied.parent / "new"
    root.mkdir()
    restore(copied, root, replace=False)
    return root, TenantStore(load(root).store_url, "acme")


def test_a_store_comes_back_as_it_was_when_the_ledger_was_copied(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(site.stored.store)
    real = backup.copy_store

    def late(stored: StoredFiles, folder: Path, copied: Backup) -> None:
        site.bring("after.csv", [Row("bob", {})], [Event("bob")])
        empty(site.stored.store)
        real(stored, folder, copied)

    monkeypatch.setattr(backup, "copy_store", late)
    copied, done = copied_from(site)
    assert contents(site.stored.store) != before, "the files that were copied are gone by then"
    assert done.warnings == []
    root, store = restored_from(copied)
    assert contents(store) == before
    ledger = Ledger(root / "data" / "ledger.db")
    assert (commits.last_sequence(ledger, "acme"), store.events.has(3), store.events.has(4)) == (3, True, False)
    ledger.close()
    site.stored.store, site.stored.sequence = store, 3
    site.stored.commit(site.made([Row("cy", {})], [Event("cy")]))
    assert len(contents(store)["events"]) == 4, "it goes on where it was"


def test_no_commit_is_made_between_the_copy_of_the_ledger_and_the_look_at_the_store(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, bool]] = []

    def is_held() -> bool:
        with writing(site.root / "data", "acme", wait=False) as had:
            return not had

    real_copy, real_pin = Ledger.copy_to, stored_files.pin_store

    def copy_to(ledger: Ledger, path: Path) -> None:
        order.append(("ledger", is_held()))
        real_copy(ledger, path)

    def pin_store(settings: Settings) -> StoredFiles:
        order.append(("store", is_held()))
        return real_pin(settings)

    monkeypatch.setattr(Ledger, "copy_to", copy_to)
    monkeypatch.setattr(backup, "pin_store", pin_store)
    copied_from(site)
    assert order == [("ledger", True), ("store", True)]
    assert not is_held()


def resolved(ledger: Ledger) -> tuple[str, int]:
    """The id of a job whose commit is resolved, and the number of that."""
    now = clock.now()
    drop = landings.record_landing(ledger, Landing("acme", "people", "d.csv", 10, 1, now, now))
    with ledger.transaction():
        job_id = jobs.create(ledger, drop, None, now)
        drops.claim(ledger, drop.id, now)
    jobs.begin_next(ledger, now)
    jobs.move(ledger, job_id, ("validating",), "pending_refresh", now)
    commit = commits.begin(ledger, "acme", [{"job": job_id}], now)
    commits.resolve(ledger, commit, [{"job": job_id}], {job_id: "{}"}, 1, now)
    return job_id, commit.sequence


def test_a_commit_that_is_under_way_is_none_of_a_backup_and_its_job_runs_again(site: Site) -> None:
    ledger = site.ledger()
    job_id, _ = resolved(ledger)
    ledger.close()
    root, _ = restored_from(copied_from(site)[0])
    restored = Ledger(root / "data" / "ledger.db")
    assert commits.unfinished(restored) == []
    job = jobs.get(restored, job_id)
    # Else a later commit under its number would be taken for its own, and what it brings would be lost.
    assert (job.status, job.commit_sequence) == ("queued", None)
    restored.close()


def stored_and_unpublished(site: Site) -> str:
    """The id of a job."""
    ledger = site.ledger()
    job_id, sequence = resolved(ledger)
    commits.finish(ledger, commits.get(ledger, "acme", sequence), clock.now())
    ledger.close()
    return job_id


def test_a_job_that_is_in_the_store_is_waited_for_until_its_results_are_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = stored_and_unpublished(site)
    waits: list[float] = []

    def publish(seconds: float) -> None:
        waits.append(seconds)
        ledger = site.ledger()
        jobs.return_to_queue(ledger, job_id, "for a test", clock.now())
        ledger.close()

    monkeypatch.setattr("gateway.backup.backup.time.sleep", publish)
    copied, done = copied_from(site)
    assert len(waits) == 1
    assert [warning for warning in done.warnings if job_id in warning] == []
    assert jobs.get(Ledger(copied / "data" / "ledger.db"), job_id).status == "queued"


def test_of_a_job_in_the_store_whose_results_do_not_come_out_is_said_what_to_do(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PUBLISHED_SECONDS_MAX", 0)
    job_id = stored_and_unpublished(site)
    _, done = copied_from(site)
    assert [warning for warning in done.warnings if f"gateway requeue {job_id}" in warning]


def test_a_store_that_is_elsewhere_is_said_to_be_in_no_backup(site: Site) -> None:
    (site.root / "gateway.toml").write_text('[store]\nurl = "s3://bucket/gateway"\n')
    copied, done = copied_from(site)
    [warning] = done.warnings
    assert "the store is not in" in warning
    assert "copy it, after this backup" in warning
    assert not (copied / "data" / "store").exists()


def test_a_store_that_is_there_already_is_moved_aside_with_the_ledger(site: Site) -> None:
    copied, _ = copied_from(site)
    before = contents(site.stored.store)
    site.bring("after.csv", [Row("bob", {})])
    done = restore(copied, site.root, replace=True)
    assert done.moved_to is not None
    assert (done.moved_to / "store" / "acme" / "profiles").is_dir()
    assert contents(TenantStore(site.settings.store_url, "acme")) == before
