"""Memory: how much of it a file of 1 GiB takes, and one of 5 GiB, and whether time grows as the file does.

The files are those of the validation benchmark, 2 % of their rows bad. Each job runs in a worker process as in the
gateway, and what is measured is the most that the process had resident, mapped files included.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from gateway.engine import ALLOCATOR
from scripts.benchmarks.generate import generated

GIB = 1 << 30
SIZES = (GIB, 5 * GIB)
QUICK_SIZES = (16 << 20, 48 << 20)
# Under QUICK_SIZES, so that small files go the way of large ones.
QUICK_WHOLE_BYTES = 8 << 20
BLOCK_ROWS = 50_000
QUICK_BLOCK_ROWS = 5_000
# Of the generator's rows one in a hundred is bad; as many more are made so here.
GOOD_TIME, BAD_TIME = b'"2024-', b'"2024/'


@dataclass(frozen=True, slots=True)
class Run:
    """One job: seconds from its begin to its results, and the most memory that its process had."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    accepted: int
    rejected: int


def large_file(folder: Path, form: str, size: int, block_rows: int) -> Path:
    """A file of that size, made of one block of rows again and again, with other ids and seconds each time."""
    path = folder / f"memory-{size}.{form}"
    if path.exists():
        return path
    block = with_more_bad_rows(generated(folder, form, block_rows).read_bytes(), form)
    header, block = block.split(b"\n", 1) if form == "csv" else (b"", block)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(header + b"\n" if header else b"")
        for number in count():
            if file.tell() >= size:
                break
            file.write(block.replace(b"User-", b"User-%04d-" % number).replace(b":00.", b":%02d." % (number % 60)))
    partial.rename(path)
    return path


def with_more_bad_rows(block: bytes, form: str) -> bytes:
    """The block with the time of every hundredth row broken."""
    lines = block.splitlines(keepends=True)
    for at in range(50, len(lines), 100):
        lines[at] = lines[at].replace(b"2024-", b"2024/") if form == "csv" else lines[at].replace(GOOD_TIME, BAD_TIME)
    return b"".join(lines)


def run_alone(path: Path, folder: Path, whole_bytes_max: int | None) -> Run:
    """The job in a process of its own, whose start and imports are not counted."""
    out = Path(tempfile.mkdtemp(dir=folder))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "scripts.benchmarks.memory", str(path), str(out), str(whole_bytes_max or "")],
            check=True, capture_output=True, text=True, env=os.environ | ALLOCATOR,
        )  # fmt: skip
    finally:
        shutil.rmtree(out)
    return Run(**json.loads(done.stdout))


def compare(pairs: int, folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Both sizes of both formats, `pairs` times; files are removed behind it, since they are large."""
    sizes, rows = (QUICK_SIZES, QUICK_BLOCK_ROWS) if quick else (SIZES, BLOCK_ROWS)
    return [
        compared(folder, form, sizes, rows, pairs, QUICK_WHOLE_BYTES if quick else None) for form in ("ndjson", "csv")
    ]


def compared(
    folder: Path, form: str, sizes: tuple[int, int], rows: int, pairs: int, whole_bytes_max: int | None
) -> dict[str, Any]:
    """The best of some runs of each size, and how many times longer a byte of the large one takes."""
    found = []
    for size in sizes:
        path = large_file(folder, form, size, rows)
        try:
            best = min((run_alone(path, folder, whole_bytes_max) for _ in range(pairs)), key=lambda run: run.seconds)
            found.append(asdict(best) | {"mb": path.stat().st_size / 1e6, "per_gib": best.seconds * GIB / size})
        finally:
            path.unlink()
    return {"what": f"{form}, 2 % bad rows", "runs": found, "ratio": found[1]["per_gib"] / found[0]["per_gib"]}


def job(path: Path, out: Path, whole_bytes_max: int | None) -> Run:
    """From the claimed file to its staged results; the hash and the publication are not the worker's."""
    from gateway import contracts
    from gateway.config import FeedSettings
    from gateway.pipeline.drop import Drop
    from gateway.pipeline.process import outcome_of
    from gateway.pipeline.warm import warm_up

    warm_up()
    contract = contracts.load("userpilot-import")
    drop = Drop(
        job_id="bench", tenant="bench", feed="bench", name=path.name, generation=1, path=path, sha256="",
        as_of=datetime.now(UTC), uploaded_by=None, contract=contract, policy=FeedSettings(contract=contract.name),
    )  # fmt: skip
    drop = drop if whole_bytes_max is None else replace(drop, whole_bytes_max=whole_bytes_max)
    start, cpu = time.perf_counter(), time.process_time()
    counts = outcome_of(drop, out / "staging").counts
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Run(seconds, cpu, peak_mb(), counts.accepted, counts.rejected)


def peak_mb() -> float:
    """The most that this process has had resident, in MB; it has no children."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


def main() -> None:
    path, out, whole = sys.argv[1:4]
    print(json.dumps(asdict(job(Path(path), Path(out), int(whole) if whole else None))))


if __name__ == "__main__":
    main()
