"""A file that takes more memory than its worker may have: it ends as our fault, and the others do not wait for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.partner import PEOPLE, Partner
from tests.faults.site import Site
from tests.waiting import until

MEMORY_BYTES = 400_000_000
ROWS = 1_500_000


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Site]:
    """Two workers, each with little memory, and two feeds."""
    site = Site(tmp_path / "site", workers=2, retry_seconds=0.5)
    site.use_feeds("people", "others")
    site.set_fault(memory_bytes=MEMORY_BYTES)
    site.serve()
    yield site
    site.kill()


def test_a_file_that_is_too_much_for_a_worker_ends_as_our_fault_while_others_go_on(
    narrow: Site, tmp_path: Path
) -> None:
    rows = b"".join(
        b"user-%08d,%s,%d\n" % (number, b"A very long name indeed " * 4, number % 90) for number in range(ROWS)
    )
    narrow.put_locally("huge.csv", b"identity,Name,Age\n" + rows)
    until(lambda: "job was cut short" in narrow.log(), narrow.log)
    narrow.feed = "others"
    Partner(narrow).put("a.csv", PEOPLE)
    until(lambda: [job for job in narrow.jobs() if job["status"] == "completed"], narrow.log)
    narrow.feed = "people"
    (huge,) = narrow.ended()
    assert (huge["status"], huge["tries"], huge["accepted_rows"]) == ("failed", 3, 0)
    report = json.loads((narrow.outbox / "huge.csv.report.json").read_text())
    assert list(report["problems_by_code"]) == ["gateway_failure"]
    assert "our side" in report["problems"][0]["hint"]
    assert not list(narrow.outbox.glob("*.accepted.*"))
    assert [drop["state"] for drop in narrow.drops()] == ["quarantined"]
