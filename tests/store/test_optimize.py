"""Upkeep: small files of events become few, sorted by time; old files go, and the log stays short."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.store import TenantStore, optimize, table, table_log
from gateway.store.table import Table
from tests.store.conftest import Event, Jobs, Row, Stored, contents

pytestmark = pytest.mark.timeout(60)


def folder_of(table: Table) -> Path:
    assert table.place.folder is not None
    return table.place.folder


def on_disk(table: Table) -> set[str]:
    return {path.relative_to(folder_of(table)).as_posix() for path in folder_of(table).glob("*/*.parquet")} - {
        path for path in os.listdir(folder_of(table)) if path == "_delta_log"
    }


def with_small_files(stored: Stored, jobs: Jobs, commits: int = 5) -> Stored:
    for number in range(commits):
        minutes = (number * 7) % commits
        stored.commit(jobs([Row("ann", {"n": str(number)}, number)], [Event("ann", f"event {number}", minutes)]))
    stored.store.refresh()
    return stored


def test_small_files_become_one_sorted_by_time_and_no_event_is_lost(stored: Stored, jobs: Jobs) -> None:
    with_small_files(stored, jobs)
    before = contents(stored.store)["events"]
    done = optimize.compact(stored.store)
    assert (done.months, done.files_before, done.files_after) == (["2024-03"], 5, 1)
    assert contents(stored.store)["events"] == before
    table = stored.store.events
    assert table.scan(table.files()["path"]).collect()["time"].is_sorted()
    newest = max((folder_of(table) / "_delta_log").glob("*.json")).read_text().splitlines()
    actions = [one for line in newest for one in json.loads(line).items() if one[0] in ("add", "remove")]
    assert {action["dataChange"] for _, action in actions} == {False}


def test_a_commit_is_still_known_after_compaction_and_its_events_are_still_duplicates(
    stored: Stored, jobs: Jobs
) -> None:
    with_small_files(stored, jobs)
    optimize.compact(stored.store)
    assert stored.store.events.has(5)
    [facts] = stored.commit(jobs(events=[Event("ann", "event 3", 1), Event("ann", "event 3", 2)]))
    assert (facts.events, facts.duplicates.to_list()) == (1, [1])


def test_upkeep_is_due_when_small_files_have_piled_up(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimize, "SMALL_FILES_MAX", 4)
    with_small_files(stored, jobs, 4)
    assert optimize.due(stored.store) == []
    stored.commit(jobs(events=[Event("bob")]))
    stored.store.refresh()
    assert optimize.due(stored.store) == ["2024-03"]
    optimize.compact(stored.store, optimize.due(stored.store))
    assert optimize.due(stored.store) == []


def test_a_large_month_is_not_rewritten_for_a_few_events(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_small_files(stored, jobs, 6)
    monkeypatch.setattr(optimize, "SMALL_FILES_MAX", 4)
    sizes = stored.store.events.files()["bytes"]
    monkeypatch.setattr(optimize, "FILE_BYTES", 4 * (max(sizes) + 1))
    assert optimize.due(stored.store) == ["2024-03"]
    monkeypatch.setattr(optimize, "SMALL_SHARE", 0.5)
    assert optimize.due(stored.store) == []


def test_only_what_was_replaced_longer_ago_than_the_horizon_is_removed(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_small_files(stored, jobs)
    tables = [stored.store.profiles, stored.store.events]
    assert optimize.optimize(stored.store).removed == 0
    before = contents(stored.store)
    assert all(on_disk(table) > set(table.files()["path"]) for table in tables)
    monkeypatch.setattr(optimize, "HORIZON_MIN", timedelta(0))
    # Four versions of the bucket, four of the names' file less the first, and five files of events.
    assert optimize.vacuum(stored.store, timedelta(0)) >= 9
    assert all(on_disk(table) == set(table.files()["path"]) for table in tables)
    assert contents(stored.store) == before
    assert contents(TenantStore(str(stored.store.place.url).removesuffix("/acme"), "acme")) == before


def test_files_that_no_commit_named_are_removed_too(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_small_files(stored, jobs)
    stored.store.prepare(9, [jobs([Row("bob", {"n": "1"})])])
    monkeypatch.setattr(optimize, "HORIZON_MIN", timedelta(0))
    optimize.vacuum(stored.store, timedelta(0))
    assert on_disk(stored.store.profiles) == set(stored.store.profiles.files()["path"])


def test_a_horizon_that_would_pull_files_from_under_readers_is_refused(stored: Stored) -> None:
    with pytest.raises(StoreError, match="somebody may be reading them"):
        optimize.vacuum(stored.store, timedelta(minutes=59))


def test_a_compaction_that_a_power_cut_tore_is_as_if_it_had_not_been(stored: Stored, jobs: Jobs) -> None:
    with_small_files(stored, jobs)
    before = contents(stored.store)
    optimize.compact(stored.store)
    [path] = stored.store.events.files()["path"]
    (folder_of(stored.store.events) / path).write_bytes(b"")
    assert contents(TenantStore(str(stored.store.place.url).removesuffix("/acme"), "acme")) == before


def test_the_log_is_summed_up_and_old_entries_go(stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "CHECKPOINT_EVERY", 5)
    with_small_files(stored, jobs, 5)
    schedule, now = optimize.Schedule(), datetime(2026, 11, 1, tzinfo=UTC)
    schedule.keep_up(stored.store, now)
    log = folder_of(stored.store.profiles) / "_delta_log"
    assert (log / f"{5:020d}.checkpoint.parquet").exists()
    long_ago = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    for entry in log.iterdir():
        os.utime(entry, (long_ago, long_ago))
    for number in range(5):
        stored.commit(jobs([Row("ann", {"n": str(number)}, 100 + number)]))
        schedule.keep_up(stored.store, now)
    assert min(log.glob("*.json")).name == f"{5:020d}.json"
    again = TenantStore(str(stored.store.place.url).removesuffix("/acme"), "acme")
    assert again.profiles.has(10)
    assert stored.value("ann") == {"n": "4"}


def test_a_store_tends_itself_when_small_files_have_piled_up_and_vacuums_once_a_day(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_small_files(stored, jobs)
    schedule, now = optimize.Schedule(), datetime(2026, 11, 1, tzinfo=UTC)
    assert schedule.keep_up(stored.store, now) == optimize.Upkeep(), "mostly nothing is due"
    monkeypatch.setattr(optimize, "SMALL_FILES_MAX", 3)
    stored.commit(jobs([], [Event("ann", "one more", 9)]))
    done = schedule.keep_up(stored.store, now + timedelta(hours=1))
    assert (done.months, done.files_after, done.removed) == (["2024-03"], 1, 0)
    replaced = on_disk(stored.store.events)
    old = (now - timedelta(days=30)).timestamp()
    stray = folder_of(stored.store.events) / "month=2024-03" / "part-of-a-cut-off-commit.zstd.parquet"
    stray.write_bytes(b"")
    os.utime(stray, (old, old))
    assert schedule.keep_up(stored.store, now + timedelta(hours=23)) == optimize.Upkeep()
    assert schedule.keep_up(stored.store, now + timedelta(hours=25)).removed == 1
    assert on_disk(stored.store.events) == replaced


def test_a_long_log_is_summed_up_and_a_short_one_left(stored: Stored, jobs: Jobs) -> None:
    with_small_files(stored, jobs)
    log = folder_of(stored.store.events) / "_delta_log"
    optimize.shorten_logs(stored.store)
    assert list(log.glob("*.checkpoint*.parquet")) == []
    with_small_files(stored, jobs, table_log.CHECKPOINT_EVERY)
    optimize.shorten_logs(stored.store)
    version = stored.store.events.version
    assert list(log.glob(f"{version:020d}.checkpoint*.parquet")) != []
