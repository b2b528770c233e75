"""`gateway doctor`: what is wrong is named with what to do about it, and the exit code says whether it is bad."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections import namedtuple
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import clock
from gateway.cli.doctor import SECTIONS, findings, installation
from gateway.cli.doctor.findings import FAILS, Site
from gateway.ledger import Ledger, drops, jobs, landings
from gateway.ledger.landings import Landing
from gateway.locks import RESTORING, alone_in
from tests.conftest import Run, give_host_keys

TENANT = '[feeds.profiles]\ncontract = "clevertap-profiles"\n'
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def root(tmp_path: Path, gateway: Run) -> Path:
    """What `gateway init` makes, with a tenant and a ledger."""
    root = tmp_path / "site"
    give_host_keys(root)
    assert gateway("init", root).returncode == 0
    (root / "tenants" / "acme.toml").write_text(TENANT)
    Ledger(root / "data" / "ledger.db").close()
    return root


def test_it_leaves_nothing_where_it_is_called(root: Path, gateway: Run, tmp_path: Path) -> None:
    gateway("doctor", "--config", root)
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def found_by(root: Path, check: str) -> list[tuple[str, str, str]]:
    site = Site(root)
    try:
        return [(found.level, found.what, found.hint) for found in findings(site) if found.check == check]
    finally:
        site.close()


def doctor(gateway: Run, root: Path) -> subprocess.CompletedProcess[str]:
    return gateway("doctor", "--config", root)


def a_drop(root: Path, *states: str, **columns: Any) -> str:
    ledger = Ledger(root / "data" / "ledger.db")
    now = clock.now()
    drop = landings.record_landing(ledger, Landing("acme", "profiles", "a.csv", 10, 1, now, now))
    with ledger.transaction():
        jobs.create(ledger, drop, None, now - timedelta(hours=1))
        for state in states:
            drops.move(ledger, drop.id, (drops.get(ledger, drop.id).state,), state, "for a test", **columns)
    job_id = str(drops.get(ledger, drop.id).job_id)
    ledger.close()
    return job_id


def test_a_new_installation_is_well(root: Path, gateway: Run) -> None:
    found = doctor(gateway, root)
    assert (found.returncode, found.stderr) == (0, "")
    assert "no gateway serves" in found.stdout
    assert "0 failed" in found.stdout or "All is well." in found.stdout
    assert all(found.level != FAILS for found in findings(Site(root)))


def test_json_names_section_check_level_and_what_to_do(root: Path, gateway: Run) -> None:
    found = json.loads(gateway("doctor", "--json", "--config", root).stdout)
    assert {one["section"] for one in found} == set(SECTIONS)
    assert {"level", "what", "hint", "section", "check"} == set(found[0])


def test_a_quarantined_drop_fails_and_is_named_with_the_commands(root: Path, gateway: Run) -> None:
    job_id = a_drop(root, "queued", "claimed", "quarantined")
    found = doctor(gateway, root)
    assert found.returncode == 1
    assert "acme/profiles/a.csv since" in found.stdout
    assert f"gateway requeue {job_id}" in found.stdout


def test_a_stuck_job_is_a_warning_and_a_held_drop_a_note(root: Path, gateway: Run) -> None:
    job_id = a_drop(root, "held", held_for="done_marker")
    ((level, _, hint),) = found_by(root, "stuck jobs")
    assert (level, job_id in hint) == ("warning", True)
    ((level, what, _),) = found_by(root, "held drops")
    assert (level, what) == ("note", "held: 1 for done_marker")
    assert doctor(gateway, root).returncode == 0, "warnings alone are no failure"


def test_a_broken_configuration_fails_and_the_other_checks_are_done_all_the_same(root: Path, gateway: Run) -> None:
    a_drop(root, "queued", "claimed", "quarantined")
    (root / "tenants" / "acme.toml").write_text("[[[")
    found = doctor(gateway, root)
    assert found.returncode == 1
    assert "tenants/acme.toml" in found.stdout.splitlines()[0]
    assert "quarantined drops: acme/profiles/a.csv" in found.stdout
    shutil.rmtree(root)
    assert "`gateway init" in doctor(gateway, root).stdout


def test_a_contract_a_host_key_and_a_program_that_are_not_there_fail(root: Path) -> None:
    (root / "tenants" / "acme.toml").write_text('[feeds.profiles]\ncontract = "gone"\n')
    shutil.rmtree(root / "host_keys")
    toml = (root / "gateway.toml").read_text()
    (root / "gateway.toml").write_text(toml.replace("on_quarantine = []", 'on_quarantine = ["/no/pager"]'))
    for check, says in (("contracts of feeds", "'gone'"), ("host keys", "ssh_host"), ("on quarantine", "/no/pager")):
        found = found_by(root, check)
        assert found != []
        assert all((level, says in what, hint != "") == (FAILS, True, True) for level, what, hint in found)


def test_a_damaged_ledger_and_one_of_another_version_fail_and_are_left_alone(root: Path) -> None:
    path = root / "data" / "ledger.db"
    connection = sqlite3.connect(path)
    connection.execute("DROP VIEW held_drops")
    connection.close()
    ((level, what, _),) = found_by(root, "ledger file")
    assert (level, "held_drops" in what) == (FAILS, True)
    assert found_by(root, "quarantined drops") == []
    path.write_bytes(path.read_bytes()[:8192] + b"\xff" * (path.stat().st_size - 8192))
    broken = path.read_bytes()
    ((level, what, _),) = found_by(root, "ledger file")
    assert level == FAILS
    assert path.read_bytes() == broken


def test_a_clock_that_was_set_back_is_a_warning(root: Path) -> None:
    ledger = Ledger(root / "data" / "ledger.db")
    with ledger.transaction() as connection:
        ahead = clock.text(clock.now() + timedelta(hours=2))
        connection.execute(
            "INSERT INTO transitions (at, kind, subject, new) VALUES (?, 'job', 'x', 'queued')", (ahead,)
        )
    ledger.close()
    ((level, what, _),) = found_by(root, "clock of ledger")
    assert (level, "set back" in what) == ("warning", True)


def test_a_serving_gateway_and_half_a_restore_are_told(root: Path) -> None:
    with alone_in(root / "data"):
        ((_, what, _),) = found_by(root, "serving")
        assert what.startswith("process ")
    (root / "data" / RESTORING).write_text("")
    ((level, _, hint),) = found_by(root, "data directory")
    assert (level, "gateway restore" in hint) == (FAILS, True)


@pytest.mark.parametrize(("free", "level"), [(100 * 1024**2, "fail"), (1024**3, "warning"), (50 * 1024**3, "ok")])
def test_free_space_is_judged(root: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100 * 1024**3, 0, free))
    assert [found[0] for found in found_by(root, "free space")] == [level]


@pytest.mark.parametrize(
    ("kind", "level"), [("nfs4", "fail"), ("fuse.sshfs", "warning"), ("tmpfs", "warning"), ("ext4", "ok")]
)
def test_a_file_system_that_is_not_local_is_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, level: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"23 22 0:9 / {root / 'data'} rw shared:1 - {kind} server:/x rw\n"
        f"24 22 0:9 / {root / 'data' / 'else'} rw - xfs /dev/sdb rw\n"
    )
    monkeypatch.setattr(installation, "MOUNTS", mounts)
    assert [found[0] for found in found_by(root, "file system")] == [level]


def test_too_few_watches_are_a_warning(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "data" / "tenants" / "acme" / "inbox" / "profiles" / "2026").mkdir(parents=True)
    limit = tmp_path / "max_user_watches"
    limit.write_text("3\n")
    monkeypatch.setattr(installation, "MAX_WATCHES", limit)
    ((level, what, _),) = found_by(root, "inotify watches")
    assert (level, "3 folders" in what) == ("warning", True)


def test_the_versions_of_sqlite_with_the_race_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, level in (((3, 40, 1), "warning"), ((3, 51, 2), "warning"), ((3, 51, 3), "ok")):
        monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
        assert [found[0] for found in found_by(root, "sqlite")] == [level]
