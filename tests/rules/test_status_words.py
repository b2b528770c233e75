"""What people are told of a job that has not ended (RULES.md section 7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import clock
from gateway.ledger import Ledger, drops, jobs, landings
from gateway.ledger.jobs import Ending
from gateway.ledger.landings import Landing
from tests.conftest import Run

NOW = clock.now()
STEPS = ("queued", "validating", "processing", "pending_refresh", "completed")


def job_at(ledger: Ledger, status: str) -> str:
    """The only job of a ledger, gone so far; its id."""
    landing = Landing("acme", "profiles", "a.csv", bytes=10, inode=1, landed_at=NOW, settles_at=NOW)
    drop = landings.record_landing(ledger, landing)
    with ledger.transaction():
        job_id = jobs.create(ledger, drop, "ann@acme.example", NOW)
        drops.claim(ledger, drop.id, NOW)
    at = STEPS.index("pending_refresh" if status == "failed" else status)
    if at >= 1:
        jobs.begin_next(ledger, NOW)
    if at >= 2:
        jobs.begin_processing(ledger, job_id, NOW)
    if at >= 3:
        jobs.stage(ledger, job_id, "{}", NOW)
    if status in jobs.ENDED:
        # One of the two words that a job can end with, which a str does not tell.
        jobs.finish(ledger, job_id, Ending(status, NOW, NOW, 0.5, "clevertap-profiles", "c0"), NOW)  # type: ignore[arg-type]
    return job_id


@pytest.mark.rule("C21")
@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("queued", "In Progress"),
        ("validating", "In Progress"),
        ("processing", "In Progress"),
        ("pending_refresh", "In Progress"),
        ("completed", "Completed"),
        ("failed", "Failed"),
    ],
)
def test_people_see_in_progress_until_a_job_is_completed_or_failed(
    gateway: Run, tmp_path: Path, status: str, word: str
) -> None:
    (tmp_path / "gateway.toml").write_text("")
    (tmp_path / "tenants").mkdir()
    (tmp_path / "data").mkdir()
    ledger = Ledger(tmp_path / "data" / "ledger.db")
    job_id = job_at(ledger, status)
    ledger.close()
    shown = gateway("job", job_id, "--config", tmp_path).stdout
    (line,) = [line for line in shown.splitlines() if line.startswith("status")]
    assert word in line
    assert [other for other in ("In Progress", "Completed", "Failed") if other in line] == [word]
