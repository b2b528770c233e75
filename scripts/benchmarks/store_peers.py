"""Databases that do the upsert of the store's benchmark: a value and a time for each attribute, the newer one stays.

They run in the virtual environment of the peers (validation_peers.py); this file is also the program that runs there,
and imports nothing of the project.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# The columns of a job's file: of text, and of JSON as it is.
NAMES = (
    "text:Name", "text:Email", "text:Phone", "json:Age", "text:City", "text:Plan", "json:Score", "text:Company",
    "json:Tags", "text:Last seen",
)  # fmt: skip
COLUMNS = [f"{kind}{number}" for number in range(len(NAMES)) for kind in ("v", "t")]
EVENTS = "namespace, identity, name, type, time, properties, row"
# Of each attribute the value with the newer time; `profiles` is the stored row, `new` the one that comes.
NEWER = ", ".join(
    f"v{n} = CASE WHEN new.t{n} >= profiles.t{n} THEN new.v{n} ELSE profiles.v{n} END,"
    f" t{n} = CASE WHEN new.t{n} >= profiles.t{n} THEN new.t{n} ELSE profiles.t{n} END"
    for n in range(len(NAMES))
)


def duckdb(path: Path, rows: Path) -> None:
    """MERGE INTO, which joins; there is no index to keep."""
    import duckdb as database

    connection = database.connect(str(path))
    columns = ", ".join(f"v{n} VARCHAR, t{n} TIMESTAMPTZ" for n in range(len(NAMES)))
    connection.execute(f"CREATE TABLE IF NOT EXISTS profiles (namespace VARCHAR, identity VARCHAR, {columns})")
    quote = {"text": "'\"'", "json": "''"}
    values = ", ".join(
        f'{quote[name[:4]]} || "{name}" || {quote[name[:4]]} AS v{n}, time AS t{n}' for n, name in enumerate(NAMES)
    )
    read = f"SELECT * FROM read_parquet('{rows / 'profiles.parquet'}')"
    connection.execute(
        f"MERGE INTO profiles USING (SELECT namespace, identity, {values} FROM ({read})) AS new"
        " ON profiles.namespace = new.namespace AND profiles.identity = new.identity"
        f" WHEN MATCHED THEN UPDATE SET {NEWER} WHEN NOT MATCHED THEN INSERT"
    )
    if (rows / "events.parquet").exists():
        events = f"SELECT {EVENTS} FROM read_parquet('{rows / 'events.parquet'}')"
        connection.execute(f"CREATE TABLE events AS {events}")
    connection.execute("CHECKPOINT")
    connection.close()


def sqlite(path: Path, rows: Path) -> None:
    """INSERT … ON CONFLICT DO UPDATE by the primary key, all in one transaction."""
    import sqlite3

    connection = sqlite3.connect(path, isolation_level=None)
    columns = ", ".join(f"v{n} TEXT, t{n} INTEGER" for n in range(len(NAMES)))
    key = "PRIMARY KEY (namespace, identity)"
    connection.execute(f"CREATE TABLE IF NOT EXISTS profiles (namespace TEXT, identity TEXT, {columns}, {key})")
    connection.execute("CREATE TABLE IF NOT EXISTS events (namespace, identity, name, type, time, properties, row)")
    connection.execute("BEGIN")
    marks = ", ".join("?" * (2 + len(COLUMNS)))
    update = NEWER.replace("new.", "excluded.")
    connection.executemany(
        f"INSERT INTO profiles VALUES ({marks}) ON CONFLICT DO UPDATE SET {update}",
        profiles_of(rows / "profiles.parquet"),
    )
    if (rows / "events.parquet").exists():
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", events_of(rows / "events.parquet"))
    connection.execute("COMMIT")
    connection.close()


def profiles_of(path: Path) -> Iterator[tuple[Any, ...]]:
    """namespace, identity, and value and time of each attribute."""
    import polars as pl

    texts = [name for name in NAMES if name.startswith("text:")]
    frame = pl.scan_parquet(path).with_columns(
        pl.col("time").to_physical(), *(pl.format('"{}"', pl.col(name)).alias(name) for name in texts)
    )
    for part in slices(frame.select("namespace", "identity", "time", *NAMES)):
        for namespace, identity, time_of, *found in part.iter_rows():
            yield (namespace, identity, *(one for value in found for one in (value, time_of)))


def events_of(path: Path) -> Iterator[tuple[Any, ...]]:
    import polars as pl

    frame = pl.scan_parquet(path).with_columns(pl.col("time").to_physical()).select(EVENTS.split(", "))
    for part in slices(frame):
        yield from part.iter_rows()


def slices(frame: Any) -> Iterator[Any]:
    start = 0
    while (part := frame.slice(start, 100_000).collect()).height:
        yield part
        start += part.height


PEERS: dict[str, Callable[[Path, Path], None]] = {"duckdb": duckdb, "sqlite": sqlite}


def main() -> None:
    name, home, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    stored = home / f"{name}.db"
    if what == "base":
        partial = home / f"{name}.partial"
        partial.unlink(missing_ok=True)
        PEERS[name](partial, home / "base")
        partial.rename(stored)
        print(json.dumps({}))
        return
    copy = home / f"{name}.copy"
    shutil.copyfile(stored, copy)
    start = time.perf_counter()
    PEERS[name](copy, home / "job")
    seconds = time.perf_counter() - start
    copy.unlink()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    found = {"seconds": seconds, "peak_mb": usage.ru_maxrss / 1024}
    print(json.dumps(found | {"cpu_seconds": usage.ru_utime + usage.ru_stime}))


if __name__ == "__main__":
    main()
