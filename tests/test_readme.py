"""README.md shows commands that are there, and files that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import Run

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"^\$ (gateway [^&|\n]+)", TEXT, re.MULTILINE)))
PATHS = sorted(set(re.findall(r"`((?:gateway|conf|scripts)/[\w./-]*)`", TEXT)))


def test_the_two_commands_come_first() -> None:
    first = TEXT.split("```")[1]
    assert [line.split("#")[0].strip() for line in first.splitlines()[1:3]] == ["$ scripts/run", "$ scripts/test"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_exists(gateway: Run, command: str) -> None:
    words = shlex.split(command)[1:]
    group = words[:2] if words[0] in {"tenant", "user", "feed", "contract", "host-keys"} else words[:1]
    shown = gateway(*group, "--help")
    assert shown.returncode == 0
    assert all(option in shown.stdout for option in words if option.startswith("--"))


@pytest.mark.parametrize("path", PATHS)
def test_every_file_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()
