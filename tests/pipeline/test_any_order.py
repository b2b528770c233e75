"""No order and no split of rows into files makes another store: users, companies, blanks and events, from real files.

Each record has a time of its own, so that nothing but the times decides.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.store.shapes import PAIRS
from tests.importing import Tenant
from tests.rules.conftest import USERPILOT, Record, ndjson

pytestmark = pytest.mark.timeout(120)

# Few names and few values, so that rows meet each other.
METADATA = st.dictionaries(st.sampled_from(["plan", "Plan"]), st.sampled_from([None, "pro", 5]), min_size=1)
WHO = st.sampled_from(["ann", "bob"])
# Rows differ in what comes of the upload, and of the job that brought them; nothing else may.
OF_THE_UPLOAD = (
    "created",
    "updated",
    "created_by",
    "updated_by",
    "job",
    "row",
    "received",
    "can_trigger",
    "in_activity_log",
)


def of(kind: str, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Record]:
    return st.fixed_dictionaries({"event_type": st.just(kind), "source": st.just("backend-http"), **values})


RECORDS = st.one_of(
    of("identify_user", user_id=WHO, metadata=METADATA, company_id=st.sampled_from([None, "", "acme"])),
    of("identify_company", company_id=st.just("acme"), metadata=METADATA),
    of("track", user_id=WHO, event_name=st.sampled_from(["seen", "bought"]), metadata=METADATA),
)


SEEN: Record = {"event_type": "track", "source": "backend-http", "user_id": "ann", "event_name": "seen", "metadata": {}}
# What is blanked stays blank, also where an older value comes later.
BLANKED: list[Record] = [
    {"event_type": kind, "source": "backend-http", key: "ann", "metadata": {"plan": plan}}
    for kind, key in (("identify_user", "user_id"), ("identify_company", "company_id"))
    for plan in ("pro", "free", None)
] + [SEEN]


def timed(records: Sequence[Record]) -> list[Record]:
    """Each with a time of its own, in two months."""
    return [one | {"inserted_at": f"2024-0{6 + at % 2}-{1 + at:02}T00:00:00Z"} for at, one in enumerate(records)]


def files_of(records: Iterable[Record], chance: random.Random) -> list[list[list[Record]]]:
    """Commits of files of the records in any order; an event may come a second time."""
    rows = [one for one in records for _ in range(2 if one["event_type"] == "track" and chance.random() < 0.3 else 1)]
    chance.shuffle(rows)
    commits: list[list[list[Record]]] = [[[]]]
    for row in rows:
        if chance.random() < 0.25:
            commits.append([[]])
        elif chance.random() < 0.3:
            commits[-1].append([])
        commits[-1][-1].append(row)
    return [[file for file in commit if file] for commit in commits if any(commit)]


def stored(folder: Path, commits: list[list[list[Record]]]) -> dict[str, list[Any]]:
    """What is in the tables after these commits, apart from what comes of the upload."""
    tenant = Tenant(folder)
    for commit in commits:
        tenant.commit(*(tenant.drop(ndjson(*file), USERPILOT, name="file.ndjson") for file in commit))
    return {table: contents(tenant.rows(table)) for table in ("profiles", "companies", "events")}


def contents(rows: pl.DataFrame) -> list[Any]:
    if "attributes" in rows.columns:
        value = pl.element().struct.field("value").struct
        bare = pl.element().struct.with_fields(value=pl.struct(value.field("value"), value.field("time")))
        rows = rows.with_columns(pl.col("attributes").cast(PAIRS).list.eval(bare))
    return sorted(rows.drop(*OF_THE_UPLOAD, "bucket", strict=False).rows(), key=repr)


@pytest.mark.rule("F17", "F24", "B3", "B5", "U118")
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@example(BLANKED, random.Random(31))
@given(st.lists(RECORDS, min_size=4, max_size=10), st.randoms(use_true_random=False))
def test_rows_in_any_order_and_any_split_into_files_give_the_same_store(
    records: list[Record], chance: random.Random
) -> None:
    rows = timed(records)
    with tempfile.TemporaryDirectory() as folder:
        right = stored(Path(folder, "right"), [[rows]])
        assert stored(Path(folder, "other"), files_of(rows, chance)) == right
        assert len(right["events"]) == sum(one["event_type"] == "track" for one in rows)
