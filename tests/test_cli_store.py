"""`gateway profile`, `gateway events` and `gateway store`: what is stored, and where it came from."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from gateway.cli import gateway
from gateway.cli.store import optimized
from gateway.locks import writing
from gateway.store import TenantStore, lookup
from gateway.store import optimize as upkeep
from tests.store.conftest import Event, Row, at, contents
from tests.stored import Site

pytestmark = pytest.mark.timeout(100)


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def run(site: Site, *arguments: str) -> Done:
    """A command in this process: to start one takes longer than all else that is done here."""
    done = CliRunner().invoke(gateway, [*arguments, "--config", str(site.root)])
    return Done(done.exit_code, done.stdout, done.stderr)


@pytest.mark.rule("B9")
def test_a_profile_tells_file_and_row_of_each_attribute_and_the_last_events(site: Site) -> None:
    first = site.bring("march.csv", [Row("bob", {}), Row("ann", {"Name": '"Ann"', "Phone": '"1"'})])
    second = site.bring("april.csv", [Row("ann", {"Phone": None}, 5)], [Event("ann", "bought", 7, '{"price": 1.50}')])
    done = run(site, "profile", "acme", "ann")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["profiles", "identity", "ann"] in lines
    assert ["Name", '"Ann"', "2024-03-01", "00:00:00", "people/march.csv", "2", first] in lines
    assert ["Phone", "(blanked)", "2024-03-01", "00:05:00", "people/april.csv", "1", second] in lines
    assert lines[-1] == [
        "2024-03-01", "00:07:00", "identity", "ann", "bought", '{"price":', "1.50}", "people/april.csv", "1",
    ]  # fmt: skip
    found = json.loads(run(site, "profile", "acme", "ann", "--json", "--events", "0").stdout)
    [profile] = found["profiles"]
    assert (profile["created_by"], profile["updated_by"], found["events"]) == (first, second, [])
    assert profile["attributes"]["Name"] == {
        "value": "Ann", "time": "2024-03-01T00:00:00.000000Z", "job": first, "file": "people/march.csv", "row": 2,
        "blanked": False,
    }  # fmt: skip
    assert (profile["attributes"]["Phone"]["value"], profile["attributes"]["Phone"]["blanked"]) == (None, True)


def test_one_identity_in_two_namespaces_is_shown_twice_and_said(site: Site) -> None:
    site.bring("a.csv", [Row("7", {"Name": '"Ann"'}), Row("7", {"Name": '"Bob"'}, namespace="email")])
    done = run(site, "profile", "acme", "7")
    assert "'7' is in 2 namespaces (email, identity); --namespace shows one." in done.stdout
    assert ('"Ann"' in done.stdout, '"Bob"' in done.stdout) == (True, True)
    done = run(site, "profile", "acme", "7", "--namespace", "email")
    assert ('"Ann"' in done.stdout, '"Bob"' in done.stdout, "namespaces" in done.stdout) == (False, True, False)


def test_somebody_who_is_not_stored_is_said_so_and_the_exit_code_is_3(site: Site) -> None:
    done = run(site, "profile", "acme", "nobody")
    assert (done.returncode, done.stdout) == (3, "")
    assert "Nothing is stored of 'nobody' in tenant 'acme'" in done.stderr
    done = run(site, "profile", "amce", "nobody")
    assert (done.returncode, "did you mean 'acme'" in done.stderr) == (3, True)


@pytest.mark.rule("F24")
def test_events_come_by_their_own_time_the_newest_last_one_a_line(site: Site) -> None:
    site.bring("late.csv", events=[Event("ann", "late", 50_000), Event("bob", "mid", 20, '{"n": 1.10}')])
    site.bring("early.csv", events=[Event("ann", "early", -50_000)])
    found = [json.loads(line) for line in run(site, "events", "acme", "--json").stdout.splitlines()]
    assert [event["name"] for event in found] == ["early", "mid", "late"]
    assert found[1]["time"] == "2024-03-01T00:20:00.000000Z"
    assert '"properties": {"n": 1.10}' in run(site, "events", "acme", "--identity", "bob", "--json").stdout
    listed = run(site, "events", "acme", "--since", "2024-03-01", "--limit", "1").stdout.splitlines()
    assert (len(listed), "late" in listed[1], "people/late.csv" in listed[1]) == (2, True, True)
    assert run(site, "events", "acme", "--name", "gone").stdout == "No events.\n"


def test_a_look_for_a_name_finds_that_alone(site: Site) -> None:
    site.bring("a.csv", events=[Event("ann", "seen", 1), Event("ann", "bought", 2)])
    site.stored.store.refresh()
    wanted = lookup.Wanted(name="seen", until=at(10))
    assert [event["name"] for event in lookup.events(site.stored.store, wanted)] == ["seen"]
    assert [event["name"] for event in lookup.last_events(site.stored.store, wanted)] == ["seen"]


def test_optimize_says_what_it_did_and_no_row_is_lost(site: Site) -> None:
    for number in range(4):
        site.bring(f"{number}.csv", [Row("ann", {"n": str(number)}, number)], [Event("ann", f"event {number}", number)])
    before = contents(site.stored.store)
    done = run(site, "store", "optimize", "--keep-hours", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "acme: events: 4 files (" in done.stdout
    assert ") became 1 (" in done.stdout
    assert "acme: 1 profiles and companies that came last put into their buckets" in done.stdout
    assert "0 files removed that were replaced more than 1 h ago" in done.stdout
    assert contents(site.stored.store) == before
    status = {one["table"]: one for one in json.loads(run(site, "store", "status", "--json").stdout)}
    assert {name: (one["rows"], one["files"], one["sequence"]) for name, one in status.items()} == {
        "attributes": (1, 1, 1), "profiles": (1, 1, 4), "events": (4, 1, 4),
    }  # fmt: skip
    assert run(site, "store", "optimize", "--keep-hours", "0").returncode == 64
    listed = run(site, "audit", "--what", "command").stdout
    assert "store optimize" in listed


def test_upkeep_has_the_tenants_store_for_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.bring("a.csv", [Row("ann", {"n": "1"})])
    seen: list[bool] = []

    def spied(store: TenantStore, horizon: timedelta) -> upkeep.Upkeep:
        with writing(site.root / "data", "acme", wait=False) as had, writing(site.root / "data", "b", wait=False) as b:
            seen.extend([had, b])
        return upkeep.Upkeep()

    monkeypatch.setattr(upkeep, "optimize", spied)
    optimized(site.settings, "acme", timedelta(hours=1))
    assert seen == [False, True], "that of another tenant is free"
