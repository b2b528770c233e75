"""Files that would eat a worker: its job is ended by the gateway's own limits, the partner is told, others go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.partner import PEOPLE, Partner
from tests.faults.site import Site
from tests.waiting import until

MEMORY_BYTES = 250_000_000
# A field takes a byte in the file and sixteen in memory.
WIDE = (
    b"identity," + b",".join(b"c%d" % number for number in range(250)) + b"\n" + (b"1" + b"," * 250 + b"\n") * 100_000
)
STRAYS = b"identity,Name\n" + b'"a"b",c\n' * 400_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two workers with little memory and little time, and two feeds."""
    site = Site(tmp_path_factory.mktemp("limited") / "site", workers=2)
    site.use_feeds("people", "others")
    path = site.root / "gateway.toml"
    limited = f"[engine]\nmemory_bytes_max = {MEMORY_BYTES}\nseconds_max = 8\n"
    path.write_text(path.read_text().replace("[engine]\n", limited))
    site.serve()
    yield site
    site.kill()


def report_of(site: Site, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((site.outbox / f"{name}.report.json").read_text())
    return found


@pytest.mark.parametrize(("body", "code"), [(WIDE, "too_much_memory"), (STRAYS, "too_much_time")])
def test_a_file_that_takes_too_much_is_refused_once_and_another_goes_on(site: Site, body: bytes, code: str) -> None:
    name, other = f"{code}.csv", f"beside-{code}.csv"
    site.feed = "people"
    Partner(site).put(name, body)
    site.feed = "others"
    Partner(site).put(other, PEOPLE)
    until(lambda: [job for job in site.jobs_of(other) if job["status"] == "completed"], site.log)
    site.feed = "people"
    (job,) = until(lambda: [job for job in site.jobs_of(name) if job["status"] == "failed"], site.log)
    assert job["tries"] == 1
    report = until(lambda: report_of(site, name))
    assert list(report["problems_by_code"]) == [code]
    (problem,) = report["problems"]
    most = {"too_much_memory": "250 MB", "too_much_time": "8 seconds"}[code]
    assert most in problem["message"]
    assert problem["hint"].startswith("Split it into smaller files.")
    assert "not at fault" not in (site.outbox / f"{name}.report.html").read_text()
    (drop,) = [drop for drop in site.drops() if drop["path"] == name]
    assert drop["state"] == "done"
    assert "job took too much" in site.log()


def test_a_worker_that_was_ended_is_replaced(site: Site) -> None:
    site.feed = "others"
    Partner(site).put("again.csv", PEOPLE)
    until(lambda: [job for job in site.jobs_of("again.csv") if job["status"] == "completed"], site.log)
    until(lambda: len(site.workers()) == 2)


def test_the_kernel_would_end_a_worker_before_the_gateway(site: Site) -> None:
    assert site.process is not None
    # One may just be starting, in the place of one that was ended.
    until(lambda: [score_of(worker) for worker in site.workers()] == [1000, 1000])
    assert score_of(site.process.pid) < 1000


def score_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
