"""The keys by which a partner recognises a gateway: known_hosts is asked, and never guessed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import paramiko

from gateway.errors import NotDelivered


@dataclass(frozen=True, slots=True)
class HostKeys:
    """A known_hosts file, and whether a key that it does not have may be added."""

    path: Path
    accept_new: bool = False

    def prepare(self, client: paramiko.SSHClient) -> None:
        """Make the client trust just what the file says."""
        if self.path.exists():
            client.load_host_keys(str(self.path))
        client.set_missing_host_key_policy(NewKey(self))

    def changed(self, error: paramiko.BadHostKeyException) -> NotDelivered:
        """The host has another key than the file says: perhaps somebody stands in between."""
        return NotDelivered(
            f"{error.hostname} is not the gateway that {self.path} knows, so nothing was sent.\n"
            f"Its key is {error.key.get_name()} {error.key.fingerprint}\n"
            f"and should be {error.expected_key.get_name()} {error.expected_key.fingerprint}\n"
            "Ask the gateway's operator before you trust it."
        )


class NewKey(paramiko.MissingHostKeyPolicy):
    """What happens when the file has no key of a host."""

    def __init__(self, host_keys: HostKeys) -> None:
        self._host_keys = host_keys

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        line = f"{hostname} {key.get_name()} {key.get_base64()}"
        path = self._host_keys.path
        if self._host_keys.accept_new:
            append(path, line)
            return
        raise NotDelivered(
            f"{hostname} is not in {path}, so nothing was sent.\n"
            f"Its key is {key.get_name()} {key.fingerprint}\n"
            "Ask the gateway's operator whether that is right. If it is, trust it with\n"
            f"  echo {shlex.quote(line)} >> {shlex.quote(str(path))}\n"
            "or run this command again with --accept-new."
        )


def append(path: Path, line: str) -> None:
    """Add a line, and leave all that is there as it is."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    separator = "" if before.endswith("\n") or not before else "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{separator}{line}\n")
