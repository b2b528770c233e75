"""The scripts of scripts/, run as a newcomer runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run, unmeasured

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file() and path.suffix != ".md")


def environment(demo: Path) -> dict[str, str]:
    return unmeasured() | {"GATEWAY_DEMO_DIR": str(demo)}


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_every_script_is_executable_and_bash(script: Path) -> None:
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True, timeout=60)


def test_the_readme_has_a_line_for_every_script() -> None:
    lines = (ROOT / "scripts" / "README.md").read_text().splitlines()
    assert {line.split("`")[1] for line in lines} == {f"scripts/{path.name}" for path in SCRIPTS}


def benchmark(only: str, folder: Path) -> list[dict[str, Any]]:
    """What one measure finds on small sizes and without peers; how fast it is does not matter here."""
    done = subprocess.run(
        [ROOT / "scripts" / "bench", "--quick", "--without-peers", "--json", "--only", only, "--folder", folder],
        env=unmeasured(), check=True, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout)[only]
    return found


def test_the_benchmark_of_validation_runs(tmp_path: Path) -> None:
    for result in benchmark("validation", tmp_path):
        assert result["gateway"]["accepted"] + result["gateway"]["rejected"] == 20_000
        assert result["bare polars"]["accepted"] == 19_800


def test_the_benchmark_of_transfers_runs(tmp_path: Path) -> None:
    found = benchmark("transfer", tmp_path)
    assert {result["what"] for result in found} >= {"put by paramiko", "put by asyncssh"}
    assert all(result["servers"]["gateway"]["MiB/s"] > 0 for result in found)


def test_the_benchmark_of_logins_runs(tmp_path: Path) -> None:
    *logins, idle = benchmark("logins", tmp_path)
    assert all(result["servers"]["gateway"]["logins/s"] > 0 for result in logins)
    assert idle["servers"]["gateway"]["MB"] > 0


def test_the_benchmark_of_drops_runs(tmp_path: Path) -> None:
    with_store, without, *rates = (sorted(result["figures"]) for result in benchmark("drops", tmp_path))
    assert with_store == without == ["99th % ms", "max ms", "median ms"]
    assert rates == [["jobs/s", "seconds"]] * 3


def test_the_benchmark_of_neighbours_runs(tmp_path: Path) -> None:
    found = benchmark("neighbour", tmp_path)
    assert [result["what"] for result in found] == ["small drops", "large upload"]
    assert all(result["alone"] > 0 and result["attacked"] > 0 for result in found)


def test_the_benchmark_of_the_start_runs(tmp_path: Path) -> None:
    assert [result["what"] for result in benchmark("start", tmp_path)] == ["--help", "serve, first", "serve, again"]


def test_the_benchmark_of_the_store_runs(tmp_path: Path) -> None:
    large, *small = benchmark("store", tmp_path)
    assert len(small) == 3
    assert sorted(large["who"]) == ["bare polars", "gateway", "polars that merges"]
    assert all(one["seconds"] > 0 for result in (large, *small) for one in result["who"].values())


def test_the_benchmark_of_memory_runs(tmp_path: Path) -> None:
    runs = [run for result in benchmark("memory", tmp_path) for run in result["runs"]]
    assert len(runs) == 4
    assert all(run["peak_mb"] > 0 and run["rejected"] > 0 for run in runs)


def test_a_second_setup_changes_nothing() -> None:
    subprocess.run([ROOT / "scripts" / "setup"], check=True, timeout=600)
    before = {name: (ROOT / ".venv" / name).stat().st_mtime_ns for name in ("lock", "project", "pyvenv.cfg")}
    again = subprocess.run([ROOT / "scripts" / "setup"], check=True, capture_output=True, text=True, timeout=60)
    assert again.stdout + again.stderr == ""
    assert {name: (ROOT / ".venv" / name).stat().st_mtime_ns for name in before} == before


def test_no_python_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    done = subprocess.run(
        ["/bin/bash", ROOT / "scripts" / "setup", "--find-python"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed and was not found" in done.stderr


def test_without_root_the_missing_programs_are_named(tmp_path: Path) -> None:
    """A machine without sftp, as a user who is not root: `id` and the programs come from a folder of our own."""
    for name in ("dirname", "bash", "cat", "sha256sum", "sort", "apt-get"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    (tmp_path / "id").write_text("#!/bin/bash\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", ROOT / "scripts" / "setup", "--for-tests"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        "sudo apt-get install curl fuse3 lftp nodejs npm openssh-client putty-tools rclone sqlite3 sshfs" in done.stderr
    )


@pytest.mark.timeout(300)
def test_run_once_shows_reports_that_came_over_sftp(gateway: Run, tmp_path: Path) -> None:
    """The second time the events are stored already."""
    demo = tmp_path / "a demo"
    for generation, events, clicks in ((1, "4 accepted", "3 accepted"), (2, "4 duplicate", "1 accepted, 2 duplicate")):
        done = subprocess.run(
            [ROOT / "scripts" / "run", "--once", "--port", "0"],
            env=environment(demo), capture_output=True, text=True, check=False, timeout=250,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "clevertap-profiles.csv: completed, some rows rejected (3 rows, 2 accepted, 1 rejected)" in done.stdout
        assert "phone_not_digits" in done.stdout
        assert f"clevertap-events.csv: completed, all rows accepted (4 rows, {events})" in done.stdout
        assert "userpilot-import.ndjson: completed, all rows accepted (2 rows, 2 accepted)" in done.stdout
        assert f"userpilot-import.csv: completed, all rows accepted (3 rows, {clicks})" in done.stdout
        jobs = json.loads(gateway("jobs", "--json", "--config", demo).stdout)
        assert [job["status"] for job in jobs] == ["completed"] * 4 * generation


@pytest.fixture
def kept_serving(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`scripts/run` in a process group of its own, as a terminal would start it."""
    process = subprocess.Popen(
        [ROOT / "scripts" / "run", "--port", "0"],
        env=environment(tmp_path / "demo"), stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdout.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.timeout(300)
def test_run_keeps_serving_until_ctrl_c(kept_serving: subprocess.Popen[str], gateway: Run, tmp_path: Path) -> None:
    assert kept_serving.stdout is not None
    said = []
    for line in kept_serving.stdout:
        said.append(line)
        if line.startswith("Serving until Ctrl-C"):
            break
    start = next(number for number, line in enumerate(said) if "gateway drop conf/examples" in line and "\\" in line)
    typed = "".join(said[start : start + 2]).replace("\\\n", " ")
    drop = subprocess.run(["bash", "-c", typed], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert drop.returncode == 1, drop.stderr
    assert "some rows rejected" in drop.stdout
    os.killpg(kept_serving.pid, signal.SIGINT)
    assert kept_serving.wait(timeout=100) == 0
    log = (tmp_path / "demo" / "gateway.log").read_text()
    assert log.rstrip().endswith("stopped")


def test_run_says_when_the_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [ROOT / "scripts" / "run", "--once"],
            env=environment(tmp_path / "demo") | {"GATEWAY_DEMO_PORT": str(taken.getsockname()[1])},
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
    assert done.returncode == 3
    assert "is taken. Choose another: scripts/run --port 2223" in done.stderr


def test_run_refuses_what_it_does_not_know() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "run", "--twice"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (64, "usage: scripts/run [--once] [--port N]\n")
