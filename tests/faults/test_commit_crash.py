"""A gateway, or its storekeeper, dies at each named point round a commit: there is one commit and one outcome."""

from __future__ import annotations

import json
from collections.abc import Iterator

import polars as pl
import pytest

from gateway.store import TenantStore
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


def visits(site: Site) -> pl.DataFrame:
    table = TenantStore(str(site.data / "store"), "acme").events
    return table.scan(table.files()["path"]).collect().filter(pl.col("feed") == site.feed)


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
    assert (report["store"]["events"], visits(site).height) == (report["accepted_rows"], report["accepted_rows"])
    assert set(visits(site)["job"]) == {job["id"]}
    check_files(site, {file["name"]: file for file in report["files"] if file["role"] != "original"})
    check_transitions(site)
    unfinished = site.rows("SELECT * FROM unfinished_commits")
    (commit,) = site.rows("SELECT state FROM commits WHERE sequence = ?", job["commit_sequence"])
    assert (commit["state"], unfinished) == ("committed", [])
