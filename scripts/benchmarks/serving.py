"""A serving gateway for benchmarks: two tenants, default limits, a data directory that is new each time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import asyncssh

# One attacker alone may not have all connections of his tenant.
USERS = {"victim": ("victim-one",), "attacker": ("attacker-one", "attacker-two")}
SETTINGS = """
[pickup]
settle_seconds = 0
[log]
level = "error"
"""
USER = '[users.{user}]\nemail = "{user}@example.test"\nrole = "creator"\nkeys = ["{key}"]\n'
FEED = '[feeds.people]\ncontract = "clevertap-profiles"\non_duplicate = "process"\n'


class Serving:
    """A gateway below `root`, in a process group of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = root / "client"
        self.port = 0
        for name in ("tenants", "host_keys"):
            (root / name).mkdir(parents=True)
        host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        host.write_private_key(root / "host_keys" / "ssh_host_ed25519_key")
        client.write_private_key(self.key)
        for path in (root / "host_keys" / "ssh_host_ed25519_key", self.key):
            path.chmod(0o600)
        public = client.export_public_key().decode().strip()
        (root / "gateway.toml").write_text(SETTINGS)
        for tenant, users in USERS.items():
            tables = [USER.format(user=user, key=public) for user in users]
            (root / "tenants" / f"{tenant}.toml").write_text("".join(tables) + FEED)

    def __enter__(self) -> Serving:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", "0"],
                env=clean | {"GATEWAY_CONFIG": str(self.root)},
                stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        said = self._process.stdout.readline() if self._process.stdout is not None else ""
        found = re.search(r"listens on [^ ]*:(\d+)", said)
        if found is None:
            raise SystemExit(f"the gateway does not serve; its log is {self.root / 'log'}")
        self.port = int(found[1])
        return self

    def __exit__(self, *_: object) -> None:
        """Not by SIGTERM: it would finish what the attacker has begun."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def outbox(self, tenant: str) -> Path:
        return self.root / "data" / "tenants" / tenant / "outbox" / "people"
