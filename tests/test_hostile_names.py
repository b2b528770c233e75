"""Names that a terminal would obey, or that read as other names: commands and the log show them as what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

NAME = "\x1b[2J\x9b31m\u202egnp.csv"
LOG = """
import sys, structlog
from gateway import log
from gateway.config import LogSettings
log.configure(LogSettings(format=sys.argv[1]))
structlog.get_logger("gateway").error("job ended", file=sys.argv[2], reason="a line\\nand \\x1b]0;another")
"""


def obeyed(text: str) -> set[str]:
    return {char for char in text if not char.isprintable() and char != "\n"}


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=folder, check=False)


def test_check_and_preview_print_no_character_that_a_terminal_obeys(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('identity,Age,"\x9b1m\u202ex"\n\u202e,old\x1b[1m,\x1b]0;x\n')
    contract = ("--contract", "clevertap-profiles")
    for command in (("check", NAME, *contract), ("preview", NAME, *contract), ("check", NAME, *contract, "--json")):
        ran = run("-m", "gateway", *command, folder=tmp_path)
        assert ran.returncode in (0, 1), ran.stderr
        assert obeyed(ran.stdout + ran.stderr) == set()
    assert json.loads(ran.stdout)


def test_the_log_has_no_character_that_a_terminal_obeys_and_no_line_of_a_partner(tmp_path: Path) -> None:
    for form in ("console", "json"):
        ran = run("-c", LOG, form, NAME, folder=tmp_path)
        assert "job ended" in ran.stderr
        assert obeyed(ran.stderr) == set()
        assert ran.stderr.count("\n") == 1
