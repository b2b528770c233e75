"""Buckets grow by being split; no row changes by it, and every identity is found in the one that its hash names."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store import gathered, identities, recent
from gateway.store.buckets import ancestors, bucket_of, children, hashes, parent, size_of
from tests.store.conftest import Jobs, Row, Stored, contents, rows_of

pytestmark = pytest.mark.timeout(60)


@given(st.integers(1, 2**20), st.sampled_from([1, 2, 4, 8]))
def test_the_parts_of_a_bucket_are_under_it_and_hold_the_hashes_that_it_held(bucket: int, factor: int) -> None:
    parts = children(bucket, factor)
    assert len(set(parts)) == factor
    for part in parts:
        assert size_of(part) == factor * size_of(bucket)
        assert (part - size_of(part)) % size_of(bucket) == bucket - size_of(bucket)
        assert bucket == part or bucket in ancestors([part])
    assert all(parent(part) in ancestors(parts) for part in parts if part > 1)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1), st.lists(st.integers(0, 10**6), max_size=20))
def test_a_hash_has_one_bucket_in_a_tree_that_was_split_anywhere(hashed: list[int], choices: list[int]) -> None:
    leaves = [1]
    for choice in choices:
        leaves += children(leaves.pop(choice % len(leaves)), 2)
    found = bucket_of(pl.Series("hash", hashed, dtype=pl.UInt32), leaves).to_list()
    for value, bucket in zip(hashed, found, strict=True):
        assert [leaf for leaf in leaves if value % size_of(leaf) == leaf - size_of(leaf)] == [bucket]


def test_a_bucket_that_nobody_was_in_yet_is_found_too() -> None:
    assert bucket_of(pl.Series("hash", [0, 1, 3], dtype=pl.UInt32), [2, 5]).to_list() == [2, 3 + 2, 3 + 4]


def test_the_hash_is_crc32_of_name_space_and_identity() -> None:
    frame = pl.DataFrame({"namespace": ["identity", "id"], "identity": ["ä b", "1"]})
    assert hashes(frame).to_list() == [crc32("identity ä b".encode()), crc32(b"id 1")]


def many(count: int, minutes: float = 0, step: int = 1) -> list[Row]:
    return [Row(f"person {n}", {"n": str(n), "at": str(minutes)}, minutes) for n in range(0, count, step)]


@pytest.mark.parametrize(
    ("group_rows", "kept"),
    [(10_000, 10**6), (40, 10**6), (40, 0)],
    ids=["in one group", "in groups", "in groups through files"],
)
def test_growth_changes_no_row_and_splits_only_what_is_touched(
    new_store: Callable[[str], Stored], jobs: Jobs, monkeypatch: pytest.MonkeyPatch, group_rows: int, kept: int
) -> None:
    drops = [
        jobs(many(100)),
        jobs(many(300, 1, 3)),
        jobs([Row("person 7", {"n": '"seven"'}, 2)]),
        jobs(many(900, 3, 2)),
    ]
    plain = new_store("plain")
    for drop in drops:
        plain.commit(drop)
        recent.put_in_place(plain.store.profile_index)
    plain.store.refresh()
    assert plain.store.profiles.files()["partition"].to_list() == ["1"]

    monkeypatch.setattr(identities, "BUCKET_ROWS_MAX", 25)
    monkeypatch.setattr(gathered, "GROUP_ROWS", group_rows)
    monkeypatch.setattr(gathered, "KEPT_ATTRIBUTES", kept)
    grown = new_store("grown")
    facts = [grown.commit(drop)[0] for drop in drops]

    def without_buckets(stored: Stored) -> list[object]:
        return sorted(contents(stored.store)["profiles"], key=repr)

    assert without_buckets(grown) == without_buckets(plain)
    assert [(one.created, one.updated) for one in facts] == [(100, 0), (66, 34), (0, 1), (367, 83)]
    files = grown.store.profiles.files()
    assert max(files["rows"]) <= 25
    assert files["partition"].n_unique() == files.height
    assert not ancestors(int(one) for one in files["partition"]) & {int(one) for one in files["partition"]}
    for path, partition in files.select("path", "partition").rows():
        rows = grown.store.profiles.scan([path]).collect()
        size = size_of(int(partition))
        assert set(hashes(rows) % size + size) == {int(partition)}


def test_a_small_job_leaves_the_files_of_other_buckets_alone(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "BUCKET_ROWS_MAX", 25)
    stored.commit(jobs(many(300)))
    before = set(stored.store.profiles.files()["path"])
    stored.commit(jobs([Row("person 7", {"n": "8"}, 5)]))
    stored.store.refresh()
    after = set(stored.store.profiles.files()["path"])
    assert len(before - after) == len(after - before) == 1
    assert rows_of(stored.store.profiles).height == 300
