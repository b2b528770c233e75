"""Dry runs as a partner sees them: a real gateway, and OpenSSH's sftp against it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gateway.store import TenantStore
from tests.conftest import Run
from tests.rules.conftest import table
from tests.rules.test_gateway import Site
from tests.waiting import until

PEOPLE = table(["identity", "Name"], ["ann", "Ann"], ["bob", "Bob"])
MORE = table(["identity", "Name", "Team"], ["ann", "Ann", "red"], ["cas", "Cas", ""], ["", "Dan", ""])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.start()
    yield site
    site.stop()


def versions(site: Site) -> list[int]:
    return [table.version for table in TenantStore(str(site.root / "data" / "store"), "acme").tables]


def test_a_partner_tries_a_file_reads_what_would_come_of_it_and_drops_it(site: Site, gateway: Run) -> None:
    site.put("people.csv", PEOPLE)
    site.report("people.csv")
    before = versions(site)
    local = site.root / "more.csv"
    local.write_bytes(MORE)
    assert site.did(f"put {local} inbox/profiles/dryrun/")[0] == 0
    told = site.report("dryrun/more.csv")
    assert versions(site) == before
    assert site.did(f"get outbox/profiles/dryrun/more.csv.rejected.csv {site.root}/back.csv")[0] == 0
    assert (site.root / "back.csv").read_text().splitlines()[-1] == ",Dan,"
    site.put("more.csv", MORE)
    then = site.report("more.csv")
    for name in ("total_rows", "accepted_rows", "rejected_rows", "store", "properties", "problems_by_code"):
        assert told[name] == then[name], name
    assert (told["dry_run"], then["dry_run"], then["duplicate_of"]) == (True, False, None)
    assert (then["store"]["created"], then["store"]["updated"]) == (1, 1)
    outbox = site.tenant / "outbox" / "profiles"
    assert not list((outbox / "dryrun").glob("*accepted*"))
    listed = gateway("jobs", "--config", site.root).stdout
    assert [line.split()[5:8] for line in listed.splitlines() if "more.csv" in line] == [
        ["completed", "3", "2"],
        ["completed", "(dry", "run)"],
    ]
    found = json.loads(gateway("jobs", "--config", site.root, "--json").stdout)
    assert [job["dry_run"] for job in found if job["name"] == "more.csv"] == [False, True]
    assert "done (dry run)" in gateway("drops", "--config", site.root).stdout


def test_the_folder_is_listed_told_in_the_contract_and_there_again_when_it_was_removed(site: Site) -> None:
    assert "dryrun" in site.did("ls inbox/events")[1].split("/")[-1]
    site.did(f"get samples/events/CONTRACT.md {site.root}/CONTRACT.md")
    assert "`inbox/<feed>/dryrun/`" in (site.root / "CONTRACT.md").read_text()
    local = site.root / "again.csv"
    local.write_bytes(PEOPLE)
    code, said = site.did("rmdir inbox/profiles/dryrun", f"put {local} inbox/profiles/dryrun/again.csv")
    assert code == 0, said
    assert site.report("dryrun/again.csv")["dry_run"]
    code, said = site.did("mkdir inbox/profiles/DryRun")
    assert (code, "'dryrun' is there already" in said) == (1, True)


def test_a_file_that_is_tried_does_not_become_a_real_one_by_a_rename_nor_the_other_way_round(site: Site) -> None:
    local = site.root / "renamed.csv"
    local.write_bytes(table(["identity"], ["eve"]))
    site.did(f"put {local} inbox/profiles/dryrun/renamed.csv")
    site.ended("dryrun/renamed.csv")
    code, said = site.did("rename inbox/profiles/dryrun/renamed.csv inbox/profiles/renamed.csv")
    assert (code, "is being tried, and not stored; upload it again" in said) == (1, True)
    site.did(f"put {local} inbox/profiles/real.csv")
    site.ended("real.csv")
    code, said = site.did("rename inbox/profiles/real.csv inbox/profiles/dryrun/real.csv")
    assert (code, "and not only tried; upload it again" in said) == (1, True)


def test_the_last_name_before_it_is_picked_up_says_whether_a_file_is_tried(site: Site) -> None:
    local = site.root / "part.csv"
    local.write_bytes(table(["identity"], ["fay"]))
    code, said = site.did(
        f"put {local} inbox/profiles/dryrun/part.csv.part",
        "rename inbox/profiles/dryrun/part.csv.part inbox/profiles/part.csv",
    )
    assert code == 0, said
    job = site.ended("part.csv")
    assert (job.dry_run, job.commit_sequence is not None) == (False, True)


def test_proofs_are_asked_for_in_a_dry_run_too_and_the_status_stands_beside_its_report(site: Site) -> None:
    site.put("dryrun/cut.csv", PEOPLE[:-4].rpartition(b",")[0])
    path = site.tenant / "outbox" / "profiles" / "dryrun" / "cut.csv.status.json"
    until(path.exists)
    assert json.loads(path.read_text())["held_for"] == "suspect"
    site.put("dryrun/cut.csv", PEOPLE)
    assert site.report("dryrun/cut.csv")["status"] == "completed"
    until(lambda: not path.exists())
