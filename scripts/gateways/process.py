"""A gateway that a script serves with: its keys, and its process, in a process group of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import asyncssh


class DoesNotServe(SystemExit):
    """The gateway ended, or did not accept, while nobody killed it. Uncaught, it ends the script with its words."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway", *arguments]


def environment(root: Path) -> dict[str, str]:
    """The environment with the settings of this gateway and of no other."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return clean | {"GATEWAY_CONFIG": str(root)}


def make_keys(root: Path) -> str:
    """A host key, and the key `<root>/client`, whose public half is returned as users have it."""
    (root / "host_keys").mkdir(parents=True)
    for path in (root / "host_keys" / "ssh_host_ed25519_key", root / "client"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(path)
        path.chmod(0o600)
    return key.export_public_key().decode().strip()


class GatewayProcess:
    """At most one gateway at a time that serves `root`; what it says goes into `log`."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root = root
        self.log = log
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def begin(self, *arguments: str, out: int | None = None) -> subprocess.Popen[str]:
        """Start it; it may not be ready yet. What it prints goes into the log, or where `out` says."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command("serve", *arguments),
                env=environment(self.root), stdout=log if out is None else out, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip
        return self._process

    def serve(self) -> int:
        """Start it on a free port of this machine; the port, when it listens."""
        process = self.begin("--host", "127.0.0.1", "--port", "0", out=subprocess.PIPE)
        said = process.stdout.readline() if process.stdout is not None else ""
        found = re.search(r"listens on [^ ]*:(\d+)", said)
        if found is None:
            raise DoesNotServe(f"the gateway does not serve; its log is {self.log}")
        return int(found[1])

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, seconds_max: float) -> bool:
        """SIGTERM; True when it ended well and in time. Nothing that was started here goes on."""
        if self._process is None:
            return True
        self._process.terminate()
        try:
            return self._process.wait(seconds_max) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.kill(group=True)

    def kill(self, *, group: bool) -> None:
        """SIGKILL, for its workers too or for its main process only; returns when the main process is gone."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self._process.pid, signal.SIGKILL)
            self._process.wait()
