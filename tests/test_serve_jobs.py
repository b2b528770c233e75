"""`gateway jobs`, `gateway job` and `gateway requeue`, run as an operator runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import clock
from gateway.ledger import Ledger, drops, jobs, landings
from gateway.ledger.jobs import Ending
from gateway.ledger.landings import Landing

NOW = clock.now()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A configuration whose ledger has one failed job and one that is queued."""
    (tmp_path / "gateway.toml").write_text("")
    (tmp_path / "tenants").mkdir()
    (tmp_path / "data").mkdir()
    ledger = Ledger(tmp_path / "data" / "ledger.db")
    begun = queued(ledger, "[bold]2026/a.csv")
    jobs.begin_next(ledger, NOW)
    jobs.stage(ledger, begun, "{}", NOW)
    ending = Ending("failed", NOW, NOW, 0.5, "clevertap-profiles", "c0", reason_for_failure=("not a CSV file",))
    jobs.finish(ledger, begun, ending, NOW)
    queued(ledger, "b.csv")
    ledger.close()
    return tmp_path


def queued(ledger: Ledger, path: str) -> str:
    drop = landings.record_landing(
        ledger, Landing("acme", "profiles", path, bytes=10, inode=1, landed_at=NOW, settles_at=NOW)
    )
    with ledger.transaction():
        job_id = jobs.create(ledger, drop, "ann@acme.example", NOW)
        drops.claim(ledger, drop.id, NOW)
    return job_id


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=os.environ | {"GATEWAY_CONFIG": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_jobs_are_listed_whole_when_piped(root: Path) -> None:
    header, newest, oldest = run(root, "jobs").stdout.splitlines()
    assert header.split()[:4] == ["UPLOADED", "(UTC)", "TENANT", "FEED"]
    assert newest.split()[3:6] == ["profiles", "b.csv", "queued"]
    assert oldest.split()[3:6] == ["profiles", "[bold]2026/a.csv", "failed"]
    assert len(oldest.split()[-1]) == 36


def test_jobs_are_filtered_and_come_as_json(root: Path) -> None:
    (job,) = json.loads(run(root, "jobs", "--status", "failed", "--tenant", "acme", "--json").stdout)
    assert (job["filename"], job["reason_for_failure"]) == ("[bold]2026/a.csv", ["not a CSV file"])
    assert job["end_time"] == clock.text(NOW)
    assert run(root, "jobs", "--feed", "other").stdout == "No jobs.\n"
    assert run(root, "jobs", "--status", "nonsense").returncode == 64


def test_a_job_is_shown_with_all_that_happened_to_it(root: Path) -> None:
    (job,) = json.loads(run(root, "jobs", "--status", "failed", "--json").stdout)
    shown = run(root, "job", job["job_id"]).stdout
    assert "failed because not a CSV file" in shown
    assert "uploaded" in shown
    assert "pending_refresh  failed" in shown
    plain = json.loads(run(root, "job", job["job_id"], "--json").stdout)
    assert [entry["new"] for entry in plain["transitions"] if entry["kind"] == "drop"] == [
        "landed",
        "queued",
        "claimed",
        "done",
    ]


def test_a_beginning_that_two_jobs_share_and_one_that_none_has_are_told(root: Path) -> None:
    shared = run(root, "job", "0")
    assert (shared.returncode, "more than one job" in shared.stderr) == (3, True)
    unknown = run(root, "job", "zzz")
    assert (unknown.returncode, "no job" in unknown.stderr) == (3, True)


def test_an_ended_job_is_requeued_and_one_that_waits_is_not(root: Path) -> None:
    (job,) = json.loads(run(root, "jobs", "--status", "failed", "--json").stdout)
    assert "is queued again" in run(root, "requeue", job["job_id"]).stdout
    again = run(root, "requeue", job["job_id"])
    assert (again.returncode, "is queued, not completed or failed" in again.stderr) == (3, True)


def test_without_a_ledger_the_commands_say_what_makes_one(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("")
    (tmp_path / "tenants").mkdir()
    found = run(tmp_path, "jobs")
    assert (found.returncode, "`gateway serve` makes it" in found.stderr) == (3, True)


def test_jobs_are_shown_while_a_tenants_file_is_broken(root: Path) -> None:
    (root / "tenants" / "acme.toml").write_text("[[[")
    assert "b.csv" in run(root, "jobs").stdout
