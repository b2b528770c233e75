"""Runs the benchmarks, prints a table of medians and ratios, and writes them as JSON where asked."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from scripts.benchmarks import (
    drops,
    logins,
    memory,
    neighbour,
    start,
    store,
    transfer,
    validation,
    validation_peers,
)
from scripts.benchmarks.generate import ROWS, generated
from scripts.benchmarks.tables import (
    table_of_figures,
    table_of_memory,
    table_of_neighbours,
    table_of_peers,
    table_of_starts,
    table_of_validation,
)

QUICK_ROWS = 20_000
Results = list[dict[str, Any]]
TABLES = {
    "validation": table_of_validation,
    "validators": table_of_peers,
    "transfer": transfer.table_of,
    "logins": logins.table_of,
    "drops": table_of_figures,
    "neighbour": table_of_neighbours,
    "start": table_of_starts,
    "store": store.table_of,
    "memory": table_of_memory,
}


@click.command()
@click.option("--quick", is_flag=True, help="Small sizes, one pair: shows that it works, not how fast it is.")
@click.option("--peers/--without-peers", "with_peers", default=True, help="Whether others are measured beside it.")
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True, help="How often the two run in turn.")
@click.option("--rows", type=click.IntRange(100), default=ROWS, show_default=True, help="Rows of the file.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".bench"), show_default=True)
@click.option("--only", type=click.Choice(list(TABLES)), help="Only this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(quick: bool, with_peers: bool, pairs: int, rows: int, folder: Path, only: str | None, as_json: bool) -> None:
    """Measure the gateway beside its peers, each in turn on the same machine and files; and one tenant's throughput
    while another takes all that it can."""
    # So that a gateway that was started ends with this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    if quick:
        pairs, rows = 1, QUICK_ROWS
    measures: dict[str, Callable[[], Results]] = {
        "validation": lambda: [validation.compare(form, rows, pairs, folder) for form in ("ndjson", "csv")],
        "validators": lambda: validators(rows, pairs, folder) if with_peers and not quick else [],
        "transfer": lambda: transfer.compare(pairs, folder, quick=quick, with_peers=with_peers),
        "logins": lambda: logins.compare(pairs, folder, quick=quick, with_peers=with_peers),
        "drops": lambda: drops.compare(pairs, folder, quick=quick),
        "neighbour": lambda: neighbour.compare(pairs, folder, quick=quick),
        "start": lambda: start.compare(pairs, folder, quick=quick),
        "store": lambda: store.compare(pairs, folder, quick=quick, with_peers=with_peers and not quick),
        # Once: five of the large files would take an hour.
        "memory": lambda: memory.compare(1, folder, quick=quick),
    }
    show({name: measure() for name, measure in measures.items() if only in (None, name)}, as_json)


def validators(rows: int, pairs: int, folder: Path) -> Results:
    """Others that validate, on the same CSV."""
    return validation_peers.compare(generated(folder, "csv", rows), pairs, folder)


def show(results: dict[str, Results], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(results, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name, found in results.items():
        console.print(TABLES[name](found))
        console.print()


if __name__ == "__main__":
    bench()
