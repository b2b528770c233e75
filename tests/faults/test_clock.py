"""The clock is set back by an hour: what has landed is processed all the same, now and in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.outcomes import Reference, outcomes
from tests.faults.partner import MORE, PEOPLE, GatewayDied, Partner
from tests.faults.site import Site
from tests.waiting import until

HOUR = 3600.0


@pytest.fixture
def ahead(tmp_path: Path) -> Iterator[Site]:
    """A gateway whose clock is an hour ahead, until `set_fault` sets it right."""
    site = Site(tmp_path / "site", retry_seconds=5)
    site.set_fault(clock_seconds=HOUR)
    site.serve()
    yield site
    site.kill()


def test_what_landed_before_the_clock_was_set_back_is_processed_now(ahead: Site, undisturbed: Reference) -> None:
    partner = Partner(ahead, retries=False)
    # It is in, it has not settled, and the next process has another idea of the time.
    ahead.arm("before the OK is sent")
    ahead.before_restart = lambda: ahead.set_fault(clock_seconds=0)
    with pytest.raises(GatewayDied):
        partner.put("a.csv", PEOPLE)
    ahead.ended()
    assert outcomes(ahead) == undisturbed("put")


def test_a_gateway_whose_clock_is_set_back_goes_on(ahead: Site) -> None:
    partner = Partner(ahead)
    partner.put("a.csv", PEOPLE)
    ahead.put_locally("local.csv", b"identity,Name\nzoe,Zoe\n")
    ahead.set_fault(clock_seconds=0)
    partner.put("b.csv", MORE)
    until(lambda: ahead.jobs_of("a.csv") and ahead.jobs_of("b.csv") and ahead.jobs_of("local.csv"), ahead.log)
    partner.put("a.csv", PEOPLE + b"zoe,Zoe,7\n")
    jobs = ahead.ended(4)
    assert {(job["path"], job["generation"], job["status"]) for job in jobs} == {
        ("a.csv", 1, "completed"),
        ("a.csv", 2, "completed"),
        ("b.csv", 1, "completed"),
        ("local.csv", 1, "completed"),
    }
    assert len(outcomes(ahead)) == 4


def test_a_job_that_pauses_does_not_pause_for_an_hour(ahead: Site) -> None:
    ahead.arm("the rows are judged")
    Partner(ahead).put("a.csv", PEOPLE)
    until(lambda: ahead.rows("SELECT 1 FROM jobs WHERE status = 'queued' AND tries = 1"), ahead.log)
    ahead.set_fault(clock_seconds=0)
    (job,) = ahead.ended()
    assert (job["status"], job["tries"]) == ("completed", 2)
