"""What holds for every set of rows: no order and no split into files or commits makes another store."""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store import TenantStore
from tests.store.conftest import Event, Jobs, Row, Stored

pytestmark = pytest.mark.timeout(120)
relaxed = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))

VALUES = st.sampled_from([None, "1", "2", '"x"'])
Update = tuple[str, dict[str, str | None], float]


@st.composite
def updates(draw: st.DrawFn) -> list[Update]:
    """Rows whose times are their own per identity, hence per identity and attribute."""
    attributes = st.dictionaries(st.sampled_from(["a", "A", "b", "c"]), VALUES, max_size=3)
    people = st.sampled_from(["ann", "bob", "cyd"])
    rows = draw(st.lists(st.tuples(people, attributes), min_size=1, max_size=14))
    return [(identity, values, number) for number, (identity, values) in enumerate(rows)]


def shuffled(rows: list[Any], chance: random.Random) -> list[list[list[Any]]]:
    """The rows in any order, split into commits of jobs."""
    rows = rows.copy()
    chance.shuffle(rows)
    commits: list[list[list[Any]]] = [[[]]]
    for row in rows:
        if chance.random() < 0.3:
            commits.append([[]])
        elif chance.random() < 0.4:
            commits[-1].append([])
        commits[-1][-1].append(row)
    return [[job for job in commit if job] for commit in commits if any(commit)]


def expected(rows: list[Update]) -> dict[tuple[str, str], dict[str, str | None]]:
    """The merge in a few lines of Python: oldest first, each over what was there."""
    found: dict[tuple[str, str], dict[str, str | None]] = defaultdict(dict)
    for identity, attributes, _ in sorted(rows, key=lambda row: row[2]):
        found["identity", identity] |= attributes
    return dict(found)


@pytest.mark.rule("B3", "B5")
@relaxed
@given(updates(), st.randoms(use_true_random=False))
def test_rows_in_any_order_and_any_split_give_the_same_profiles(rows: list[Update], chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        jobs, stored = Jobs(Path(folder) / "staging"), Stored(TenantStore(f"{folder}/store", "acme"))
        facts = []
        for commit in shuffled(rows, chance):
            facts += stored.commit(*(jobs([Row(*row) for row in job]) for job in commit))
        assert stored.values() == expected(rows)
        assert sum(one.created for one in facts) == len(expected(rows))
        assert {name for one in facts for name in one.new_properties} == {
            name for _, attributes, _ in rows for name, value in attributes.items() if value is not None
        }


@relaxed
@given(
    st.lists(st.tuples(st.sampled_from(["ann", "bob"]), st.sampled_from(["x", "y"]), st.integers(0, 4)), min_size=1),
    st.randoms(use_true_random=False),
)
def test_events_in_any_order_and_any_split_are_each_stored_once(
    rows: list[tuple[str, str, int]], chance: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        jobs, stored = Jobs(Path(folder) / "staging"), Stored(TenantStore(f"{folder}/store", "acme"))
        told = 0
        for commit in shuffled([Event(name, what, minutes * 20_000) for name, what, minutes in rows], chance):
            told += sum(one.duplicates.len() for one in stored.commit(*(jobs(events=job) for job in commit)))
        assert sorted((one[0], one[1]) for one in stored.events()) == sorted((a, b) for a, b, _ in set(rows))
        assert told == len(rows) - len(set(rows))
