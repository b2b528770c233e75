"""Rules that only a whole gateway can prove: a real `gateway serve`, and OpenSSH's sftp against it."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from gateway import clock, contracts
from gateway.ledger import Ledger, jobs
from gateway.ledger.jobs import JobRow
from gateway.ledger.states import JOB_STATUSES
from gateway.ledger.transitions import history
from tests.conftest import clean_environment, command
from tests.rules.conftest import ndjson, record, table
from tests.waiting import PATIENCE_SECONDS, until

ROLES = ("admin", "creator", "approver", "viewer")
FEEDS = {name.replace("clevertap-", ""): name for name in contracts.builtin_names()}
# No scan is ever due: what is picked up is picked up because its landing wakes the scan.
SETTINGS = """
[sftp]
host_keys = ["host_key"]
[pickup]
settle_seconds = 0.05
scan_seconds = 3600
[engine]
workers = 1
"""


NARROW = "rows_max = 2\ncolumns_max = 3\nline_bytes_max = 40\nexpanded_bytes_max = 200\n"


class Site:
    """A gateway that serves one tenant with every built-in contract, and one user of each role."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tenants").mkdir(parents=True)
        (root / "gateway.toml").write_text(SETTINGS)
        for name in ("host_key", *ROLES):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(root / name)
            (root / name).chmod(0o600)
            key.write_public_key(root / f"{name}.pub")
        users = [
            f'[users.{role}]\nemail = "{role}@acme.example"\nrole = "{role}"\n'
            f'keys = ["{(root / f"{role}.pub").read_text().strip()}"]\n'
            for role in ROLES
        ]
        feeds = [f'[feeds.{feed}]\ncontract = "{name}"\n' for feed, name in FEEDS.items()]
        feeds.append('[feeds.small]\ncontract = "clevertap-profiles"\ndrop_bytes_max = 50000\n')
        feeds.append('[feeds.narrow]\ncontract = "clevertap-profiles"\n' + NARROW)
        (root / "tenants" / "acme.toml").write_text("".join(users + feeds))
        self.tenant = root / "data" / "tenants" / "acme"
        self.process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> None:
        with (self.root / "log").open("a") as log:
            self.process = subprocess.Popen(
                command("serve", "--host", "127.0.0.1", "--port", "0", "--config", self.root),
                stdout=subprocess.PIPE, stderr=log, text=True, env=clean_environment(),
            )  # fmt: skip
        assert self.process.stdout is not None
        found = re.search(r":(\d+)\n", self.process.stdout.readline())
        assert found, (self.root / "log").read_text()
        self.port = int(found[1])
        known = f"[127.0.0.1]:{self.port} {(self.root / 'host_key.pub').read_text()}"
        (self.root / "known_hosts").write_text(known)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_SECONDS)
            assert self.process.stdout is not None
            self.process.stdout.close()

    def sftp(self, *lines: str, user: str = "creator") -> subprocess.Popen[str]:
        """OpenSSH's sftp with a batch; the program, begun."""
        known = self.root / "known_hosts"
        batch = self.root / f"batch-{uuid.uuid4()}"
        batch.write_text("".join(f"{line}\n" for line in lines))
        return subprocess.Popen(
            [
                "sftp", "-q", "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}",
                "-o", "IdentitiesOnly=yes", "-i", str(self.root / user), "-P", str(self.port), "-b", str(batch),
                f"{user}@127.0.0.1",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def did(self, *lines: str, user: str = "creator") -> tuple[int, str]:
        """How an sftp batch ended, and what it said."""
        client = self.sftp(*lines, user=user)
        out, errors = client.communicate(timeout=PATIENCE_SECONDS)
        return client.returncode, out + errors

    def put(self, name: str, body: bytes, feed: str = "profiles", user: str = "creator") -> None:
        """Drop a file as a partner does; it is there when this returns."""
        local = self.root / f"local-{uuid.uuid4()}"
        local.write_bytes(body)
        assert self.did(f"put {local} /inbox/{feed}/{name}", user=user)[0] == 0

    def report(self, name: str, feed: str = "profiles") -> dict[str, Any]:
        """The report of a drop, when it is there."""
        path = self.tenant / "outbox" / feed / f"{name}.report.json"
        until(path.exists)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def jobs(self) -> list[JobRow]:
        with self.ledger() as ledger:
            return jobs.select(ledger)

    def job(self, filename: str) -> JobRow:
        """The job of a drop, when there is one."""
        found: list[JobRow] = until(lambda: [job for job in self.jobs() if job.filename == filename])
        return found[0]

    def ended(self, filename: str) -> JobRow:
        until(lambda: self.job(filename).status in jobs.ENDED)
        return self.job(filename)

    def history(self, job: JobRow) -> list[str]:
        """The statuses that a job went through."""
        with self.ledger() as ledger:
            return [entry.new for entry in history(ledger, job.id) if entry.kind == "job"]

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        ledger = Ledger(self.root / "data" / "ledger.db")
        try:
            yield ledger
        finally:
            ledger.close()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """The one worker stands still: a job that has begun does not end meanwhile."""
        assert self.process is not None
        gateway = self.process.pid
        until(lambda: f'"process": {gateway}, ' in (self.root / "log").read_text())
        workers: list[int] = until(lambda: workers_of(gateway))
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in workers:
                os.kill(worker, signal.SIGCONT)


def workers_of(gateway: int) -> list[int]:
    """The gateway's children, apart from the one that multiprocessing keeps for itself."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # A process can end between two looks.
        with suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == gateway and b"resource_tracker" not in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.start()
    yield site
    site.stop()


def profiles(name: str, rows: int = 2) -> bytes:
    """Profiles that no other test has dropped."""
    return table(["identity", "Name"], *([f"{name}-{at}", "Ann"] for at in range(rows)))


@pytest.mark.rule("C4")
@pytest.mark.parametrize("role", ROLES)
def test_admins_creators_and_approvers_may_upload_and_a_viewer_may_not(site: Site, role: str) -> None:
    local = site.root / f"{role}.csv"
    local.write_bytes(profiles(role))
    code, said = site.did(f"put {local} /inbox/profiles/{role}.csv", user=role)
    if role == "viewer":
        assert code == 1
        assert "a viewer cannot use the inbox" in said
        assert [job for job in site.jobs() if job.filename == "viewer.csv"] == []
    else:
        assert site.report(f"{role}.csv")["accepted_rows"] == 2


@pytest.mark.rule("C18")
@pytest.mark.rule("C19")
@pytest.mark.rule("C20")
def test_the_ledger_and_the_report_say_who_uploaded_and_when(site: Site) -> None:
    before = clock.now()
    site.put("who.csv", profiles("who"), user="approver")
    after = clock.now()
    report, job = site.report("who.csv"), site.ended("who.csv")
    assert report["uploaded_by"] == job.uploaded_by == "approver@acme.example"
    assert before <= datetime.fromisoformat(report["uploaded_on"]) == job.uploaded_on <= after
    assert report["name"] == job.name == "who.csv"


@pytest.mark.rule("C6")
@pytest.mark.rule("C18")
def test_the_name_under_which_a_file_is_dropped_is_the_name_of_its_import(site: Site) -> None:
    assert site.did("mkdir /inbox/profiles/2024") == (0, "sftp> mkdir /inbox/profiles/2024\n")
    site.put('"2024/October import.csv"', profiles("named"))
    job = site.ended("2024/October import.csv")
    assert (job.name, site.report("2024/October import.csv")["name"]) == ("October import.csv",) * 2


@pytest.mark.rule("C7")
@pytest.mark.rule("C8")
@pytest.mark.rule("C22")
@pytest.mark.rule("C23")
def test_a_drop_is_processed_when_it_lands_and_its_status_becomes_completed(site: Site) -> None:
    site.put("soon.csv", profiles("soon") + b"too,many,fields\n")
    report = site.report("soon.csv")
    assert (report["status"], report["accepted_rows"], report["rejected_rows"]) == ("completed", 2, 1)
    job = site.ended("soon.csv")
    assert (job.status, job.accepted_rows, job.rejected_rows, job.total_rows) == ("completed", 2, 1, 3)
    assert job.id == report["job_id"]


@pytest.mark.rule("C12")
def test_several_files_are_uploaded_at_once_and_all_are_processed(site: Site) -> None:
    bodies = {f"many-{at}.csv": profiles(f"many-{at}", 200 + at) for at in range(6)}
    for name, body in bodies.items():
        (site.root / name).write_bytes(body)
    clients = [site.sftp(f"put {site.root / name} /inbox/profiles/{name}") for name in bodies]
    for client in clients:
        assert client.communicate(timeout=PATIENCE_SECONDS)[1] == ""
    assert [site.report(name)["accepted_rows"] for name in bodies] == [200 + at for at in range(6)]


@pytest.mark.rule("C13")
@pytest.mark.rule("U26")
@pytest.mark.rule("U27")
@pytest.mark.rule("U28")
@pytest.mark.rule("U29")
@pytest.mark.rule("U30")
@pytest.mark.rule("U31")
@pytest.mark.rule("U32")
def test_a_file_is_taken_while_an_earlier_one_is_processed_and_its_job_waits(site: Site) -> None:
    body = profiles("second")
    with site.busy():
        site.put("first.csv", profiles("first"))
        until(lambda: site.job("first.csv").status == "validating")
        site.put("second.csv", body)
        first, second = site.job("first.csv"), site.job("second.csv")
    plain = second.to_dict()
    assert uuid.UUID(plain["job_id"]).version == 7
    assert plain | {"status": "queued", "filename": "second.csv", "name": "second.csv", "total_rows": 0} == plain
    assert (plain["file_size"], plain["start_time"], plain["end_time"]) == (len(body), None, None)
    assert (first.start_time is not None, first.end_time) == (True, None)
    assert (site.ended("first.csv").status, site.ended("second.csv").status) == ("completed", "completed")


@pytest.mark.rule("U38")
@pytest.mark.rule("U39")
@pytest.mark.rule("U40")
@pytest.mark.rule("U41")
def test_a_job_goes_through_its_statuses_and_says_when_and_how_long(site: Site) -> None:
    words = ("queued", "validating", "processing", "pending_refresh", "completed", "failed")
    assert words == JOB_STATUSES
    site.put("statuses.csv", profiles("statuses"))
    job = site.ended("statuses.csv")
    assert site.history(job) == list(words[:5])
    assert job.start_time is not None
    assert job.end_time is not None
    assert job.elapsed_time is not None
    assert job.uploaded_on <= job.start_time <= job.end_time
    assert 0 < job.elapsed_time <= (job.end_time - job.uploaded_on).total_seconds()


@pytest.mark.rule("U38")
@pytest.mark.rule("U43")
@pytest.mark.rule("U44")
def test_a_failed_job_has_accepted_nothing_and_says_why(site: Site) -> None:
    site.put("bad.csv", b"Identity,Name\n1,Ann\n")
    job = site.ended("bad.csv")
    assert site.history(job) == ["queued", "validating", "pending_refresh", "failed"]
    assert (job.total_rows, job.accepted_rows, job.end_time is not None) == (0, 0, True)
    assert list(job.reason_for_failure) == site.report("bad.csv")["reason_for_failure"]
    assert [type(reason) for reason in job.reason_for_failure] == [str]


@pytest.mark.rule("C31")
def test_a_file_over_the_limit_of_its_feed_is_refused_and_one_up_to_it_is_taken(site: Site) -> None:
    body = profiles("limit", 8000)
    local = site.root / "over.csv"
    local.write_bytes(body)
    assert len(body) > 50_000
    assert site.did(f"put {local} /inbox/small/over.csv")[0] == 1
    rows = body[:50_000].rpartition(b"\n")[0]
    site.put("upto.csv", rows + b"x" * (50_000 - len(rows)), feed="small")
    assert site.report("upto.csv", "small")["file_size"] == 50_000
    assert [job.filename for job in site.jobs() if job.feed == "small"] == ["upto.csv"]


@pytest.mark.rule("F4")
@pytest.mark.rule("F5")
@pytest.mark.rule("F16")
@pytest.mark.rule("C25")
@pytest.mark.rule("C32")
@pytest.mark.rule("C33")
@pytest.mark.parametrize("feed", FEEDS)
def test_the_samples_of_a_feed_are_fetched_and_dropped_and_all_their_rows_accepted(site: Site, feed: str) -> None:
    folder = site.root / f"fetched-{feed}"
    folder.mkdir()
    assert site.did(f"get /samples/{feed}/* {folder}", user="viewer")[0] == 0
    shown = sorted(path for path in folder.iterdir() if path.suffix in (".csv", ".ndjson"))
    names = {path.name for path in shown}
    assert names == ({"by-identity.csv", "by-objectId.csv"} if feed == "profiles" else names)
    assert {path.suffix.lstrip(".") for path in shown} == set(contracts.load(FEEDS[feed]).formats)
    for path in shown:
        site.put(path.name, path.read_bytes(), feed=feed)
        report = site.report(path.name, feed)
        assert (report["status"], report["rejected_rows"]) == ("completed", 0)
        assert report["accepted_rows"] == report["total_rows"] > 0


@pytest.mark.rule("F1")
@pytest.mark.rule("F2")
def test_people_and_events_of_an_older_system_come_in_over_sftp(site: Site) -> None:
    oldest = clock.now().replace(microsecond=0) - timedelta(days=3600)
    events = [{"identity": "old-1", "evtName": "Purchased", "ts": int(oldest.timestamp()) + at} for at in range(50)]
    site.put("history.csv", profiles("old"))
    site.put("history.ndjson", ndjson(*reversed(events)), feed="events")
    assert site.report("history.csv")["accepted_rows"] == 2
    report = site.report("history.ndjson", "events")
    assert (report["accepted_rows"], report["order"]["first"]) == (50, clock.text(oldest))


@pytest.mark.rule("C45")
@pytest.mark.rule("C46")
def test_a_file_time_in_the_future_is_noted_and_does_not_fail_the_upload(site: Site) -> None:
    local = site.root / "ahead.csv"
    local.write_bytes(profiles("ahead"))
    ahead = (clock.now() + timedelta(hours=3)).timestamp()
    os.utime(local, (ahead, ahead))
    assert site.did(f"put -p {local} /inbox/profiles/ahead.csv")[0] == 0
    report = site.report("ahead.csv")
    assert (report["status"], report["accepted_rows"], report["reason_for_failure"]) == ("completed", 2, [])
    assert report["problems_by_code"]["clock_skew"] == 1


@pytest.mark.rule("U17")
def test_userpilots_feed_takes_csv_and_ndjson(site: Site) -> None:
    site.put("up.ndjson", ndjson(record("track")), feed="userpilot-import")
    site.put("up.csv", b"track,clicked,backend-http,u1,,,,,,,,,,,,2024-07-28 08:55:35,{}\n", feed="userpilot-import")
    assert [site.report(name, "userpilot-import")["accepted_rows"] for name in ("up.ndjson", "up.csv")] == [1, 1]


def test_a_partner_fetches_which_limit_of_the_feed_a_file_is_over(site: Site) -> None:
    two, four = ["identity", "Name"], ["identity", "Name", "Age", "Phone"]
    many = table(two, *([str(at), "Ann"] for at in range(99)))
    files = {
        "rows.csv": (many, "line 4: this feed takes 2 rows in a file"),
        "columns.csv": (table(four, ["1", "Ann", "30", ""]), "the header has 4 columns; 3 are allowed"),
        "line.csv": (table(two, ["1", "A" * 40]), "line 2: the record has 42 bytes; 40 are allowed"),
        "packed.csv.gz": (gzip.compress(many), "the gzip stream expands to more than 200 bytes"),
    }
    for name, (body, sentence) in files.items():
        site.put(name, body, "narrow")
        site.report(name, "narrow")
        local = site.root / f"{name}.report.json"
        assert site.did(f"get /outbox/narrow/{name}.report.json {local}")[0] == 0
        assert json.loads(local.read_text())["reason_for_failure"] == [sentence]
