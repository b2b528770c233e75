"""An outbox that cannot be written to: the job is not lost, the log says why, and it ends when the outbox is mended."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.outcomes import Reference, outcomes
from tests.faults.partner import SCRIPTS, Partner
from tests.faults.site import Site
from tests.waiting import until


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Modes are no barrier to root; the flag of the file system is."""
    if os.geteuid() == 0:
        subprocess.run(["chattr", "+i", folder], check=True)
    else:
        folder.chmod(0o500)
    try:
        yield
    finally:
        if os.geteuid() == 0:
            subprocess.run(["chattr", "-i", folder], check=True)
        else:
            folder.chmod(0o700)


def broke_off(site: Site, error: str) -> bool:
    (job,) = site.jobs() or [{"id": None}]
    return any(
        "the passage broke off" in line and str(job["id"]) in line and error in line for line in site.log().splitlines()
    )


def test_a_read_only_outbox_delays_the_results(shared_site: Site, undisturbed: Reference) -> None:
    expected = undisturbed("put")
    until(shared_site.inbox.is_dir)
    shared_site.outbox.mkdir(exist_ok=True)
    partner = Partner(shared_site)
    with read_only(shared_site.outbox):
        SCRIPTS["put"](partner)
        until(lambda: broke_off(shared_site, "Error"), shared_site.log)
        assert list(shared_site.outbox.iterdir()) == []
        assert [job["status"] for job in shared_site.jobs()] == ["pending_refresh"]
    shared_site.ended()
    assert outcomes(shared_site) == expected


def test_a_file_in_the_place_of_the_outbox_delays_the_results(shared_site: Site, undisturbed: Reference) -> None:
    expected = undisturbed("put")
    until(shared_site.outbox.is_dir)
    shared_site.outbox.rmdir()
    shared_site.outbox.write_text("not a folder")
    SCRIPTS["put"](Partner(shared_site))
    until(lambda: broke_off(shared_site, "Error"), shared_site.log)
    shared_site.outbox.unlink()
    shared_site.ended()
    assert outcomes(shared_site) == expected
