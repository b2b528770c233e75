"""A configured directory, and the real gateway processes that serve it one after the other."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh

from tests.conftest import unmeasured
from tests.waiting import PATIENCE_SECONDS, until

REPOSITORY = Path(__file__).parents[2]
SETTINGS = """
[data]
dir = "{data}"
[pickup]
settle_seconds = 0.3
scan_seconds = 1
retry_seconds = {retry_seconds}
[engine]
workers = {workers}
[limits]
disk_reserve_bytes = {reserve}
[store]
enabled = {store}
"""
TENANT = """
[users.acme-ann]
email = "ann@acme.example"
role = "admin"
keys = ["{key}"]
"""
FEED = """
[feeds.{feed}]
contract = "clevertap-profiles"
"""
AT_REST = ("done", "duplicate", "superseded", "withdrawn", "vanished", "quarantined")


class Site:
    """One gateway at a time, in which faults can be armed. `data` may be on another disk."""

    def __init__(
        self,
        root: Path,
        *,
        data: Path | None = None,
        workers: int = 1,
        retry_seconds: float = 0,
        reserve: int = 0,
        store: bool = False,
    ) -> None:
        self.root = root
        self.data = data or root / "data"
        for folder in ("tenants", "host_keys", "faults"):
            (root / folder).mkdir(parents=True)
        self.keys = {name: asyncssh.generate_private_key("ssh-ed25519") for name in ("host", "client")}
        self.keys["host"].write_private_key(root / "host_keys" / "ssh_host_ed25519_key")
        (root / "host_keys" / "ssh_host_ed25519_key").chmod(0o600)
        self.keys["client"].write_private_key(root / "client")
        (root / "gateway.toml").write_text(
            SETTINGS.format(
                data=self.data, workers=workers, retry_seconds=retry_seconds, reserve=reserve, store=str(store).lower()
            )
        )
        self.use_feeds("people")
        self.process: subprocess.Popen[str] | None = None
        self.port = 0
        self.deaths = 0
        self.before_restart: Callable[[], None] = lambda: None

    def use_feeds(self, *feeds: str) -> None:
        """The feeds of the tenant from now on; the gateway takes them at the next login, or within a second."""
        key = self.keys["client"].export_public_key().decode().strip()
        text = TENANT.format(key=key) + "".join(FEED.format(feed=feed) for feed in feeds)
        (self.root / "tenants" / ".new").write_text(text)
        (self.root / "tenants" / ".new").replace(self.root / "tenants" / "acme.toml")
        self.feed = feeds[0]

    def ask_for_markers(self) -> None:
        """From now on the feed takes a file only with a marker."""
        path = self.root / "tenants" / "acme.toml"
        (self.root / "tenants" / ".new").write_text(path.read_text() + 'complete_on = "done_marker"\n')
        (self.root / "tenants" / ".new").replace(path)

    def is_held(self) -> bool:
        """Whether a drop is held and its partner can see why."""
        return any(self.outbox.glob("*.status.json"))

    def arm(self, *points: str) -> None:
        """Let the gateway fail at these points, once at each."""
        (self.root / "faults" / "armed").write_text("".join(f"{point}\n" for point in points))

    def armed(self) -> list[str]:
        """The points at which nothing has failed yet."""
        path = self.root / "faults" / "armed"
        return path.read_text().splitlines() if path.exists() else []

    def set_fault(self, **settings: float) -> None:
        """What `faulty.setting` reads."""
        (self.root / "faults" / ".new").write_text(json.dumps(settings))
        (self.root / "faults" / ".new").replace(self.root / "faults" / "settings.json")

    def start(self) -> subprocess.Popen[str]:
        """A gateway that may not be ready yet."""
        with (self.root / "log").open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.faulty", "serve", "--host", "127.0.0.1", "--port", "0"],
                cwd=REPOSITORY,
                env=unmeasured() | {"GATEWAY_CONFIG": str(self.root), "FAULTS": str(self.root / "faults")},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        return self.process

    def serve(self) -> None:
        """Serve, and start again when it died on the way at a point that was armed."""
        self.before_restart()
        while not self._is_ready(self.start()):
            self.see_it_die()

    def _is_ready(self, process: subprocess.Popen[str]) -> bool:
        assert process.stdout is not None
        line = process.stdout.readline()
        if match := re.search(r"listens on 127\.0\.0\.1:(\d+)", line):
            self.port = int(match[1])
            # Points that a worker comes by are for jobs, and it comes by while it warms up.
            until(lambda: f'"process": {process.pid}, ' in self.log() or process.poll() is not None, self.log)
        return match is not None and process.poll() is None

    def see_it_die(self) -> None:
        """Wait for the end of a gateway that was killed at a point."""
        assert self.process is not None
        assert self.process.wait(PATIENCE_SECONDS) == -signal.SIGKILL, self.log()
        self.deaths += 1
        self.kill()

    def has_died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, from outside."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def stop(self) -> None:
        """SIGTERM; what the gateway has in work it finishes."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.log()
        self.kill()

    def workers(self) -> list[int]:
        """The children of the gateway, apart from the one that multiprocessing keeps for itself."""
        assert self.process is not None
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = [pid for thread in threads for pid in thread.read_text().split()]
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def put_locally(self, name: str, content: bytes) -> None:
        """As a program on the gateway's machine does it: written elsewhere, moved into the inbox."""
        until(self.inbox.is_dir)
        (self.root / "moving").write_bytes(content)
        (self.root / "moving").rename(self.inbox / name)

    def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """What the ledger says, read without a lock of ours. No rows while there is no ledger."""
        try:
            connection = sqlite3.connect(f"file:{self.data / 'ledger.db'}?mode=ro", uri=True, timeout=PATIENCE_SECONDS)
        except sqlite3.OperationalError:
            return []
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(sql, parameters)]
        finally:
            connection.close()

    def drops(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM drops WHERE feed = ? ORDER BY id", self.feed)

    def jobs(self) -> list[dict[str, Any]]:
        """With path, generation and sha256 of their drops."""
        return self.rows(
            "SELECT jobs.*, path, generation, sha256 FROM jobs JOIN drops ON drops.id = drop_id "
            "WHERE drops.feed = ? ORDER BY jobs.id",
            self.feed,
        )

    def jobs_of(self, path: str) -> list[dict[str, Any]]:
        return [job for job in self.jobs() if job["path"] == path]

    def is_at_rest(self) -> bool:
        """Whether nothing is left to be done: no upload is open, every drop and every job has ended."""
        open_uploads = self.rows("SELECT 1 FROM uploads WHERE state = 'open'")
        jobs = self.rows("SELECT 1 FROM jobs WHERE status NOT IN ('completed', 'failed')")
        return not open_uploads and not jobs and all(drop["state"] in AT_REST for drop in self.drops())

    def ended(self, count: int = 1) -> list[dict[str, Any]]:
        """The jobs, when there are so many and nothing is left to be done."""
        # The number first: before the file is seen, nothing is left to be done either.
        until(lambda: len(self.jobs()) >= count and self.is_at_rest(), self.log)
        return self.jobs()

    @property
    def inbox(self) -> Path:
        return self.data / "tenants" / "acme" / "inbox" / self.feed

    @property
    def outbox(self) -> Path:
        return self.data / "tenants" / "acme" / "outbox" / self.feed

    def log(self) -> str:
        return (self.root / "log").read_text()
