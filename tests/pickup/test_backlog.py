"""A backlog that is dropped at once and in any order gives the same store as the right order (RULES.md, section 4)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gateway.engine import Engine
from gateway.pickup.folder import make_folders
from gateway.pickup.pickup import Pickup
from gateway.store import TenantStore
from gateway.store.shapes import PAIRS
from gateway.storekeeper import Storekeeper
from tests.pickup.conftest import SharedEngine, Site

PEOPLE = 30
FEED = """
[feeds.people]
contract = "customerio-people"
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = SharedEngine(2)
    made.start()
    yield made
    made.stop()


def backlog() -> list[tuple[str, str, bytes]]:
    """Feed, name and content of three files of people, each newer than the one before, and a year of events."""
    files = []
    for number in range(3):
        lines = [
            f"id-{person},{1_700_000_000 + number * 1000 + person},v{number},{'x' if person % 3 == number else ''}"
            for person in range(number * 5, PEOPLE)
        ]
        files.append(("people", f"people-{number}.csv", "\n".join(["id,_timestamp,plan,only", *lines]).encode()))
    for month in range(1, 13):
        first = int(datetime(2023, month, 1, tzinfo=UTC).timestamp())
        # The first event of a month is also the last one of the file before.
        moments = [first - 86_400 if month > 1 else first, *(first + 3600 * hour for hour in range(20))]
        lines = [f"id-{at % PEOPLE},Seen,{moment}" for at, moment in enumerate(moments)]
        last = int(datetime(2023 + month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()) - 86_400
        files.append(
            ("events", f"{month:02}.csv", "\n".join(["identity,evtName,ts", *lines, f"id-0,Seen,{last}"]).encode())
        )
    return files


def stored(root: Path, engine: Engine, files: list[tuple[str, str, bytes]]) -> dict[str, Any]:
    """What is in the store after all files were dropped, without jobs, rows and what comes of the upload."""
    site = Site(root, 0.0, 0.5, 2, lambda: engine)
    tenant = site.root / "tenants" / "acme.toml"
    tenant.write_text(tenant.read_text() + FEED)
    site.live.refresh()
    make_folders(site.settings)
    keeper = Storekeeper(site.settings.store_url, {})
    pickup = Pickup(site.live, site.ledger, engine, keeper)
    for feed, name, content in files:
        site.upload(name, content, feed)
    pickup.finish_earlier()
    pickup.start()
    try:
        jobs = site.ended(len(files))
    finally:
        pickup.stop()
        keeper.stop()
    assert {job.status for job in jobs} == {"completed"}
    found = contents(site)
    site.ledger.close()
    return found


def contents(site: Site) -> dict[str, Any]:
    store = TenantStore(site.settings.store_url, "acme")
    people, events = (table.scan(table.files()["path"]).collect() for table in (store.profiles, store.events))
    pairs = pl.col("attributes").cast(PAIRS)
    attributes = {
        row["identity"]: {pair["key"]: (pair["value"]["value"], pair["value"]["time"]) for pair in row["pairs"]}
        for row in people.select("identity", pairs=pairs).to_dicts()
    }
    return {
        "people": attributes,
        "events": sorted(events.select("identity", "name", "time", "properties").rows()),
    }


def test_a_shuffled_backlog_gives_the_same_store_as_the_right_order(tmp_path: Path, engine: Engine) -> None:
    files = backlog()
    right = stored(tmp_path / "right", engine, files)
    shuffled = files.copy()
    random.Random(7).shuffle(shuffled)
    other = stored(tmp_path / "shuffled", engine, shuffled)
    assert len(right["people"]) == PEOPLE
    assert len(right["events"]) == 12 * 21 + 1
    assert other["people"] == right["people"]
    assert other["events"] == right["events"]
