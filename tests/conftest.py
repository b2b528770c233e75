"""What tests of several parts share: a configured directory, and the gateway as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


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


def command(*arguments: str | Path) -> Sequence[str]:
    return [sys.executable, "-m", "gateway", *map(str, arguments)]


def clean_environment() -> dict[str, str]:
    """The environment without settings of a gateway that runs on this machine."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}


def unmeasured() -> dict[str, str]:
    """The environment without a measuring of coverage: who is killed writes none down, and is only slowed by it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
