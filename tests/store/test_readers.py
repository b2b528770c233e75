"""The tables as others read them: polars by their log, and DuckDB, which knows nothing of us, from their files."""

from __future__ import annotations

import json

import duckdb
import polars as pl
import pytest

from gateway.store.shapes import PAIRS
from tests.store.conftest import Event, Jobs, Row, Stored, at

pytestmark = pytest.mark.timeout(60)


def filled(stored: Stored, jobs: Jobs) -> Stored:
    rows = [Row(f"person {n}", {"n": str(n), "N": f'"{n}"', "gone": None}, n) for n in range(50)]
    events = [Event(f"person {n}", minutes=n * 5_000, properties=json.dumps({"n": n})) for n in range(50)]
    stored.commit(jobs(rows, events))
    stored.commit(jobs([Row("person 1", {"n": '"ü"'}, 99)]))
    return stored


def addresses(stored: Stored, table: str) -> list[str]:
    """The table's current files, from its log."""
    stored.store.refresh()
    one = getattr(stored.store, table)
    return [one.place.file(path) for path in one.files()["path"]]


def test_duckdb_sees_the_same_profiles_from_the_current_files(stored: Stored, jobs: Jobs) -> None:
    paths = addresses(filled(stored, jobs), "profiles")
    query = "SELECT identity, attributes, bucket FROM read_parquet($1, hive_partitioning = true) ORDER BY identity"
    found = duckdb.execute(query, [paths]).fetchall()
    seen = {identity: {k: v["value"] for k, v in attributes.items()} for identity, attributes, _ in found}
    assert seen == {identity: values for (_, identity), values in stored.values().items()}
    assert seen["person 1"] == {"N": '"1"', "gone": None, "n": '"ü"'}
    [(time, job, row)] = duckdb.execute(
        "SELECT v.time, v.job, v.row FROM (SELECT attributes['n'] v FROM read_parquet($1) WHERE identity = 'person 1')",
        [paths],
    ).fetchall()
    assert (time, job, row) == (at(99), "job-0002", 1)


def test_duckdb_sees_the_same_events(stored: Stored, jobs: Jobs) -> None:
    paths = addresses(filled(stored, jobs), "events")
    read = duckdb.read_parquet(paths, hive_partitioning=True)
    assert read.order("time").project("identity, name, time, properties").fetchall() == stored.events()
    assert sorted(read.columns) == sorted(stored.store.events.shape.schema)
    assert len(paths) > 1


def test_polars_reads_the_tables_by_their_log(stored: Stored, jobs: Jobs) -> None:
    store = filled(stored, jobs).store
    profiles = pl.read_delta(store.profiles.place.url)
    assert profiles.schema == store.profiles.shape.schema
    lists = profiles.filter(identity="person 1")["attributes"].cast(PAIRS).to_list()[0]
    assert {pair["key"]: pair["value"]["value"] for pair in lists} == stored.value("person 1")
    assert pl.read_delta(store.events.place.url).schema == store.events.shape.schema
