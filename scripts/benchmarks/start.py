"""Start: how long `gateway --help` takes, and `gateway serve` until it listens, beside a Python that does nothing.

Two tenants, so that the gateway also waits for the worker of the patient slot. The first start makes the ledger, the
next one finds it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from scripts.benchmarks.serving import Serving


def compare(pairs: int, folder: Path, *, quick: bool = False) -> list[dict[str, Any]]:
    """Each in turn, `pairs` times: the median, the least and the most seconds, and the bare Python's median beside."""
    runs: dict[str, list[float]] = {"bare Python": [], "--help": [], "serve, first": [], "serve, again": []}
    for _ in range(1 if quick else pairs):
        runs["bare Python"].append(seconds_of(lambda: run("-c", "pass")))
        runs["--help"].append(seconds_of(lambda: run("-m", "gateway", "--help")))
        root = Path(tempfile.mkdtemp(dir=folder))
        serving = Serving(root)
        for name in ("serve, first", "serve, again"):
            runs[name].append(seconds_of(serving.__enter__))
            serving.__exit__()
        shutil.rmtree(root)
    bare = median(runs.pop("bare Python"))
    return [
        {"what": name, "median": median(done), "min": min(done), "max": max(done), "bare Python": bare}
        for name, done in runs.items()
    ]


def seconds_of(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
