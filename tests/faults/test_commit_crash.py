"""A gateway, or its storekeeper, dies at each named point round a commit: there is one commit and one outcome."""

from __future__ import annotations

import json
from collections.abc import Iterator

import polars as pl
import pytest

from gateway.store import TenantStore
from gateway.store.shapes import PAIRS
from gateway.store.table import Table
from tests.faults.conftest import SharedSites
from tests.faults.outcomes import check_files, check_transitions
from tests.faults.partner import PEOPLE
from tests.faults.points import COMMITTED, Point
from tests.faults.site import Site
from tests.faults.test_crash import of, run


@pytest.fixture(scope="session")
def storing_sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedSites]:
    sites = SharedSites(lambda: tmp_path_factory.mktemp("storing") / "root", store=True)
    yield sites
    sites.end()


@pytest.fixture
def storing_site(storing_sites: SharedSites) -> Site:
    return storing_sites.take()


def rows_of(site: Site, name: str) -> pl.DataFrame:
    table: Table = getattr(TenantStore(str(site.data / "store"), "acme"), name)
    return table.scan(table.files()["path"]).collect()


def commits_in_log(site: Site, table: str, sequence: int) -> int:
    """How many entries of a table's log carry the number."""
    entries = (site.data / "store" / "acme" / table / "_delta_log").glob("*.json")
    actions = [json.loads(line) for entry in entries for line in entry.read_text().splitlines()]
    return sum(action.get("txn", {}).get("version") == sequence for action in actions)


@of(COMMITTED)
def test_a_kill_at_any_point_of_a_commit_ends_with_one_commit_and_one_outcome(storing_site: Site, point: Point) -> None:
    site = storing_site
    site.set_fault(contributes=1)
    run(site, "put", point)
    (job,) = site.ended(1)
    people = len(PEOPLE.splitlines()) - 1
    report = json.loads((site.outbox / f"{job['path']}.report.json").read_text())
    assert (job["status"], job["accepted_rows"]) == ("completed", report["accepted_rows"])
    assert 0 < report["accepted_rows"] <= people
    # Its visits would be there again if it had been committed again.
    visits = rows_of(site, "events").filter(pl.col("feed") == site.feed)
    assert (report["store"]["events"], visits.height) == (report["accepted_rows"], report["accepted_rows"])
    assert set(visits["job"]) == {job["id"]}
    for table in ("profiles", "companies", "events"):
        assert commits_in_log(site, table, job["commit_sequence"]) == 1
    values = rows_of(site, "companies").select(pl.col("attributes").cast(PAIRS).list.explode().struct.field("value"))
    told = {(value["value"], value["job"]) for value in values["value"]}
    assert told == {(None, job["id"]), ("1", job["id"])}
    check_files(site, {file["name"]: file for file in report["files"] if file["role"] != "original"})
    check_transitions(site)
    unfinished = site.rows("SELECT * FROM unfinished_commits")
    (commit,) = site.rows("SELECT state FROM commits WHERE sequence = ?", job["commit_sequence"])
    assert (commit["state"], unfinished) == ("committed", [])
