"""Other validators on the same Userpilot CSV: each does a part of the contract, and the table says what is left out.

They are installed into a virtual environment of their own below the folder of the benchmark, and this file is also the
program that runs there: it imports nothing of the project.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

PACKAGES = ("frictionless", "pandera[polars]", "dataframely", "duckdb", "pydantic", "polars")
# These take minutes for the whole file: they get the first tenth of it, and their seconds are scaled.
TENTHS = frozenset({"frictionless", "pydantic loop"})
LEAVES_OUT = {
    "frictionless": "host names, languages, who a row is about, normal forms; writes and sorts nothing",
    "pandera": "short rows, needs of an event type, languages, JSON past its braces, normal forms; no line, no sorting",
    "dataframely": "short rows, needs of an event type, languages, JSON past braces, normal forms; no row, no order",
    "duckdb": "languages, normal forms, a reason for what its WHERE refuses",
    "pydantic loop": "what an event type requires, languages, normal forms; no line in the file, no sorting",
}
KINDS = ("identify_user", "identify_company", "page_view", "track")
SOURCES = (
    "web-client", "backend-http", "backend-hubspot", "backend-salesforce", "backend-segment", "backend-http-import",
)  # fmt: skip
TIME = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|[+-]\d\d:?\d\d))?$"
HOST = r"^([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?$"
OBJECT = r"^\s*\{.*\}\s*$"
Counts = tuple[int, int]


def frictionless(path: Path, out: Path) -> Counts:
    """A Table Schema; returns accepted and rejected rows, as all of these do."""
    from frictionless import Resource, Schema

    names = path.open(encoding="utf-8").readline().strip().split(",")
    rules: dict[str, dict[str, Any]] = {
        "event_type": {"constraints": {"required": True, "enum": list(KINDS)}},
        "source": {"constraints": {"required": True, "enum": list(SOURCES)}},
        "screen_width": {"type": "integer", "constraints": {"minimum": 0}},
        "screen_height": {"type": "integer", "constraints": {"minimum": 0}},
        "inserted_at": {"constraints": {"required": True, "pattern": TIME}},
        "country_code": {"constraints": {"pattern": "[A-Z]{2}"}},
        "metadata": {"type": "object"},
    }
    schema = Schema.from_descriptor({"fields": [{"name": n, "type": "string"} | rules.get(n, {}) for n in names]})
    checked = Resource(path=path.name, basepath=str(path.parent), schema=schema).validate(limit_errors=10**9)
    bad = {error.row_number for task in checked.tasks for error in task.errors if hasattr(error, "row_number")}
    return int(checked.tasks[0].stats.get("rows") or 0) - len(bad), len(bad)


def pandera(path: Path, out: Path) -> Counts:
    """A lazy DataFrameSchema over polars; the rows that fail are found by their index."""
    import pandera.polars as pa
    import polars as pl

    def names_somebody(data: Any) -> pl.LazyFrame:
        found = pl.col("user_id").is_not_null() | pl.col("company_id").is_not_null()
        selected: pl.LazyFrame = data.lazyframe.select(found)
        return selected

    frame = pl.read_csv(path, infer_schema=False).with_row_index()
    nullable = {"nullable": True, "coerce": False}
    schema = pa.DataFrameSchema(
        {
            "event_type": pa.Column(str, pa.Check.isin(KINDS)),
            "source": pa.Column(str, pa.Check.isin(SOURCES)),
            "screen_width": pa.Column(str, pa.Check.str_matches(r"^\d+$"), **nullable),
            "screen_height": pa.Column(str, pa.Check.str_matches(r"^\d+$"), **nullable),
            "inserted_at": pa.Column(str, pa.Check.str_matches(TIME)),
            "country_code": pa.Column(str, pa.Check.str_matches("^[A-WYZ][A-Z]$"), **nullable),
            "hostname": pa.Column(str, pa.Check.str_matches(HOST), **nullable),
            "metadata": pa.Column(str, pa.Check.str_matches(OBJECT), **nullable),
        },
        checks=pa.Check(names_somebody),
    )
    bad: set[int] = set()
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        bad = {at for at in errors.failure_cases["index"].to_list() if at is not None}
    frame.filter(~pl.col("index").is_in(list(bad))).drop("index").write_csv(out / "accepted.csv")
    return frame.height - len(bad), len(bad)


def dataframely(path: Path, out: Path) -> Counts:
    """A Schema whose `filter` gives the good rows and the failures."""
    import dataframely as dy
    import polars as pl

    class Import(dy.Schema):
        event_type = dy.String(nullable=False, regex=f"^({'|'.join(KINDS)})$")
        source = dy.String(nullable=False, regex=f"^({'|'.join(SOURCES)})$")
        screen_width = dy.String(nullable=True, regex=r"^\d+$")
        screen_height = dy.String(nullable=True, regex=r"^\d+$")
        inserted_at = dy.String(nullable=False, regex=TIME)
        country_code = dy.String(nullable=True, regex="^[A-WYZ][A-Z]$")
        hostname = dy.String(nullable=True, regex=HOST)
        metadata = dy.String(nullable=True, regex=OBJECT)
        user_id = dy.String(nullable=True)
        company_id = dy.String(nullable=True)

        @dy.rule()
        def names_somebody(cls) -> pl.Expr:  # noqa: N805  # A rule is a class method of theirs.
            return pl.col("user_id").is_not_null() | pl.col("company_id").is_not_null()

    good, failed = Import.filter(pl.read_csv(path, infer_schema=False))
    good.write_csv(out / "accepted.csv")
    return good.height, len(failed)


def duckdb(path: Path, out: Path) -> Counts:
    """`read_csv` with types and `store_rejects`, then the other rules as a WHERE, sorted and written."""
    import duckdb as database

    names = path.open(encoding="utf-8").readline().strip().split(",")
    types = {"screen_width": "UINTEGER", "screen_height": "UINTEGER", "inserted_at": "TIMESTAMP", "metadata": "JSON"}
    columns = ", ".join(f"'{name}': '{types.get(name, 'VARCHAR')}'" for name in names)
    connection = database.connect()
    read = f"SELECT * FROM read_csv('{path}', header=true, columns={{{columns}}}, store_rejects=true)"
    connection.execute(f"CREATE TABLE rows AS {read}")
    rules = f"""event_type IN {KINDS} AND source IN {SOURCES} AND coalesce(user_id, company_id) IS NOT NULL
        AND (country_code IS NULL OR regexp_full_match(country_code, '[A-WYZ][A-Z]'))
        AND (hostname IS NULL OR regexp_full_match(hostname, '{HOST}')) AND inserted_at IS NOT NULL"""
    good = f"SELECT * FROM rows WHERE {rules} ORDER BY inserted_at"
    connection.execute(f"COPY ({good}) TO '{out / 'accepted.csv'}' (HEADER)")
    counts = f"SELECT (SELECT count(*) FROM rows WHERE {rules}), (SELECT count(*) FROM rows WHERE NOT ({rules}))"
    accepted, refused = connection.execute(counts).fetchall()[0]
    found = connection.execute("SELECT count(DISTINCT line) FROM reject_errors").fetchall()
    return int(accepted), int(refused) + int(found[0][0])


def pydantic_loop(path: Path, out: Path) -> Counts:
    """A model for each row of csv.DictReader."""
    import csv
    from datetime import datetime
    from typing import Annotated, Literal

    from pydantic import BaseModel, Field, Json, ValidationError, model_validator

    class Row(BaseModel):
        event_type: Literal["identify_user", "identify_company", "page_view", "track"]
        source: Literal[SOURCES]  # type: ignore[valid-type]  # A tuple of literals is one for pydantic.
        user_id: str
        company_id: str
        hostname: Annotated[str, Field(pattern=HOST)]
        screen_width: Annotated[int, Field(ge=0)]
        screen_height: Annotated[int, Field(ge=0)]
        country_code: Annotated[str, Field(pattern="^[A-WYZ][A-Z]$")]
        inserted_at: datetime
        metadata: Json[dict[str, Any]]

        @model_validator(mode="after")
        def names_somebody(self) -> Row:
            if not self.user_id and not self.company_id:
                raise ValueError("neither a user nor a company")
            return self

    accepted = rejected = 0
    with path.open(encoding="utf-8", newline="") as file, (out / "accepted.csv").open("w", newline="") as kept:
        rows = csv.DictReader(file)
        writer = csv.DictWriter(kept, rows.fieldnames or [])
        writer.writeheader()
        for row in rows:
            try:
                Row.model_validate(row)
            except ValidationError:
                rejected += 1
            else:
                accepted += 1
                writer.writerow(row)
    return accepted, rejected


PEERS: dict[str, Callable[[Path, Path], Counts]] = {
    "frictionless": frictionless,
    "pandera": pandera,
    "dataframely": dataframely,
    "duckdb": duckdb,
    "pydantic loop": pydantic_loop,
}


def installed(folder: Path) -> Path:
    """The Python of the peers; they are installed where they are not yet."""
    home = folder / "peers"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (home / "complete").touch()
    return python


def first_rows(path: Path, share: int) -> Path:
    """The first part of a CSV without line breaks in its values, one `share`-th of its rows."""
    part = path.with_name(f"part-{share}-{path.name}")
    if not part.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        part.write_bytes(b"".join(lines[: 1 + (len(lines) - 1) // share]))
    return part


def compare(path: Path, pairs: int, folder: Path) -> list[dict[str, Any]]:
    """Each peer on the CSV, in turn: medians, seconds scaled to the whole file, and what it leaves out."""
    python = installed(folder)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in PEERS}
    for _ in range(pairs):
        for name, done in runs.items():
            given = first_rows(path, 10) if name in TENTHS else path
            out = folder / "peer-out"
            out.mkdir(exist_ok=True)
            # With -P the modules beside this one hide none of theirs.
            command = [python, "-P", __file__, name, given, out]
            told = subprocess.run(command, check=True, capture_output=True, text=True)
            done.append(json.loads(told.stdout.splitlines()[-1]))
    return [summary(name, done) for name, done in runs.items()]


def summary(name: str, done: list[dict[str, Any]]) -> dict[str, Any]:
    scale = 10 if name in TENTHS else 1
    numbers = {key: median(run[key] for run in done) for key in done[0]}
    scaled = {key: numbers[key] * scale for key in ("seconds", "cpu_seconds", "accepted", "rejected")}
    return {"who": name, "scaled_from_a_tenth": scale > 1, "leaves_out": LEAVES_OUT[name], **numbers, **scaled}


def main() -> None:
    name, path, out = sys.argv[1:4]
    start = time.perf_counter()
    accepted, rejected = PEERS[name](Path(path), Path(out))
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    found = {"seconds": seconds, "accepted": accepted, "rejected": rejected, "peak_mb": usage.ru_maxrss / 1024}
    print(json.dumps(found | {"cpu_seconds": usage.ru_utime + usage.ru_stime}))


if __name__ == "__main__":
    main()
