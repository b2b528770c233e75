"""A quarantined drop is told to an operator: by the command of `on_quarantine`, the log, and `gateway jobs`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import clock
from gateway.alarm import Alarm
from gateway.ledger import jobs, quarantine
from gateway.pickup.folder import make_folders
from tests.pickup.test_holds import gateway
from tests.waiting import until

TELLS = "import os, sys; open(sys.argv[1], 'a').write(sys.stdin.read()); print(os.getpgid(0))"
FAILS = "import sys; sys.stderr.write('the pager is broken'); sys.exit(7)"
HANGS = "import sys, time; open(sys.argv[1], 'a').write('begun'); time.sleep(600)"


@pytest.fixture
def quarantined(site: Any) -> str:
    """The id of a drop whose contract is gone."""
    tenant = site.root / "tenants" / "acme.toml"
    tenant.write_text(tenant.read_text() + '\n[feeds.broken]\ncontract = "gone"\n')
    site.live.refresh()
    make_folders(site.settings)
    drop_id = str(site.upload("a.csv", feed="broken"))
    with site.picking_up():
        until(lambda: site.state(drop_id) == "quarantined")
    return drop_id


def with_command(site: Any, *command: str) -> None:
    pickup = site.settings.gateway.pickup.model_copy(update={"on_quarantine": command})
    changed = site.settings.gateway.model_copy(update={"pickup": pickup})
    site.live.current = site.settings.model_copy(update={"gateway": changed})


def alarm_once(site: Any, seconds_max: float = 60.0) -> None:
    """An alarm that runs until there is nobody left to tell."""
    alarm = Alarm(site.live, site.ledger, seconds_max)
    alarm.start()
    try:
        until(lambda: not quarantine.untold(site.ledger))
    finally:
        alarm.stop()


def test_the_command_gets_the_job_as_json_once_for_each_quarantine(site: Any, quarantined: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    with_command(site, sys.executable, "-c", TELLS, str(told))
    alarm_once(site)
    alarm_once(site)
    (line,) = told.read_text().splitlines()
    facts = json.loads(line)
    assert (facts["job_id"], facts["filename"], facts["status"]) == (site.drop(quarantined).job_id, "a.csv", "failed")
    assert "no contract named 'gone'" in facts["reason"]
    with site.picking_up():
        jobs.requeue(site.ledger, facts["job_id"], clock.now())
        until(lambda: site.state(quarantined) == "quarantined")
    alarm_once(site)
    assert len(told.read_text().splitlines()) == 2, "it was quarantined a second time"


def test_a_command_that_fails_is_logged_and_not_repeated(
    site: Any, quarantined: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with_command(site, sys.executable, "-c", FAILS)
    alarm_once(site)
    out = capsys.readouterr().out
    assert "quarantine command failed" in out
    assert "exit code 7" in out
    assert "the pager is broken" in out
    with_command(site, "/nowhere/pager")
    with site.picking_up():
        jobs.requeue(site.ledger, str(site.drop(quarantined).job_id), clock.now())
        until(lambda: site.state(quarantined) == "quarantined")
    alarm_once(site)
    assert "quarantine command cannot be started" in capsys.readouterr().out


def test_a_command_that_hangs_is_ended_in_its_time_and_keeps_no_job_waiting(
    site: Any, quarantined: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "begun"
    with_command(site, sys.executable, "-c", HANGS, str(begun))
    alarm = Alarm(site.live, site.ledger)
    with site.picking_up():
        alarm.start()
        until(begun.exists)
        site.upload("b.csv")
        until(lambda: [job for job in site.jobs() if job.status == "completed"])
    alarm.stop()
    assert site.drop(quarantined).told_at is None, "the gateway stopped before the command's end: it comes again"
    alarm_once(site, seconds_max=0.5)
    assert begun.read_text() == "begunbegun"
    assert capsys.readouterr().out.count("runs for too long") == 2


def test_without_a_command_the_drop_is_told_as_soon_as_there_is_one(site: Any, quarantined: str) -> None:
    alarm = Alarm(site.live, site.ledger)
    alarm.start()
    alarm.stop()
    assert [one.drop_id for one in quarantine.untold(site.ledger)] == [quarantined]


def test_gateway_jobs_opens_with_it_and_json_stays_json(site: Any, quarantined: str) -> None:
    job_id = site.drop(quarantined).job_id
    shown = gateway(site, "jobs", "--json", "--feed", "other")
    assert json.loads(shown.stdout) == []
    assert "1 quarantined" in shown.stderr
    assert "acme/broken/a.csv since " in shown.stderr
    assert f"gateway job {job_id}" in shown.stderr
    assert f"gateway requeue {job_id}" in shown.stderr
    jobs.requeue(site.ledger, str(job_id), clock.now())
    assert gateway(site, "jobs").stderr == ""


def test_the_log_has_it_at_error_level(site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    site.upload("a.csv")
    (site.root / "tenants" / "acme.toml").write_text("")
    site.live.refresh()
    with site.picking_up():
        site.ended()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "drop is quarantined" in line]
    for word in ("error", "tenant=acme", "feed=profiles", "file=a.csv", f"job={site.jobs()[0].id}", "reason="):
        assert word in line
