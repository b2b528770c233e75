"""`gateway check --against TENANT/FEED`: what would come of a file, told without a gateway and without a trace."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gateway.locks import writing
from gateway.pipeline import dry_run
from gateway.store import TenantStore
from tests.conftest import Run
from tests.store.conftest import Event, Row, contents
from tests.stored import Site

EVENTS_FEED = '[feeds.bought]\ncontract = "clevertap-events"\nunknown_identity = "{}"\n'
CHANGES = "identity,Name,Team\nann,Ann,red\nbob,Bob,\ncas,Cas,\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "site")
    site.bring("people.csv", [Row("ann", {"Name": '"Ann"'}), Row("bob", {"Name": '"Bob"'})])
    return site


def check(gateway: Run, site: Site, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (site.root.parent / "file.csv").write_text(text)
    return gateway("check", "file.csv", "--config", site.root, *arguments)


def trace(site: Site) -> dict[str, tuple[int, int]]:
    """Everything below the directory, with size and time."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in site.root.rglob("*")}


def test_it_says_what_would_be_created_updated_and_unchanged_and_leaves_no_trace(gateway: Run, site: Site) -> None:
    stored = contents(site.stored.store)
    # As while a gateway commits.
    with writing(site.settings.data_dir, "acme"):
        before = trace(site)
        done = check(gateway, site, CHANGES, "--against", "acme/people")
        assert trace(site) == before
    assert (done.returncode, done.stderr) == (0, "")
    assert "dry run, all rows would be accepted" in done.stdout
    for said in (
        dry_run.NOTHING_STORED,
        "profiles that would be: 1 created, 1 updated, 1 unchanged; values that would be blanked: 0",
        "properties that would be new: Team",
    ):
        assert said in done.stdout
    assert contents(TenantStore(site.settings.store_url, "acme")) == stored


def test_the_feeds_policies_and_exit_codes_hold_and_the_results_go_into_a_folder(gateway: Run, site: Site) -> None:
    path = site.root / "tenants" / "acme.toml"
    path.write_text(path.read_text() + EVENTS_FEED.format("reject"))
    site.bring("bought.csv", events=[Event("ann", "Bought", 0)])
    text = "identity,evtName,ts\nann,Bought,1700000000\nzed,Bought,1700000001\n"
    done = check(gateway, site, text, "--against", "acme/bought", "--json", "--out", "out")
    report = json.loads(done.stdout)
    assert (done.returncode, report["rejected_rows"], report["accepted_rows"]) == (1, 1, 1)
    assert (report["dry_run"], report["tenant"], report["feed"]) == (True, "acme", "bought")
    assert report["rehearsal"]["says"][-1].endswith("They would be rejected.")
    names = {f"file.csv.{end}" for end in ("accepted.csv", "rejected.csv", "errors.csv", "report.json", "report.html")}
    out = site.root.parent / "out"
    assert {path.name for path in out.iterdir()} == names
    assert (out / "file.csv.accepted.csv").read_text().count("\n") == 2
    assert report == json.loads((out / "file.csv.report.json").read_text())
    refused = check(gateway, site, "Identity\n1\n", "--against", "acme/people")
    assert (refused.returncode, "dry run, the file would be refused" in refused.stdout) == (2, True)


def test_a_store_that_is_not_there_yet_is_empty_and_is_not_made(gateway: Run, site: Site) -> None:
    (site.root / "gateway.toml").write_text('[store]\nurl = "elsewhere"\n')
    done = check(gateway, site, CHANGES, "--against", "acme/people")
    assert (done.returncode, "3 created, 0 updated" in done.stdout) == (0, True)
    assert not (site.root / "elsewhere").exists()


def test_a_store_that_cannot_be_read_and_one_that_is_off_are_said(gateway: Run, site: Site) -> None:
    for path in (site.root / "data" / "store").rglob("*.parquet"):
        path.unlink()
    done = check(gateway, site, CHANGES, "--against", "acme/people")
    assert (done.returncode, dry_run.UNASKED["unreachable"] in done.stdout) == (0, True)
    (site.root / "gateway.toml").write_text("[store]\nenabled = false\n")
    done = check(gateway, site, CHANGES, "--against", "acme/people")
    assert (done.returncode, dry_run.UNASKED["off"] in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 64, "--contract NAME, or --against TENANT/FEED"),
        (["--against", "acme/people", "--contract", "clevertap-profiles"], 64, "--contract NAME, or --against"),
        (["--against", "acme/people", "--strict"], 64, "a feed has its own"),
        (["--against", "acme"], 3, "is not TENANT/FEED"),
        (["--against", "amce/people"], 3, "did you mean 'acme'"),
        (["--against", "acme/poeple"], 3, "did you mean 'people'"),
    ],
)
def test_what_cannot_be_meant_is_said_in_words(
    gateway: Run, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    site = Site(tmp_path / "site")
    done = check(gateway, site, CHANGES, *arguments)
    assert (done.returncode, said in " ".join(done.stderr.split())) == (code, True), done.stderr
