"""The gateway that is soaked: a working directory as an operator makes it, and the processes that serve it."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from pathlib import Path

import asyncssh

from scripts.gateways.process import DoesNotServe, GatewayProcess, command, environment
from scripts.soaking.contents import FEEDS

TENANT, USER = "acme", "acme-soak"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 45.0
# Short, so that clients meet drops in every state. A job may be cut short by many kills here, and is not to blame.
SETTINGS = """
[sftp]
host = "127.0.0.1"
port = {port}
[pickup]
settle_seconds = 0.2
scan_seconds = 2
tries_max = 100
"""


class Site:
    """A working directory below `folder`, and at most one gateway that serves it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "gateway"
        self.data = self.root / "data"
        self.log = folder / "gateway.log"
        self.key = folder / "key"
        self.known_hosts = folder / "known_hosts"
        self.port = 0
        self._process = GatewayProcess(self.root, self.log)

    @property
    def ledger(self) -> Path:
        return self.data / "ledger.db"

    @property
    def outbox(self) -> Path:
        return self.data / "tenants" / TENANT / "outbox"

    @property
    def host_key(self) -> asyncssh.SSHKey:
        return asyncssh.read_public_key(self.root / "host_keys" / "ssh_host_ed25519_key.pub")

    def make(self) -> None:
        """Init, tenant, feeds and user, by the commands that an operator types."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(self.key)
        self.key.chmod(0o600)
        key.write_public_key(self.key.with_suffix(".pub"))
        self.run("init", str(self.root))
        self.run("tenant", "add", TENANT)
        for feed, contract in FEEDS.items():
            self.run("feed", "add", TENANT, feed, "--contract", contract)
        address = ("--email", "soak@acme.example", "--role", "creator")
        self.run("user", "add", TENANT, USER, *address, "--key", str(self.key.with_suffix(".pub")))
        (self.root / "gateway.toml").write_text(SETTINGS.format(port=self.port))
        # Both keys, because clients choose: rclone takes RSA.
        host_keys = sorted((self.root / "host_keys").glob("*.pub"))
        self.known_hosts.write_text("".join(f"[127.0.0.1]:{self.port} {key.read_text()}" for key in host_keys))

    def run(self, *arguments: str) -> None:
        done = subprocess.run(
            command(*arguments), env=environment(self.root), capture_output=True, text=True, timeout=100, check=False
        )
        if done.returncode:
            raise DoesNotServe(f"gateway {' '.join(arguments)}: {done.stderr}")

    def begin(self) -> int:
        """Start the gateway; its process id."""
        return self._process.begin().pid

    def start(self) -> int:
        """Start it and wait until it accepts connections; its process id."""
        pid = self.begin()
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.accepts():
            if not self.is_alive() or time.monotonic() > deadline:
                raise DoesNotServe(f"the gateway does not serve; its log is {self.log}")
            time.sleep(0.05)
        return pid

    def accepts(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self, *, group: bool) -> None:
        """SIGKILL, for its workers too or for its main process only; returns when the main process is gone."""
        self._process.kill(group=group)

    def stop(self) -> bool:
        """SIGTERM; True when it ended well and in time."""
        return self._process.stop(STOP_SECONDS_MAX)

    def clear(self) -> None:
        """Nothing that was started here goes on."""
        self._process.kill(group=True)

    def workers(self) -> list[int]:
        """The worker processes of the gateway that serves."""
        if not self._process.pid:
            return []
        threads = Path(f"/proc/{self._process.pid}/task")
        try:
            children = [int(pid) for thread in threads.iterdir() for pid in (thread / "children").read_text().split()]
            return [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        except OSError:
            return []


def free_port() -> int:
    """A port that no connection gets as its own end while the gateway is down."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randint(10_000, max(lowest - 1, 10_100))
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
