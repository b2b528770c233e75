"""`scripts/fuzz` for some seconds: the same cases each time. And that it finds what is wrong on purpose."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from random import Random

import pytest

from scripts.fuzzing import requests, wire
from scripts.fuzzing.site import Site
from tests.conftest import unmeasured

SCRIPT = Path(__file__).parents[1] / "scripts" / "fuzz"


@pytest.mark.timeout(400)
def test_nothing_that_a_client_can_send_hurts_the_gateway_or_another_partner(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    done = subprocess.run(
        [SCRIPT, "--cases", "250", "--seed", "5", "--folder", tmp_path / "fuzz", "--json", result],
        env=unmeasured(), capture_output=True, text=True, check=False, timeout=380,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text())
    assert found["findings"] == []
    assert all(count > 0 for count in found["cases"].values())
    assert len(found["cases"]) == 5
    assert found["canary_rounds"] > 20
    assert not (tmp_path / "fuzz").exists()


def test_a_seed_and_a_number_are_the_same_case_each_time() -> None:
    def sent(number: int) -> list[bytes]:
        pick = Random(f"5 {number}")
        return [requests.request(1, requests.Handles([]), pick), *wire.conversation(pick)]

    assert [sent(number) for number in range(50)] == [sent(number) for number in range(50)]
    assert sent(1) != sent(2)


def test_a_touch_outside_and_an_error_in_the_log_are_found(tmp_path: Path) -> None:
    site = Site(tmp_path / "fuzz")
    site.make()
    before = site.snapshot()
    assert site.snapshot() == before
    (site.root / "outside" / "deep" / "secret").touch()
    (site.root / "outside" / "new").symlink_to("deep")
    now = site.snapshot()
    assert {name for name in now if before.get(name) != now[name]} >= {"outside/deep/secret", "outside/new"}
    lines = [json.dumps({"level": level, "event": "x"}) for level in ("info", "warning", "error")]
    site.log.write_text("\n".join([*lines, "Traceback (most recent call last):"]))
    assert site.complaints() == [lines[2], "Traceback (most recent call last):"]
