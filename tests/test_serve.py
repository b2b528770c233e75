"""`gateway serve` as a real process: start, lock, drain, settings that change."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest

from gateway.config import load
from gateway.ledger import Ledger, audit, jobs
from gateway.ledger.jobs import JobRow
from gateway.pickup.claim import original_path
from gateway.sftp import host_keys
from tests.waiting import PATIENCE_SECONDS, until

PROFILES = b"identity,Name\nann,Ann\nbob,Bob\n"
TENANT = """
[users.acme-ann]
email = "ann@acme.example"
role = "admin"

[feeds.profiles]
contract = "clevertap-profiles"
"""


class Gateway:
    """A configuration directory, and the gateway processes that were started over it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tenants").mkdir(parents=True)
        host_keys.make(root / "host_keys" / "ssh_host_ed25519_key", "ed25519")
        (root / "gateway.toml").write_text("[pickup]\nsettle_seconds = 0.1\nscan_seconds = 1\n[engine]\nworkers = 1\n")
        (root / "tenants" / "acme.toml").write_text(TENANT)
        self.ledger_path = root / "data" / "ledger.db"
        self.processes: list[subprocess.Popen[str]] = []
        self.inbox = root / "data" / "tenants" / "acme" / "inbox" / "profiles"
        self.outbox = root / "data" / "tenants" / "acme" / "outbox" / "profiles"

    def start(self) -> subprocess.Popen[str]:
        """`gateway serve`, which may not be ready yet."""
        errors = (self.root / "log").open("a")
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", "0"],
            env=os.environ | {"GATEWAY_CONFIG": str(self.root)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        errors.close()
        self.processes.append(process)
        return process

    def serve(self) -> tuple[subprocess.Popen[str], str]:
        """A gateway that is ready, and what it printed."""
        process = self.start()
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, self.log()
        return process, first + process.stdout.readline()

    def put(self, name: str, content: bytes = PROFILES) -> None:
        """A local program puts a file into the inbox, in one step."""
        self.inbox.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(content)
        (self.root / name).rename(self.inbox / name)

    def jobs(self) -> list[JobRow]:
        path = self.ledger_path
        if not path.exists():
            return []
        ledger = Ledger(path)
        try:
            return jobs.select(ledger)
        finally:
            ledger.close()

    def ended(self) -> list[JobRow]:
        until(lambda: [job for job in self.jobs() if job.status in jobs.ENDED] and all_ended(self.jobs()))
        return self.jobs()

    def log(self) -> str:
        return (self.root / "log").read_text()


def all_ended(found: list[JobRow]) -> bool:
    return all(job.status in jobs.ENDED for job in found)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path / "site")
    yield gateway
    for process in gateway.processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_it_prints_where_it_listens_and_the_command_to_try(gateway: Gateway) -> None:
    _, printed = gateway.serve()
    match = re.search(r"listens on 127\.0\.0\.1:(\d+)\n.*sftp -P (\d+) acme-ann@127\.0\.0\.1", printed)
    assert match, printed
    assert match[1] == match[2]
    with socket.create_connection(("127.0.0.1", int(match[1])), timeout=10) as connection:
        assert connection.recv(8).startswith(b"SSH-2.0")


@pytest.mark.rule("C25")
def test_it_makes_the_folders_and_the_samples_of_every_feed(gateway: Gateway) -> None:
    gateway.serve()
    assert gateway.inbox.is_dir()
    assert gateway.outbox.is_dir()
    assert list((gateway.root / "data" / "tenants" / "acme" / "samples" / "profiles").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_the_exit_code_is_0(gateway: Gateway, number: signal.Signals) -> None:
    process, _ = gateway.serve()
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert "Traceback" not in gateway.log()


def test_a_second_gateway_is_refused_and_the_lock_dies_with_the_first(gateway: Gateway) -> None:
    first, _ = gateway.serve()
    second = gateway.start()
    assert second.wait(PATIENCE_SECONDS) == 3
    assert f"another gateway (process {first.pid})" in gateway.log()
    first.kill()
    first.wait()
    gateway.serve()


def test_a_drop_that_is_in_work_at_sigterm_is_finished_now_or_after_the_next_start(gateway: Gateway) -> None:
    rows = b"".join(b"user-%d,Name %d\n" % (number, number) for number in range(60_000))
    process, _ = gateway.serve()
    gateway.put("big.csv", b"identity,Name\n" + rows)
    until(lambda: [job for job in gateway.jobs() if job.status != "queued"])
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0
    (job,) = gateway.jobs()
    assert job.status in ("completed", "queued")
    if job.status == "queued":
        gateway.serve()
    (job,) = gateway.ended()
    assert (job.status, job.total_rows, job.tries) == ("completed", 60_000, 1)
    # What the gateway made is not for others, in whatever process and folder; the drop itself came as it was.
    data = gateway.root / "data"
    open_to_others = [path for path in data.rglob("*") if path.stat().st_mode & 0o007]
    assert [path for path in open_to_others if path.read_bytes() != b"identity,Name\n" + rows] == []


def test_a_second_signal_ends_it_at_once_and_the_next_start_goes_on(gateway: Gateway) -> None:
    process, _ = gateway.serve()
    until(lambda: "jobs run" in gateway.log())
    # The worker is started first, then the storekeeper.
    worker = min(workers_of(process.pid))
    os.kill(worker, signal.SIGSTOP)
    gateway.put("a.csv")
    until(lambda: [job for job in gateway.jobs() if job.status == "validating"])
    process.terminate()
    until(lambda: "a second signal ends them" in gateway.log())
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 130
    assert not is_running(worker)
    gateway.serve()
    (job,) = gateway.ended()
    assert (job.status, job.tries) == ("completed", 2)


def test_the_workers_of_a_killed_gateway_end_with_it(gateway: Gateway) -> None:
    process, _ = gateway.serve()
    found = workers_of(process.pid)
    assert found
    process.kill()
    process.wait()
    until(lambda: not any(is_running(child) for child in found))


def test_a_new_tenant_is_taken_without_a_restart_and_a_broken_file_changes_nothing(gateway: Gateway) -> None:
    gateway.serve()
    (gateway.root / "tenants" / "zeta.toml").write_text('[feeds.people]\ncontract = "clevertap-profiles"\n')
    until((gateway.root / "data" / "tenants" / "zeta" / "inbox" / "people").is_dir)
    (gateway.root / "tenants" / "acme.toml").write_text("nonsense = ")
    until(lambda: "changed settings cannot be used" in gateway.log())
    gateway.put("a.csv")
    (job,) = gateway.ended()
    assert job.status == "completed"


def test_a_spool_on_another_file_system_is_refused(gateway: Gateway) -> None:
    places = [place for place in (Path("/dev/shm"), Path("/run"), Path.home()) if os.access(place, os.W_OK)]
    device = gateway.root.stat().st_dev
    elsewhere = next(place for place in places if place.stat().st_dev != device) / f"gateway-test-{os.getpid()}"
    elsewhere.mkdir()
    try:
        (gateway.root / "data").mkdir()
        (gateway.root / "data" / "spool").symlink_to(elsewhere)
        assert gateway.start().wait(PATIENCE_SECONDS) == 3
        assert "different file systems" in gateway.log()
    finally:
        shutil.rmtree(elsewhere)


def test_a_port_that_is_taken_is_named(gateway: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = subprocess.run(
            [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | {"GATEWAY_CONFIG": str(gateway.root)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert process.returncode == 3
    assert f"cannot listen on 127.0.0.1:{port}" in process.stderr


def test_the_log_is_json_where_there_is_no_terminal(gateway: Gateway) -> None:
    process, _ = gateway.serve()
    process.terminate()
    process.wait()
    lines = [json.loads(line) for line in gateway.log().splitlines()]
    assert {"serving", "stopped"} <= {line["event"] for line in lines}


def workers_of(gateway: int) -> list[int]:
    """The gateway's children, apart from the one that multiprocessing keeps for itself."""
    children = [path for path in Path("/proc").glob("[0-9]*") if parent_of(path) == gateway]
    return [int(path.name) for path in children if b"resource_tracker" not in (path / "cmdline").read_bytes()]


def parent_of(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_was_kept_for_long_enough_is_swept_at_the_next_start(gateway: Gateway) -> None:
    process, _ = gateway.serve()
    gateway.put("a.csv")
    (job,) = gateway.ended()
    original = original_path(load(gateway.root), job.id)
    assert original.exists()
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0
    settings = (gateway.root / "gateway.toml").read_text().replace("[pickup]", "[pickup]\ngrace_seconds = 0")
    (gateway.root / "gateway.toml").write_text(f"{settings}[retention]\narchive_days = 1e-9\noutbox_days = 1e-9\n")
    gateway.serve()
    until(lambda: not original.exists() and not list(gateway.outbox.iterdir()))
    until(lambda: gateway.log().count('"event": "swept"') == 2)
    assert gateway.jobs()[0].status == "completed"


def test_a_user_who_is_disabled_by_the_command_is_logged_out(gateway: Gateway) -> None:
    private = asyncssh.generate_private_key("ssh-ed25519")
    private.write_private_key(gateway.root / "ann")
    line = private.export_public_key().decode().strip()
    tenant = gateway.root / "tenants" / "acme.toml"
    tenant.write_text(tenant.read_text().replace("[users.acme-ann]", f'[users.acme-ann]\nkeys = ["{line}"]'))
    _, printed = gateway.serve()
    port = re.search(r"listens on 127\.0\.0\.1:(\d+)", printed)
    assert port
    client = paramiko.Transport(("127.0.0.1", int(port[1])))
    try:
        key = paramiko.Ed25519Key.from_private_key_file(str(gateway.root / "ann"))
        client.connect(username="acme-ann", pkey=key)
        assert "inbox" in client.open_sftp_client().listdir("/")
        command = [sys.executable, "-m", "gateway", "user", "disable", "acme", "acme-ann"]
        environment = os.environ | {"GATEWAY_CONFIG": str(gateway.root)}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        until(lambda: not client.is_active())
    finally:
        client.close()
    ledger = Ledger(gateway.ledger_path)
    try:
        reasons = ["ended: the user is disabled"]
        until(lambda: reasons == [one.detail for one in audit.select(ledger, username="acme-ann", action="login")][:1])
    finally:
        ledger.close()
