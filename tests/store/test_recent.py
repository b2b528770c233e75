"""Recent files: who is new comes into a file apart and later into a bucket; of that nothing is to be seen but files."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.store import Facts, TenantStore, buckets, gathered, identities, index, lookup, opened, optimize, recent
from tests.store.conftest import Event, Jobs, Row, Stored, contents

pytestmark = pytest.mark.timeout(120)
# An example takes a second: made smaller it would be for minutes.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def people(*names: str, minutes: float = 0) -> list[Row]:
    return [Row(name, {"n": str(minutes), "x": None}, minutes) for name in names]


def files(stored: Stored) -> dict[int, set[str]]:
    """Who is in each bucket."""
    table = stored.store.profiles
    return {
        int(bucket): set(table.scan([path]).collect()["identity"])
        for bucket, path in table.files().select("partition", "path").rows()
    }


def test_who_is_new_comes_into_a_file_apart_and_a_change_rewrites_only_the_file_that_has_them(
    stored: Stored, jobs: Jobs
) -> None:
    stored.commit(jobs(people("ann", "bob")))
    stored.commit(jobs(people("cyd")))
    assert files(stored) == {-1: {"ann", "bob"}, -2: {"cyd"}}
    before = set(stored.store.profiles.files()["path"])
    [facts] = stored.commit(jobs(people("bob", "dan", minutes=1)))
    assert (facts.created, facts.updated) == (1, 1)
    assert files(stored) == {-1: {"ann", "bob"}, -2: {"cyd"}, -3: {"dan"}}
    assert len(before & set(stored.store.profiles.files()["path"])) == 1


@contextmanager
def limits(chance: random.Random) -> Iterator[None]:
    """Limits so small that a few people need many files and groups."""
    with pytest.MonkeyPatch.context() as patch:
        rows = chance.choice([2, 4, 8])
        patch.setattr(identities, "BUCKET_ROWS_MAX", rows)
        patch.setattr(recent, "BUCKET_ROWS_MAX", rows)
        patch.setattr(recent, "SMALL_ROWS", rows)
        patch.setattr(recent, "SMALL_FILES_MAX", chance.choice([0, 2]))
        patch.setattr(recent, "ROWS_MAX", chance.choice([3, 9, 50]))
        patch.setattr(gathered, "GROUP_ROWS", chance.choice([3, 12, 1_000]))
        patch.setattr(index, "ROWS_MAX", chance.choice([0, 10, 1_000]))
        patch.setattr(index, "BATCH_ROWS", chance.choice([2, 1_000]))
        yield


NAMES = st.sampled_from([f"person {n}" for n in range(30)])
ROWS = st.lists(st.tuples(NAMES, st.sampled_from([None, "1", "2"]), st.integers(0, 9)), min_size=1, max_size=12)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
@given(st.lists(st.lists(ROWS, min_size=1, max_size=3), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_it_makes_no_difference_where_people_are_and_when_they_are_moved(
    commits: list[list[list[tuple[str, str | None, int]]]], chance: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain, moved = (Stored(TenantStore(f"{folder}/{name}", "acme")) for name in ("plain", "moved"))
        for number, commit in enumerate(commits):
            drops = [
                Jobs(Path(folder) / "staging", 10 * number + at)([Row(name, {"n": v}, m) for name, v, m in rows])
                for at, rows in enumerate(commit)
            ]
            told = plain.commit(*drops)
            with limits(chance):
                assert [seen(one) for one in moved.commit(*drops)] == [seen(one) for one in told]
                if chance.random() < 0.6:
                    recent.tidy(moved.store.profile_index)
                    moved.store.refresh()
                if chance.random() < 0.3:
                    moved.store = TenantStore(f"{folder}/moved", "acme")
            assert contents(moved.store) == contents(plain.store)
            assert_in_their_places(moved)


def seen(facts: Facts) -> tuple[object, ...]:
    names = tuple(facts.new_properties), facts.new_properties_count, sorted(facts.changed_properties)
    return facts.created, facts.updated, facts.unchanged, facts.blanked, names


def assert_in_their_places(stored: Stored) -> None:
    """Each identity is in one file, and who is in a bucket of the tree belongs to it; one file a bucket."""
    found = files(stored)
    leaves = [bucket for bucket in found if bucket > 0]
    assert len(found) == stored.store.profiles.files().height
    assert sum(map(len, found.values())) == len(set().union(*found.values()))
    for bucket in leaves:
        keys = pl.DataFrame({"namespace": "identity", "identity": list(found[bucket])})
        assert set(buckets.bucket_of(buckets.hashes(keys), leaves)) == {bucket}


def test_many_rows_go_to_their_buckets_at_once_and_take_the_recent_ones_along(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "BUCKET_ROWS_MAX", 4)
    stored.commit(jobs(people("ann", "bob")))
    assert set(files(stored)) == {-1}
    stored.commit(jobs(people("ann", "cyd", "dan", "eve", "fay", minutes=2)))
    assert min(files(stored)) > 0
    assert sorted(identity for _, identity in stored.values()) == ["ann", "bob", "cyd", "dan", "eve", "fay"]
    assert_in_their_places(stored)


def test_upkeep_puts_small_files_together_and_many_people_into_their_buckets(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "SMALL_FILES_MAX", 2)
    monkeypatch.setattr(recent, "ROWS_MAX", 6)
    schedule = optimize.Schedule()
    for names in (("ann", "bob"), ("cyd", "dan"), ("eve",)):
        schedule.keep_up(stored.store, NOW)
        stored.commit(jobs(people(*names), companies=people(*names)))
    assert set(files(stored)) == {-1, -2, -3}
    schedule.keep_up(stored.store, NOW)
    stored.store.refresh()
    assert list(files(stored).values()) == [{"ann", "bob", "cyd", "dan", "eve"}]
    stored.commit(jobs(people("fay", "gus")))
    before = contents(stored.store)
    schedule.keep_up(stored.store, NOW)
    assert contents(stored.store) == before
    assert {bucket: len(names) for bucket, names in files(stored).items()} == {1: 7}
    assert stored.store.companies.files()["partition"].to_list() == ["-1"]


def test_the_log_says_that_no_data_changed_when_people_are_moved_and_commits_stay_known(
    stored: Stored, jobs: Jobs
) -> None:
    stored.commit(jobs(people("ann")))
    stored.commit(jobs(people("bob")))
    assert optimize.optimize(stored.store).placed == 2
    stored.store.refresh()
    table = stored.store.profiles
    assert table.place.folder is not None
    entry = (table.place.folder / "_delta_log" / f"{table.version:020d}.json").read_text()
    added = [json.loads(line)["add"] for line in entry.splitlines() if "add" in json.loads(line)]
    assert [one["dataChange"] for one in added] == [False]
    assert (set(files(stored)), table.has(2), table.has(3)) == ({1}, True, False)
    assert optimize.optimize(stored.store).placed == 0


def test_a_move_that_a_power_cut_tore_is_as_if_it_had_not_been(stored: Stored, jobs: Jobs) -> None:
    stored.commit(jobs(people("ann", "bob")))
    before = contents(stored.store)
    recent.put_in_place(stored.store.profile_index)
    stored.store.refresh()
    [path] = stored.store.profiles.files()["path"]
    folder = stored.store.profiles.place.folder
    assert folder is not None
    (folder / path).write_bytes(b"")
    assert contents(TenantStore(stored.store.place.url.removesuffix("/acme"), "acme")) == before


@pytest.mark.parametrize("kept", [1_000, 0], ids=["with an index", "with a table too large for one"])
def test_people_in_recent_files_are_known_and_found(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(index, "ROWS_MAX", kept)
    stored.commit(jobs(people("ann")))
    recent.put_in_place(stored.store.profile_index)
    stored.commit(jobs(people("bob")))
    assert set(files(stored)) == {1, -1}
    events = [Event("ann"), Event("bob"), Event("cyd")]
    [facts] = stored.commit(jobs(events=events, unknown_identity="reject"))
    assert (facts.events, facts.unknown.to_list()) == (2, [3])
    assert [len(lookup.profiles(stored.store, name)) for name in ("ann", "bob", "cyd")] == [1, 1, 0]


def test_the_index_forgets_files_that_are_gone(stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "SMALL_FILES_MAX", 0)
    for name in ("ann", "bob", "cyd"):
        stored.commit(jobs(people(name)))
        recent.tidy(stored.store.profile_index)
        stored.store.refresh()
    stored.commit(jobs(people("ann", minutes=5)))
    assert stored.store.profile_index.files.height == 1
    assert stored.store.profile_index.bytes == 3 * 8


def test_what_another_process_commits_is_seen(
    stored: Stored, jobs: Jobs, new_store: Callable[[str], Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.commit(jobs(people("ann")))
    other = TenantStore(stored.store.place.url.removesuffix("/acme"), "acme")
    optimize.optimize(other)
    [facts] = stored.commit(jobs(people("ann", minutes=1)))
    assert (facts.updated, set(files(stored))) == (1, {1})
    other.refresh()
    assert contents(other) == contents(stored.store)


def test_the_stores_that_were_used_longest_ago_are_closed_when_their_indexes_take_too_much(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = opened.OpenStores(str(tmp_path / "store"), {})
    ours = {tenant: stores.of(tenant) for tenant in ("acme", "globex", "initech")}
    assert [stores.of(tenant) is store for tenant, store in ours.items()] == [True] * 3
    for tenant in ("acme", "globex"):
        Stored(stores.of(tenant)).commit(jobs(people("ann", "bob")))
    monkeypatch.setattr(opened, "INDEX_BYTES_MAX", 2 * 8)
    assert stores.of("globex") is ours["globex"]
    assert stores.of("initech") is ours["initech"]
    assert stores.of("globex") is ours["globex"]
    assert stores.of("acme") is not ours["acme"]
    monkeypatch.setattr(opened, "TENANTS_MAX", 1)
    assert stores.of("initech") is ours["initech"]
    assert stores.of("globex") is not ours["globex"]
