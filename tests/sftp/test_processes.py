"""`gateway serve` with two processes on one port: what holds in one process holds for both together."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from gateway.ledger import Ledger, audit, jobs
from gateway.sftp import host_keys
from tests.waiting import PATIENCE_SECONDS, until

PROFILES = b"identity,Name\nann,Ann\nbob,Bob\n"
SETTINGS = """
[sftp]
processes = 2
[limits]
connections_max_per_user = {connections}
sessions_max_per_tenant = 6
[defender]
allow = []
threshold = 6
known_factor = 1
password_points = 0
connections_at_once = 1000
[pickup]
settle_seconds = 0.1
scan_seconds = 1
[engine]
workers = 1
"""
TENANT = """
[users.acme-ann]
email = "ann@acme.example"
role = "admin"
keys = ["{key}"]

[feeds.profiles]
contract = "clevertap-profiles"
inbox_bytes_max = 100000
"""


class Client:
    """One connection with one session, and the process of the gateway that serves it."""

    def __init__(self, gateway: Gateway, username: str = "acme-ann") -> None:
        line = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_SECONDS)
        self.local_port = line.getsockname()[1]
        self.transport = paramiko.Transport(line)
        self.transport.connect(username=username, pkey=gateway.key)
        self.pid = gateway.process_of(self.local_port)
        found = paramiko.SFTPClient.from_transport(self.transport)
        assert found is not None
        self.sftp = found
        self.files: list[paramiko.SFTPFile] = []

    def begin(self, name: str, content: bytes) -> paramiko.SFTPFile:
        """An upload that is not closed yet; the gateway has its bytes."""
        file = self.sftp.open(f"/inbox/profiles/{name}", "wb")
        # One that nobody holds any more is closed by paramiko.
        self.files.append(file)
        file.set_pipelined(False)
        file.write(content)
        file.flush()
        return file

    def put(self, name: str, content: bytes = PROFILES) -> None:
        self.begin(name, content).close()

    def end(self) -> None:
        self.transport.close()


class Gateway:
    """A gateway with two processes for its port."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tenants").mkdir(parents=True)
        host_keys.make(root / "host_keys" / "ssh_host_ed25519_key", "ed25519")
        private = asyncssh.generate_private_key("ssh-ed25519")
        private.write_private_key(root / "ann")
        self.key = paramiko.Ed25519Key.from_private_key_file(str(root / "ann"))
        public = private.export_public_key().decode().strip()
        (root / "tenants" / "acme.toml").write_text(TENANT.format(key=public))
        self.clients: list[Client] = []
        self.port = 0

    def serve(self, connections: int = 64) -> None:
        (self.root / "gateway.toml").write_text(SETTINGS.format(connections=connections))
        with (self.root / "log").open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", "0"],
                env=os.environ | {"GATEWAY_CONFIG": str(self.root)},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        found = re.search(r"listens on 127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        assert found, self.log()
        self.port = int(found[1])

    def log(self) -> str:
        return (self.root / "log").read_text()

    def stop(self) -> None:
        for client in self.clients:
            client.end()
        if self.port:
            self.process.kill()
            self.process.communicate()

    def client(self, *, beside: Client | None = None) -> Client:
        """A new connection, in another process than that of `beside`: the kernel chooses, so several are tried."""
        for _ in range(60):
            client = Client(self)
            if beside is None or client.pid != beside.pid:
                self.clients.append(client)
                return client
            client.end()
        raise AssertionError("all connections came to one process")

    def two(self) -> tuple[Client, Client]:
        """Two connections, each in a process of its own."""
        one = self.client()
        return one, self.client(beside=one)

    def process_of(self, port: int) -> int:
        """The process that has the other end of a client's connection."""
        ends = f"0100007F:{self.port:04X}", f"0100007F:{port:04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        (inode,) = [line[9] for line in lines if (line[1], line[2]) == ends]
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        of_threads = children.parents[1].glob("*/children")
        pids = {int(pid) for file in of_threads for pid in file.read_text().split()}
        return next(pid for pid in pids if f"socket:[{inode}]" in set(descriptors(pid)))

    def ask(self, question: Callable[[Ledger], Any]) -> Any:
        ledger = Ledger(self.root / "data" / "ledger.db")
        try:
            return question(ledger)
        finally:
            ledger.close()

    def uploads(self) -> dict[str, tuple[str, int]]:
        """State and bytes of the newest upload of each name."""
        rows = self.ask(lambda ledger: ledger.rows("SELECT path, state, bytes FROM uploads ORDER BY id"))
        return {row["path"]: (row["state"], row["bytes"]) for row in rows}


def descriptors(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            yield str(link.readlink())


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path / "site")
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("processes") / "site")
    try:
        gateway.serve()
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def two(serving: Gateway) -> Iterator[tuple[Client, Client]]:
    """Two clients of one gateway, each in a process of its own."""
    clients = serving.two()
    yield clients
    for client in serving.clients:
        client.end()
    serving.clients.clear()
    until(lambda: "open" not in {state for state, _ in serving.uploads().values()})


def test_a_drop_through_each_process_is_processed_once(serving: Gateway, two: tuple[Client, Client]) -> None:
    for number, client in enumerate(two):
        client.put(f"through{number}.csv", PROFILES + b"cid,%d\n" % number)
    sql = "SELECT path, status FROM drops JOIN jobs ON jobs.drop_id = drops.id WHERE path LIKE 'through%' ORDER BY path"

    def found() -> list[tuple[str, str]]:
        return [tuple(row) for row in serving.ask(lambda ledger: ledger.rows(sql))]

    until(lambda: [status in jobs.ENDED for _, status in found()] == [True, True])
    assert found() == [("through0.csv", "completed"), ("through1.csv", "completed")]


def test_a_session_sees_the_partial_upload_of_one_in_the_other_process(two: tuple[Client, Client]) -> None:
    one, other = two
    file = one.begin("growing.csv", b"x" * 1000)
    assert other.sftp.stat("/inbox/profiles/growing.csv").st_size == 1000
    assert other.sftp.listdir("/inbox/profiles").count("growing.csv") == 1
    file.close()


def test_an_upload_that_is_removed_in_the_other_process_does_not_land(
    serving: Gateway, two: tuple[Client, Client]
) -> None:
    one, other = two
    file = one.begin("removed.csv", PROFILES)
    other.sftp.remove("/inbox/profiles/removed.csv")
    # paramiko keeps to itself how the server has answered.
    file.close()
    assert serving.uploads()["removed.csv"][0] == "aborted"
    assert not serving.ask(lambda ledger: ledger.rows("SELECT 1 FROM drops WHERE path = 'removed.csv'"))


def test_who_writes_into_a_file_that_was_removed_elsewhere_is_told_so(two: tuple[Client, Client]) -> None:
    one, other = two
    file = one.begin("removed-early.csv", PROFILES)
    other.sftp.remove("/inbox/profiles/removed-early.csv")

    def told() -> str:
        try:
            file.write(PROFILES)
        except OSError as error:
            return str(error)
        return ""

    assert "removed while it was being uploaded" in until(told)


def test_a_stored_file_outlives_another_upload_of_its_name_that_was_removed(
    serving: Gateway, two: tuple[Client, Client]
) -> None:
    one, other = two
    one.put("stays.csv.tmp", PROFILES)
    again = one.begin("stays.csv.tmp", b"identity\nanother\n")
    other.sftp.remove("/inbox/profiles/stays.csv.tmp")
    again.close()
    until(lambda: serving.uploads()["stays.csv.tmp"][0] == "aborted")
    with other.sftp.open("/inbox/profiles/stays.csv.tmp") as file:
        assert file.read() == PROFILES
    other.sftp.remove("/inbox/profiles/stays.csv.tmp")


def test_two_uploads_of_one_name_in_two_processes_land_one_after_the_other(
    serving: Gateway, two: tuple[Client, Client]
) -> None:
    one, other = two
    first, second = one.begin("both.csv", b"identity\nann\n"), other.begin("both.csv", b"identity\nbob\n")
    second.close()
    first.close()
    rows = serving.ask(lambda ledger: ledger.rows("SELECT state FROM uploads WHERE path = 'both.csv'"))
    assert [row["state"] for row in rows] == ["closed", "closed"]
    drops = serving.ask(lambda ledger: ledger.rows("SELECT upload_id, bytes FROM drops WHERE path = 'both.csv'"))
    # Either it was replaced before it was claimed, or they are two drops; the first to close is the first.
    assert drops[-1]["bytes"] == len(b"identity\nann\n")
    assert [drop["bytes"] for drop in drops[:-1]] in ([], [len(b"identity\nbob\n")])


def test_the_quota_of_a_feed_holds_for_both_together(two: tuple[Client, Client]) -> None:
    one, other = two
    first = one.begin("large1.csv", b"x" * 60_000)
    second = other.begin("large2.csv", b"x" * 30_000)
    # The process of the first one has not counted since; what the other has brought counts for it all the same.
    with pytest.raises(OSError, match="bytes of this feed wait"):
        first.write(b"x" * 30_000)
    second.write(b"x" * 1000)
    for handle in (first, second):
        with suppress(OSError):
            handle.close()
    one.sftp.remove("/inbox/profiles/large1.csv")


def test_the_sessions_of_a_tenant_are_counted_in_both_together(two: tuple[Client, Client]) -> None:
    def more() -> int:
        """How many further sessions there can be, in either process."""
        opened: list[paramiko.Channel] = []
        clients = itertools.cycle(two)
        with suppress(paramiko.ChannelException):
            while True:
                opened.append(next(clients).transport.open_session(timeout=PATIENCE_SECONDS))
        for channel in opened:
            channel.close()
        return len(opened)

    # Six may be, and two are; those of clients who have just left may be counted still.
    found = [more()]
    while found[-1] < 4:
        found.append(more())
    assert found[-1] == 4


def test_bad_logins_in_both_are_one_ban_in_both(gateway: Gateway) -> None:
    gateway.serve()
    refused = 0
    while refused < 20:
        try:
            Client(gateway, "nobody").end()
        except paramiko.AuthenticationException:
            refused += 1
        except paramiko.SSHException:
            break
    # 5 points each, and 6 are a ban: two, if they are counted together, wherever they came.
    assert refused == 2


def test_the_connections_of_a_user_are_counted_in_both_together(gateway: Gateway) -> None:
    gateway.serve(connections=3)
    for _ in range(3):
        gateway.client()
    for _ in range(8):
        transport = paramiko.Transport(("127.0.0.1", gateway.port))
        with suppress(paramiko.SSHException, EOFError):
            transport.connect(username="acme-ann", pkey=gateway.key)
        transport.join(PATIENCE_SECONDS)
        assert not transport.is_active()


def test_a_process_that_is_killed_takes_its_own_sessions_only_and_is_replaced(gateway: Gateway) -> None:
    gateway.serve()
    one, other = gateway.two()
    one.begin("broken.csv", b"x" * 5000)
    kept = other.begin("kept.csv", PROFILES)
    os.kill(one.pid, signal.SIGKILL)
    until(lambda: gateway.uploads()["broken.csv"] == ("incomplete", 4999))
    # Another process has recovered what the dead one had open, and has left this one alone.
    assert gateway.uploads()["kept.csv"][0] == "open"
    kept.close()
    third = gateway.client(beside=other)
    assert third.pid != one.pid
    with third.sftp.open("/inbox/profiles/broken.csv", "ab") as file:
        file.write(b"x")
    assert gateway.uploads()["broken.csv"] == ("closed", 5000)
    (start, _) = gateway.ask(lambda ledger: audit.select(ledger, action="start"))
    assert f"in place of process {one.pid}, which ended with exit code -9" in start.detail


def test_at_sigterm_both_finish_their_uploads(gateway: Gateway) -> None:
    gateway.serve()
    files = [client.begin(f"last{number}.csv", PROFILES) for number, client in enumerate(gateway.two())]
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: not accepts(gateway))
    for file in files:
        file.close()
    assert gateway.process.wait(PATIENCE_SECONDS) == 0, gateway.log()
    assert [gateway.uploads()[f"last{number}.csv"][0] for number in range(2)] == ["closed", "closed"]


def accepts(gateway: Gateway) -> bool:
    """Whether somebody listens on the port."""
    mine = f"0100007F:{gateway.port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(line[1] == mine and line[3] == "0A" for line in lines)


def test_without_their_gateway_the_processes_end_and_another_one_takes_over(gateway: Gateway) -> None:
    gateway.serve()
    one, other = gateway.two()
    one.begin("left.csv", b"x" * 100)
    gateway.process.kill()
    gateway.process.communicate()
    until(lambda: not any(Path(f"/proc/{client.pid}").exists() for client in (one, other)))
    gateway.serve()
    assert gateway.uploads()["left.csv"] == ("incomplete", 99)


def test_a_disabled_user_is_out_of_both(gateway: Gateway) -> None:
    gateway.serve()
    one, other = gateway.two()
    file = gateway.root / "tenants" / "acme.toml"
    file.with_suffix(".new").write_text(file.read_text().replace('role = "admin"', 'role = "admin"\ndisabled = true'))
    shutil.move(file.with_suffix(".new"), file)
    until(lambda: not one.transport.is_active() and not other.transport.is_active())
