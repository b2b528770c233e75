"""Runs the benchmarks, prints a table of medians and ratios, and writes them as JSON where asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from scripts.benchmarks import validation
from scripts.benchmarks.generate import ROWS

QUICK_ROWS = 20_000


@click.command()
@click.option("--quick", is_flag=True, help="Small sizes, one pair: shows that it works, not how fast it is.")
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True, help="How often the two run in turn.")
@click.option("--rows", type=click.IntRange(100), default=ROWS, show_default=True, help="Rows of the file.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".bench"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(quick: bool, pairs: int, rows: int, folder: Path, as_json: bool) -> None:
    """Measure the gateway beside its peers, each in turn on the same machine and files."""
    folder.mkdir(parents=True, exist_ok=True)
    if quick:
        pairs, rows = 1, QUICK_ROWS
    results = [validation.compare(form, rows, pairs, folder.resolve()) for form in ("ndjson", "csv")]
    if as_json:
        click.echo(json.dumps(results, indent=2))
        return
    Console(width=None if sys.stdout.isatty() else 160).print(table_of(results))


def table_of(results: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("what", "who", "seconds", "CPU seconds", "peak MB", "accepted", "rejected", "ratio (min to max)"):
        table.add_column(column, justify="left" if column in ("what", "who") else "right")
    for result in results:
        ratio = result["ratio"]
        for name in ("gateway", "bare polars"):
            one = result[name]
            table.add_row(
                result["what"] if name == "gateway" else "",
                name,
                f"{one['seconds']:.2f}",
                f"{one['cpu_seconds']:.2f}",
                f"{one['peak_mb']:,.0f}",
                f"{one['accepted']:,.0f}",
                f"{one['rejected']:,.0f}",
                f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if name == "gateway" else "",
            )
    return table


if __name__ == "__main__":
    bench()
