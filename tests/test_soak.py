"""`scripts/soak` for a minute; and its check, which finds what is made wrong on purpose."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import unmeasured

SCRIPT = Path(__file__).parents[1] / "scripts" / "soak"
FAULTS = ("lost", "doubled", "torn")
PROCESSED = """
    SELECT path FROM drops JOIN jobs ON drop_id = drops.id
    WHERE status = 'completed' AND duplicate_of IS NULL AND rejected_rows = 0 AND path LIKE '%.csv' ORDER BY path
"""


def soak(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, numbers, and what was printed."""
    result = folder.with_suffix(".json")
    done = subprocess.run(
        [SCRIPT, "--folder", folder, "--json", result, *arguments],
        env=unmeasured(), capture_output=True, text=True, check=False, timeout=800,
    )  # fmt: skip
    assert result.exists(), done.stdout + done.stderr
    return done.returncode, json.loads(result.read_text()), done.stdout


@pytest.mark.timeout(900)
def test_every_acknowledged_upload_has_one_outcome_however_often_the_gateway_is_killed(tmp_path: Path) -> None:
    code, found, printed = soak(tmp_path / "soak", "--minutes", "1", "--clients", "8", "--seed", "7")
    assert code == 0, printed
    assert found["kills_survived"] >= 5
    assert found["acknowledged"] == found["outcomes"] > 50
    assert [found[fault] for fault in FAULTS] == [0, 0, 0]
    assert len(found["programs"]) == 8
    assert found["processed"] > found["duplicate"] > 0
    lines = [line.split() for line in printed.splitlines()]
    names = next(number for number, words in enumerate(lines) if words[:1] == ["uploads"])
    assert lines[names][-3:] == list(FAULTS)
    assert lines[names + 1][-3:] == ["0", "0", "0"]
    assert not (tmp_path / "soak").exists()


@pytest.mark.timeout(900)
def test_what_is_lost_and_doubled_is_found_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "soak"
    code, _, printed = soak(folder, "--minutes", "0.2", "--clients", "4", "--keep")
    assert code == 0, printed
    with closing(sqlite3.connect(folder / "gateway" / "data" / "ledger.db")) as ledger, ledger:
        twice, cut, moved = (path for (path,) in ledger.execute(PROCESSED).fetchmany(3))
        ledger.execute("UPDATE drops SET path = 'elsewhere.csv' WHERE path = ?", (moved,))
    for name in (twice, cut):
        (accepted,) = (folder / "gateway").rglob(f"{name}.accepted.csv")
        *others, last = accepted.read_bytes().splitlines(keepends=True)
        accepted.write_bytes(b"".join([*others, last, last] if name == twice else others))
    code, found, printed = soak(folder, "--check")
    assert (code, [found[fault] for fault in FAULTS]) == (1, [2, 1, 0]), printed
    said = {
        (finding["kind"], name)
        for finding in found["findings"]
        for name in (twice, cut, moved)
        if name in finding["said"]
    }
    assert said == {("doubled", twice), ("lost", cut), ("lost", moved)}
    assert f"people/{moved}, sha256 " in printed
    assert "client " in printed
