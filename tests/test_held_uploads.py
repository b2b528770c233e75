"""Uploads that a client closed though they were cut off: held, told, and completed, with OpenSSH's sftp."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.rules.conftest import table
from tests.rules.test_gateway import Site, profiles
from tests.waiting import until


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.start()
    yield site
    site.stop()


def test_an_upload_that_ctrl_c_cut_off_is_held_and_reput_completes_it(site: Site) -> None:
    # Wide rows with a short last field: a cut hits the end of a record hardly ever.
    whole = table(["identity", "Name", "Age"], *([f"interrupted-{at}", "Ann " * 250, "31"] for at in range(60_000)))
    local = site.root / "interrupted.csv"
    local.write_bytes(whole)
    client = site.sftp(f"put {local} /inbox/profiles/interrupted.csv")
    partial = site.root / "data" / "spool" / "uploads"
    until(lambda: any(path.stat().st_size > 500_000 for path in partial.iterdir()))
    client.send_signal(signal.SIGINT)
    client.communicate()
    path = site.tenant / "outbox" / "profiles" / "interrupted.csv.status.json"
    until(path.exists)
    told = json.loads(path.read_text())
    assert (told["state"], told["held_for"], told["filename"]) == ("held", "suspect", "interrupted.csv")
    assert site.did("ls -l /inbox/profiles")[1].count("interrupted.csv") == 1
    code, said = site.did(f"reput {local} /inbox/profiles/interrupted.csv")
    assert code == 0, said
    report = site.report("interrupted.csv")
    assert (report["status"], report["total_rows"], report["file_size"]) == ("completed", 60_000, len(whole))
    assert (report["generation"], [job.filename for job in site.jobs()].count("interrupted.csv")) == (1, 1)
    until(lambda: not path.exists())


def test_a_held_file_can_be_removed_by_its_sender_and_is_never_processed(site: Site) -> None:
    site.put("half.csv", profiles("half")[:-4].rpartition(b",")[0])
    path = site.tenant / "outbox" / "profiles" / "half.csv.status.json"
    until(path.exists)
    assert site.did("rm /inbox/profiles/half.csv")[0] == 0
    assert "half.csv" not in site.did("ls /inbox/profiles")[1]
    until(lambda: not path.exists())
    job = site.job("half.csv")
    assert (job.status, job.reason_for_failure) == ("failed", ("removed by the client",))
