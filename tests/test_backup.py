"""`gateway backup` and `gateway restore` with a real gateway: consistent under load, whole or not there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from gateway.backup import copying
from gateway.backup.manifest import line_of, read
from gateway.config import load
from gateway.ledger import Ledger, drops
from gateway.ledger.drops import DropRow
from gateway.pickup.claim import original_path
from tests.conftest import command
from tests.test_serve import PROFILES, Gateway
from tests.waiting import PATIENCE_SECONDS, until

STUCK_IN_A_COPY = """
import os, sys
from gateway.backup import backup
real = backup.copy
def copy(source, target, length=None):
    digest = real(source, target, length)
    if "original" in str(target):
        print("copying", flush=True)
        sys.stdin.read()
    return digest
backup.copy = copy
from gateway.cli import gateway
gateway(prog_name="gateway")
"""


def run(root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=os.environ | {"GATEWAY_CONFIG": str(root)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


Make = Callable[[str], Gateway]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Gateways by the names of their directories; their processes end with the test."""
    made: list[Gateway] = []

    def gateway(name: str) -> Gateway:
        made.append(Gateway(tmp_path / name))
        return made[-1]

    yield gateway
    for process in [process for one in made for process in one.processes]:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def serving(make: Make) -> Gateway:
    return make("site")


@pytest.fixture
def new(make: Make) -> Gateway:
    """An empty directory that a restore is to fill."""
    gateway = make("new")
    shutil.rmtree(gateway.root)
    gateway.root.mkdir()
    return gateway


class Client(threading.Thread):
    """A partner who uploads one file after the other, some over a temporary name, until told to stop."""

    def __init__(self, port: int, key: paramiko.PKey) -> None:
        super().__init__(daemon=True)
        self._transport = paramiko.Transport(("127.0.0.1", port))
        self._transport.connect(username="acme-ann", pkey=key)
        self.stopping = threading.Event()
        self.acknowledged: list[str] = []

    def run(self) -> None:
        sftp = paramiko.SFTPClient.from_transport(self._transport)
        assert sftp is not None
        number = 0
        while not self.stopping.is_set():
            number += 1
            name = f"inbox/profiles/{number}.csv"
            written = f"{name}.part" if number % 3 == 0 else name
            with sftp.open(written, "wb") as file:
                file.write(b"identity,Name\nuser-%d,Ann\n" % number)
            if written != name:
                sftp.posix_rename(written, name)
            self.acknowledged.append(f"{number}.csv")
        self._transport.close()


@pytest.fixture
def loaded(serving: Gateway) -> Iterator[tuple[Gateway, Client]]:
    """A serving gateway and a client that keeps uploading to it."""
    key = paramiko.ECDSAKey.generate()
    tenant = serving.root / "tenants" / "acme.toml"
    public = f"{key.get_name()} {key.get_base64()}"
    tenant.write_text(tenant.read_text().replace('role = "admin"', f'role = "admin"\nkeys = ["{public}"]'))
    _, printed = serving.serve()
    client = Client(int(printed.split("127.0.0.1:")[1].split()[0]), key)
    client.start()
    until(lambda: len(client.acknowledged) > 20 and serving.jobs())
    yield serving, client
    client.stopping.set()
    client.join()


def all_drops(root: Path) -> list[DropRow]:
    ledger = Ledger(root / "data" / "ledger.db")
    try:
        return [drops.get(ledger, row["id"]) for row in ledger.rows("SELECT id FROM drops ORDER BY id")]
    finally:
        ledger.close()


def test_a_backup_under_load_comes_back_and_each_upload_has_one_outcome(
    loaded: tuple[Gateway, Client], new: Gateway, tmp_path: Path
) -> None:
    serving, client = loaded
    before = list(client.acknowledged)
    copied = tmp_path / "copy"
    done = run(serving.root, "backup", copied)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(client.acknowledged) > len(before), "the client went on meanwhile"
    assert not (serving.root / "data" / "spool" / "pins").exists()
    checked = subprocess.run(["sha256sum", "--quiet", "-c", "MANIFEST"], cwd=copied, check=False)
    assert checked.returncode == 0
    client.stopping.set()

    restored = run(new.root, "restore", copied)
    assert restored.returncode == 0, restored.stderr
    found = all_drops(new.root)
    unended = [drop for drop in found if drop.state not in ("done", "duplicate")]
    assert unended, "the backup was taken while drops were under way"
    assert {drop.path for drop in found} >= set(before)
    new.serve()
    until(lambda: all(drop.state == "done" for drop in all_drops(new.root)))
    ended = new.jobs()
    assert sorted(job.filename for job in ended) == sorted(drop.path for drop in found)
    for job in ended:
        assert (job.status, job.accepted_rows) == ("completed", 1)
        assert (new.outbox / f"{job.filename}.report.json").is_file()
        assert b"user-" in original_path(load(new.root), job.id).read_bytes()


def test_a_backup_that_is_killed_is_not_there_and_the_next_one_is_whole(serving: Gateway, tmp_path: Path) -> None:
    serving.serve()
    serving.put("a.csv")
    serving.ended()
    copied = tmp_path / "copy"
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK_IN_A_COPY, "backup", str(copied)],
        env=os.environ | {"GATEWAY_CONFIG": str(serving.root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "copying\n"
        process.send_signal(signal.SIGKILL)
    assert not copied.exists()
    assert run(serving.root, "restore", tmp_path / ".copy.unfinished", "--replace").returncode == 3
    assert run(serving.root, "backup", copied).returncode == 0
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == ["copy"]
    again = run(serving.root, "backup", copied)
    assert (again.returncode, "new or empty" in again.stderr) == (3, True)


def test_a_file_that_changed_is_missing_or_is_no_part_of_it_is_refused_by_its_name(
    serving: Gateway, new: Gateway, tmp_path: Path
) -> None:
    serving.serve()
    serving.put("a.csv")
    serving.ended()
    run(serving.root, "backup", tmp_path / "copy")
    (report,) = (tmp_path / "copy").rglob("a.csv.report.json")
    spoils: tuple[tuple[Callable[[Path], object], str], ...] = (
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"), "is not what was backed up"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.with_name("more").write_bytes(b""), "not in the MANIFEST"),
    )
    for spoil, says in spoils:
        spoiled = tmp_path / "spoiled"
        shutil.copytree(tmp_path / "copy", spoiled)
        spoil(spoiled / report.relative_to(tmp_path / "copy"))
        refused = run(new.root, "restore", spoiled)
        assert refused.returncode == 3
        assert says in refused.stderr
        assert ("/more:" if says.startswith("not") else "a.csv.report.json:") in refused.stderr
        assert list(new.root.iterdir()) == []
        shutil.rmtree(spoiled)


def test_a_restore_goes_over_nothing_that_is_there_unless_it_is_moved_aside(serving: Gateway, tmp_path: Path) -> None:
    process, _ = serving.serve()
    serving.put("a.csv")
    serving.ended()
    copied = tmp_path / "copy"
    run(serving.root, "backup", copied)
    serves = run(serving.root, "restore", copied, "--replace")
    assert (serves.returncode, "serves this data directory" in serves.stderr) == (3, True)
    process.terminate()
    process.wait(PATIENCE_SECONDS)
    refused = run(serving.root, "restore", copied)
    assert (refused.returncode, "--replace" in refused.stderr) == (3, True)
    serving.put("b.csv", PROFILES + b"cy,Cy\n")
    restored = run(serving.root, "restore", copied, "--replace")
    assert restored.returncode == 0, restored.stderr
    (aside,) = (serving.root / "data").glob("replaced-*")
    assert (aside / "tenants" / "acme" / "inbox" / "profiles" / "b.csv").exists()
    assert str(aside) in restored.stdout
    assert "was left as it is" in restored.stdout
    serving.serve()
    assert [job.filename for job in serving.ended()] == ["a.csv"]


def test_no_gateway_starts_on_half_a_restore_and_the_next_restore_finishes_it(
    serving: Gateway, new: Gateway, tmp_path: Path
) -> None:
    serving.serve()
    serving.put("a.csv")
    serving.ended()
    copied = tmp_path / "copy"
    run(serving.root, "backup", copied)
    program = STUCK_IN_A_COPY.replace("gateway.backup import backup", "gateway.backup import restore as backup")
    process = subprocess.Popen(
        [sys.executable, "-c", program, "restore", str(copied)],
        env=os.environ | {"GATEWAY_CONFIG": str(new.root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "copying\n"
        process.send_signal(signal.SIGKILL)
    assert new.start().wait(PATIENCE_SECONDS) == 3
    assert "a restore was cut short" in new.log()
    assert run(new.root, "restore", copied).returncode == 0
    new.serve()
    assert [job.status for job in new.ended()] == ["completed"]


def test_a_name_with_a_line_break_stands_in_the_manifest_as_sha256sum_writes_it(tmp_path: Path) -> None:
    name = "a\\b\nc.csv"
    digest = copying.copy(Path(__file__), tmp_path / name)
    written = subprocess.run(["sha256sum", name], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert line_of(name, digest) == written
    (tmp_path / "MANIFEST").write_text(written)
    assert read(tmp_path) == {name: digest}
