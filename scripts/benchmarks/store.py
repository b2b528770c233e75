"""The store: a million profile rows, half new and half updates, into five million profiles, and a million events.

Beside it bare polars, which reads, joins and writes the same tables and merges nothing; polars that writes the same
rows as the gateway; and DuckDB and SQLite, which do the same upsert into tables of their own (store_peers.py). Each
runs in a process of its own. What is stored before is made once, and each run gets its own copy.
"""

from __future__ import annotations

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
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from gateway.engine import ALLOCATOR
from scripts.benchmarks import store_peers
from scripts.benchmarks.store_rows import ATTRIBUTES, updates, write_events, write_profiles
from scripts.benchmarks.tables import spread, table_with
from scripts.benchmarks.validation_peers import installed

STORED, ROWS = 5_000_000, 1_000_000
QUICK_STORED, QUICK_ROWS = 40_000, 10_000
SMALL_JOBS = 7
KEY = ["namespace", "identity"]
# Small jobs into the same store: whom they bring, and how many rows.
SMALL = {"known": (10, 1_000), "new": (1_000,)}
CONTESTANTS = ("gateway", "bare polars", "polars that merges")
Seconds = float


def inputs(folder: Path, stored: int, rows: int) -> Path:
    """The folder with what is stored (`store`), the rows that it was made of (`base`), and the job's (`job`)."""
    import polars as pl

    home = folder / f"store-recent-{stored}-{rows}"
    if (home / "complete").exists():
        return home
    shutil.rmtree(home, ignore_errors=True)
    write_profiles(home / "base", pl.int_range(stored, eager=True), 0)
    write_profiles(home / "job", updates(stored, rows), 100)
    write_events(home / "job", rows, stored)
    for whom, sizes in SMALL.items():
        for number, size in product(range(SMALL_JOBS), sizes):
            at = pl.int_range(number * size, (number + 1) * size, eager=True)
            people = at * 7_919 % stored if whom == "known" else at + stored
            write_profiles(home / f"{whom}-{size}-{number}", people, 200 + number)
            write_events(home / f"{whom}-{size}-{number}", size, stored)
    run([sys.executable, "-m", "scripts.benchmarks.store", "base", home, home / "store"])
    (home / "complete").touch()
    return home


def base(home: Path, store: Path) -> Seconds:
    return committed(store, [home / "base"], 1)[0]


def gateway(home: Path, store: Path) -> Seconds:
    return committed(store, [home / "job"], 2)[0]


def small(home: Path, store: Path, jobs: str) -> Seconds:
    """The median of some jobs; in a gateway too the store stays open, so the first one's time is left out."""
    return median(committed(store, [home / f"{jobs}-{number}" for number in range(SMALL_JOBS)], 2)[1:])


def committed(store: Path, contributions: list[Path], sequence: int) -> list[Seconds]:
    """Each resolved and committed, durably, under this number and those that follow."""
    from gateway.store import Contribution, TenantStore

    found, start = [], time.perf_counter()
    tenant = TenantStore(str(store), "bench")
    for number, folder in enumerate(contributions, sequence):
        job = Contribution(f"job-{number:04d}", "bench", datetime.now(UTC), folder)
        tenant.commit(tenant.prepare(number, [job]))
        found.append(time.perf_counter() - start)
        start = time.perf_counter()
    return found


def bare_polars(home: Path, store: Path) -> Seconds:
    """Read both, join by identity, write all, durably: what a merge cannot do without."""
    import polars as pl

    start = time.perf_counter()
    new = pl.scan_parquet(home / "job" / "profiles.parquet")
    events = pl.scan_parquet(home / "job" / "events.parquet")
    written(store, profiles=stored_profiles(store).join(new, on=KEY, how="full", coalesce=True), events=events)
    return time.perf_counter() - start


def polars_that_merges(home: Path, store: Path) -> Seconds:
    """As bare polars, but it writes the very rows that the gateway does: attributes with time, job and row.

    It compares nothing: each row of the job has every attribute at a newer time, so that the newer row stands for both.
    """
    import polars as pl

    start = time.perf_counter()
    job, as_of = pl.lit("job-0002"), pl.lit(datetime.now(UTC)).cast(pl.Datetime("us", "UTC"))
    old, rows = stored_profiles(store), pl.scan_parquet(home / "job" / "profiles.parquet")
    new = rows.select(*KEY, new=pl.concat_list(pair(name, job) for name in sorted(ATTRIBUTES, key=name_of)))
    same = pl.col("new").is_null()
    joined = old.join(new, on=KEY, how="full", coalesce=True).select(
        *KEY,
        attributes=pl.coalesce(pl.col("new").cast(old.collect_schema()["attributes"]), "attributes"),
        created=pl.coalesce("created", as_of), updated=pl.when(same).then("updated").otherwise(as_of),
        created_by=pl.coalesce("created_by", job), updated_by=pl.when(same).then("updated_by").otherwise(job),
    )  # fmt: skip
    events = pl.scan_parquet(home / "job" / "events.parquet").sort("time")
    written(store, profiles=joined, events=events.with_columns(feed=pl.lit("bench"), job=job, received=as_of))
    return time.perf_counter() - start


def stored_profiles(store: Path) -> Any:
    import polars as pl

    files = sorted((store / "bench" / "profiles").glob("bucket=*/*.parquet"))
    return pl.scan_parquet(files, hive_partitioning=False)


def written(store: Path, **frames: Any) -> None:
    """Each as a durable file."""
    for name, frame in frames.items():
        path = store / f"{name}.parquet"
        frame.sink_parquet(path, compression="zstd", compression_level=1)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def name_of(column: str) -> str:
    """The attribute of a column of the job's file."""
    return column.partition(":")[2]


def pair(column: str, job: Any) -> Any:
    """An attribute as it is stored: its name, and the value with time, job and row."""
    import polars as pl

    value = pl.format('"{}"', pl.col(column)) if column.startswith("text:") else pl.col(column)
    return pl.struct(
        pl.lit(name_of(column)).alias("key"),
        pl.struct(value.alias("value"), "time", job.alias("job"), "row").alias("value"),
    )


OURS: dict[str, Callable[[Path, Path], Seconds]] = {
    "base": base,
    "gateway": gateway,
    **{f"{whom}-{size}": partial(small, jobs=f"{whom}-{size}") for whom, sizes in SMALL.items() for size in sizes},
    "bare polars": bare_polars,
    "polars that merges": polars_that_merges,
}


def run(command: list[str | Path], **variables: str) -> dict[str, float]:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | variables)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_alone(name: str, home: Path) -> dict[str, float]:
    """One contestant on a copy of what is stored; its files are never written again, so that links will do."""
    copy = Path(tempfile.mkdtemp(dir=home))
    try:
        shutil.copytree(home / "store", copy, copy_function=os.link, dirs_exist_ok=True)
        command: list[str | Path] = [sys.executable, "-m", "scripts.benchmarks.store", name, home, copy]
        return run(command, **({} if "polars" in name else ALLOCATOR))
    finally:
        shutil.rmtree(copy)


def run_peer(name: str, home: Path, folder: Path) -> dict[str, float]:
    """One of the databases, on a copy of its own file."""
    command: list[str | Path] = [installed(folder), "-P", store_peers.__file__, name, home]
    if not (home / f"{name}.db").exists():
        run([*command, "base"])
    return run([*command, "job"])


def compare(pairs: int, folder: Path, *, quick: bool, with_peers: bool = True) -> list[dict[str, Any]]:
    """All contestants in turn, and small jobs into the same store."""
    stored, rows = (QUICK_STORED, QUICK_ROWS) if quick else (STORED, ROWS)
    home = inputs(folder, stored, rows)
    who = {name: partial(run_alone, name, home) for name in CONTESTANTS}
    if with_peers:
        who |= {name: partial(run_peer, name, home, folder) for name in store_peers.PEERS}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in who}
    for _ in range(pairs):
        for name, measure in who.items():
            runs[name].append(measure())
    large = result(f"{rows:,} rows and events into {stored:,} profiles", runs)
    few = [
        result(
            f"{size:,} rows of {whom} people and events into {stored:,} profiles",
            {"gateway": [run_alone(f"{whom}-{size}", home) for _ in range(pairs)]},
        )
        for whom, sizes in SMALL.items()
        for size in sizes
    ]
    return [large, *few]


def result(what: str, runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    ours = runs["gateway"]
    return {
        "what": what,
        "who": {
            name: {key: median(one[key] for one in done) for key in done[0]}
            | {"ratio": ratios([a["seconds"] / b["seconds"] for a, b in zip(ours, done, strict=True)])}
            for name, done in runs.items()
        },
    }


def ratios(found: list[float]) -> dict[str, float]:
    return {"median": median(found), "min": min(found), "max": max(found)}


def table_of(results: list[dict[str, Any]]) -> Table:
    table = table_with("what", "who", "seconds", "CPU seconds", "peak MB", "gateway's ratio (min to max)", left=2)
    for one in results:
        for number, (name, found) in enumerate(one["who"].items()):
            table.add_row(
                "" if number else one["what"],
                name,
                f"{found['seconds']:.2f}",
                f"{found['cpu_seconds']:.2f}",
                f"{found['peak_mb']:,.0f}",
                "" if name == "gateway" else spread(found["ratio"]),
            )
    return table


def peak_mb() -> float:
    """The most memory that this program had; what `getrusage` says may be that of the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    name, home, store = sys.argv[1:4]
    seconds = OURS[name](Path(home), Path(store))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    found = {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": peak_mb()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
