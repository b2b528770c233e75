"""The gateway that is fuzzed: three tenants, a folder beside them that nobody may touch, and its process."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import paramiko

from scripts.gateways.process import GatewayProcess, make_keys

HOST = "127.0.0.1"
ATTACKER, CANARY, OWNER = "acme-fuzz", "rival-canary", "third-owner"
TENANTS = {"acme": ATTACKER, "rival": CANARY, "third": OWNER}
FEED = "people"
LOGIN_SECONDS_MAX, IDLE_SECONDS = 6, 10
STOP_SECONDS_MAX = 60.0
# Room for the fuzz itself; what a session may take is as it is by default. Short times, so that each cut is waited for.
SETTINGS = f"""
[sftp]
login_seconds_max = {LOGIN_SECONDS_MAX}
keepalive_seconds = 5
[limits]
unauthenticated_max_per_address = 100
connections_max_per_user = 100
idle_seconds = {IDLE_SECONDS}
[pickup]
settle_seconds = 0.2
[log]
format = "json"
"""
TENANT = """
[users.{user}]
email = "{user}@example.test"
role = "admin"
keys = ["{key}"]
[feeds.people]
contract = "clevertap-profiles"
drop_bytes_max = 16777216
[feeds.events]
contract = "clevertap-events"
"""
SECRET = b"nobody outside reads this\n"


class Site:
    """A configured directory and the gateway that serves it, as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.log = folder / "gateway.log"
        self.port = 0
        self._process = GatewayProcess(folder, self.log)

    def make(self) -> None:
        for name in ("tenants", "data", "outside/deep"):
            (self.root / name).mkdir(parents=True)
        public = make_keys(self.root)
        self.key = paramiko.Ed25519Key(filename=str(self.root / "client"))
        (self.root / "gateway.toml").write_text(SETTINGS)
        for tenant, user in TENANTS.items():
            (self.root / "tenants" / f"{tenant}.toml").write_text(TENANT.format(user=user, key=public))
        (self.root / "outside" / "deep" / "secret").write_bytes(SECRET)
        (self.root / "outside" / "link").symlink_to(self.root / "outside" / "deep" / "secret")

    def plant(self) -> None:
        """What a user must not reach: another tenant's files, and links out of his own inbox."""
        third = self.tree("third")
        (third / "outbox" / FEED / "theirs.csv.report.json").write_bytes(SECRET)
        (third / "inbox" / FEED / "theirs.csv.part").write_bytes(SECRET)
        own = self.tree("acme") / "inbox" / FEED
        (own / "way").symlink_to(self.root / "outside")
        (own / "secret.csv").symlink_to(self.root / "outside" / "deep" / "secret")
        (self.tree("acme") / "outbox" / FEED / "big.accepted.csv").write_bytes(b"0123456789abcdef" * 262_144)

    def tree(self, tenant: str) -> Path:
        return self.root / "data" / "tenants" / tenant

    def start(self) -> None:
        """Returns when it listens."""
        self.port = self._process.serve()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def stop(self) -> bool:
        """SIGTERM; True when it ended well and in time. Nothing that was started here goes on."""
        return self._process.stop(STOP_SECONDS_MAX)

    def snapshot(self) -> dict[str, str]:
        """Each file, link and folder that no client may change: name, kind, size, times and hash."""
        changing = ("data/tenants/acme", "data/tenants/rival", "data/spool", "data/ledger", "data/lock", "gateway.log")
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if not name.startswith(changing) and name not in ("data", "data/tenants"):
                status = path.lstat()
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                target = os.readlink(path) if path.is_symlink() else ""
                described = (oct(status.st_mode), status.st_size, status.st_mtime_ns, status.st_nlink, target)
                found[name] = f"{described} {hashlib.sha256(content).hexdigest()}"
        return found

    def complaints(self) -> list[str]:
        """The lines of the log that a client must not be able to cause: errors, and what is no line of ours."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                level = json.loads(line)["level"]
            except (ValueError, KeyError, TypeError):
                level = "not ours"
            if level not in ("debug", "info", "warning"):
                found.append(line)
        return found

    def resident_mb(self) -> float:
        return next(int(line.split()[1]) / 1024 for line in self._status() if line.startswith("VmRSS:"))

    def threads(self) -> int:
        return next(int(line.split()[1]) for line in self._status() if line.startswith("Threads:"))

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def _status(self) -> list[str]:
        return Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
