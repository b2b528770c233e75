"""Validation: a Userpilot import from claimed to published, beside bare polars that reads, sorts and writes it.

The peer gets the same file without its bad rows, since polars fails on them; it checks nothing and writes no report.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from gateway.engine import ALLOCATOR
from scripts.benchmarks.generate import BREAKAGES, generated


def ours(path: Path, out: Path) -> dict[str, Any]:
    """The gateway's pipeline with every rule on: hash, read, validate, order, write, fsync, publish."""
    from gateway import contracts
    from gateway.config import FeedSettings
    from gateway.pipeline.drop import Drop
    from gateway.pipeline.process import outcome_of
    from gateway.pipeline.publish import publish

    contract = contracts.load("userpilot-import")
    start = time.perf_counter()
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    drop = Drop(
        job_id="bench", tenant="bench", feed="bench", name=path.name, generation=1, path=path, sha256=sha256,
        as_of=datetime.now(UTC), uploaded_by=None, contract=contract, policy=FeedSettings(contract=contract.name),
    )  # fmt: skip
    outcome = outcome_of(drop, out / "staging")
    publish(outcome, out / "staging", out / "outbox")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "accepted": outcome.counts.accepted, "rejected": outcome.counts.rejected}


def bare_polars(path: Path, out: Path) -> dict[str, Any]:
    """Scan, sort by time, write in the same format."""
    import polars as pl

    start = time.perf_counter()
    if path.suffix == ".ndjson":
        frame = pl.scan_ndjson(path).sort("inserted_at", maintain_order=True).collect()
        frame.write_ndjson(out / "sorted.ndjson")
    else:
        frame = pl.scan_csv(path, infer_schema=False).sort("inserted_at", maintain_order=True).collect()
        frame.write_csv(out / "sorted.csv")
    return {"seconds": time.perf_counter() - start, "accepted": frame.height, "rejected": 0}


CONTESTANTS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {"gateway": ours, "bare polars": bare_polars}


def without_bad_rows(path: Path) -> Path:
    """What the peer can read: the good rows of the file, byte for byte."""
    good = path.with_name(f"good-{path.name}")
    if not good.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        header = 0 if path.suffix == ".ndjson" else 1
        partial = good.with_suffix(".partial")
        kept = (line for at, line in enumerate(lines) if at < header or (at - header) % 100 != 99)
        partial.write_bytes(b"".join(kept))
        partial.rename(good)
    return good


def run_alone(name: str, path: Path, folder: Path) -> dict[str, Any]:
    """One contestant in a process of its own; its seconds do not count the start of Python and imports."""
    out = Path(tempfile.mkdtemp(dir=folder))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "scripts.benchmarks.validation", name, str(path), str(out)],
            check=True, capture_output=True, text=True, env=os.environ | (ALLOCATOR if name == "gateway" else {}),
        )  # fmt: skip
    finally:
        shutil.rmtree(out)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def compare(form: str, count: int, pairs: int, folder: Path) -> dict[str, Any]:
    """Both contestants in turn, pair by pair."""
    path = generated(folder, form, count)
    files = {"gateway": path, "bare polars": without_bad_rows(path)}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for _ in range(pairs):
        for name in CONTESTANTS:
            runs[name].append(run_alone(name, files[name], folder))
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(runs["gateway"], runs["bare polars"], strict=True)]
    return {
        "what": f"{count:,} rows {form}, {path.stat().st_size / 1e6:.0f} MB, {len(BREAKAGES)} kinds of bad rows",
        "ratio": {"median": median(ratios), "min": min(ratios), "max": max(ratios)},
        **{
            name: {
                key: median(run[key] for run in done)
                for key in ("seconds", "cpu_seconds", "peak_mb", "accepted", "rejected")
            }
            for name, done in runs.items()
        },
    }


def main() -> None:
    name, path, out = sys.argv[1:4]
    result = CONTESTANTS[name](Path(path), Path(out))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result |= {"cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
