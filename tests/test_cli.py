"""The root command: help without waiting, and exit codes that scripts can rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from gateway import __version__
from gateway.cli import COMMANDS, Commands
from gateway.cli import gateway as root_command
from tests.conftest import Run

HEAVY = ("polars", "numpy", "asyncssh", "paramiko", "sqlite_utils", "watchdog", "pydantic", "deltalake")


def test_help_names_every_command(gateway: Run) -> None:
    done = gateway("--help")
    assert done.returncode == 0
    assert [
        line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line[2:3].strip()
    ] == list(COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    source = (
        "import sys\nfrom gateway.cli import gateway\n"
        "try:\n    gateway(['--help'])\nexcept SystemExit: pass\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_imported_and_is_described_alike(name: str) -> None:
    assert isinstance(root_command, Commands)
    command = root_command.get_command(click.Context(root_command), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_the_version_is_the_packages(gateway: Run) -> None:
    assert gateway("--version").stdout == f"gateway, version {__version__}\n"


def test_an_unknown_command_is_wrong_usage_and_the_likely_one_is_named(gateway: Run) -> None:
    done = gateway("sreve")
    assert done.returncode == 64
    assert "No such command 'sreve'" in done.stderr
    assert "'serve'" in done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["--nope"], ["tenant", "add"], ["tenant", "add", "acme", "--nope"], ["user"]]
)
def test_wrong_usage_exits_with_64(gateway: Run, arguments: list[str]) -> None:
    assert gateway(*arguments).returncode == 64


def test_what_cannot_be_done_exits_with_3_and_one_message(gateway: Run, tmp_path: Path) -> None:
    done = gateway("tenant", "list")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        f"Error: {tmp_path}/gateway.toml: there is no such file; `gateway init {tmp_path}` makes one\n"
    )
