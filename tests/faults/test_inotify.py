"""Lost events: the scan finds what the watcher was not told of."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.faults.outcomes import Reference, outcomes
from tests.faults.partner import PEOPLE
from tests.faults.site import Site
from tests.waiting import until

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


def test_files_are_found_when_the_queue_of_events_overflowed(shared_site: Site, undisturbed: Reference) -> None:
    expected = undisturbed("put")
    site = shared_site
    until(site.inbox.is_dir)
    assert site.process is not None
    # While the gateway stands still, more happens than the kernel keeps for it: each round is three events or more.
    os.kill(site.process.pid, signal.SIGSTOP)
    hidden = site.inbox / ".noise"
    for _ in range(int(QUEUE.read_text()) // 2):
        hidden.touch()
        hidden.unlink()
    (site.root / "source.csv").write_bytes(PEOPLE)
    subprocess.run(["cp", site.root / "source.csv", site.inbox / "a.csv"], check=True)
    os.kill(site.process.pid, signal.SIGCONT)
    site.ended()
    assert {sha256: outcome.data for sha256, outcome in outcomes(site).items()} == {
        sha256: outcome.data for sha256, outcome in expected.items()
    }
    # The watcher lives on, or the next round finds the file: the partner cannot tell.
    site.put_locally("b.csv", b"identity,Name\nzoe,Zoe\n")
    site.ended(2)
