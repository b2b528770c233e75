"""What tests of several parts share: a configured directory, and the gateway as a real process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway.ledger.states import DRY_RUN_FOLDER
from gateway.sftp import host_keys

Run = Callable[..., subprocess.CompletedProcess[str]]

# A test of a minute or two that begins last would leave one of two cores idle in the end.
LONGEST = ("test_soak.py", "test_fuzz.py", "test_scripts.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; all others stay in their order."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture
def gateway(tmp_path: Path) -> Run:
    """Run the command as a user does: `gateway("tenant", "list", "--config", root)`; returns what came of it."""

    def run(*arguments: str | Path, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            input=given,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=clean_environment() | variables,
            timeout=100,
            check=False,
        )

    return run


def give_host_keys(root: Path) -> None:
    """The host keys that `gateway init` would make, and leaves alone when they are there: a new RSA key takes long."""
    folder = root / "host_keys"
    folder.mkdir(mode=0o700, parents=True)
    for name, content in made_once().items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)


@functools.cache
def made_once() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("ed25519", "rsa"):
            host_keys.make(Path(folder) / f"ssh_host_{kind}_key", kind)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def standing(inbox: Path) -> list[str]:
    """The names in an inbox, but for the folder for dry runs, which is always there."""
    return sorted({path.name for path in inbox.iterdir()} - {DRY_RUN_FOLDER})


def command(*arguments: str | Path) -> Sequence[str]:
    return [sys.executable, "-m", "gateway", *map(str, arguments)]


def clean_environment() -> dict[str, str]:
    """The environment without settings of a gateway that runs on this machine."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}


def unmeasured() -> dict[str, str]:
    """As clean, and without a measuring of coverage: who is killed writes none down, and is only slowed by it."""
    return {name: value for name, value in clean_environment().items() if not name.startswith("COVERAGE_")}
