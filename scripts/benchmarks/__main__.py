"""Runs the benchmarks, prints a table of medians and ratios, and writes them as JSON where asked."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from scripts.benchmarks import neighbour, validation, validation_peers
from scripts.benchmarks.generate import ROWS, generated

QUICK_ROWS = 20_000


@click.command()
@click.option("--quick", is_flag=True, help="Small sizes, one pair: shows that it works, not how fast it is.")
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True, help="How often the two run in turn.")
@click.option("--rows", type=click.IntRange(100), default=ROWS, show_default=True, help="Rows of the file.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".bench"), show_default=True)
@click.option("--only", type=click.Choice(["validation", "neighbour"]), help="Only this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(quick: bool, pairs: int, rows: int, folder: Path, only: str | None, as_json: bool) -> None:
    """Measure the gateway beside its peers, each in turn on the same machine and files; and one tenant's throughput
    while another takes all that it can."""
    # So that a gateway that was started ends with this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    if quick:
        pairs, rows = 1, QUICK_ROWS
    results: dict[str, list[dict[str, Any]]] = {}
    if only != "neighbour":
        results["validation"] = [validation.compare(form, rows, pairs, folder) for form in ("ndjson", "csv")]
        if not quick:
            results["validation_peers"] = validation_peers.compare(generated(folder, "csv", rows), pairs, folder)
    if only != "validation":
        results["neighbour"] = neighbour.compare(pairs, folder, quick=quick)
    if as_json:
        click.echo(json.dumps(results, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name, found in results.items():
        console.print(TABLES[name](found))
        console.print()


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


def table_of_neighbours(results: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("one tenant's", "alone", "beside an attacker", "what is left (min to max)", "the attacker's drops"):
        table.add_column(column, justify="left" if column == "one tenant's" else "right")
    for result in results:
        ratio = result["ratio"]
        table.add_row(
            f"{result['what']}, {result['unit']}",
            f"{result['alone']:.1f}",
            f"{result['attacked']:.1f}",
            f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})",
            f"{result['attacker_drops']:,.0f}",
        )
    return table


def table_of_peers(results: list[dict[str, Any]]) -> Table:
    """Other validators on the CSV of the table above."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("the same CSV", "seconds", "CPU seconds", "peak MB", "accepted", "rejected", "what it cannot do"):
        table.add_column(column, justify="left" if column in ("the same CSV", "what it cannot do") else "right")
    for result in results:
        table.add_row(
            result["who"] + (" (a tenth of the rows, times 10)" if result["scaled_from_a_tenth"] else ""),
            f"{result['seconds']:.2f}",
            f"{result['cpu_seconds']:.2f}",
            f"{result['peak_mb']:,.0f}",
            f"{result['accepted']:,.0f}",
            f"{result['rejected']:,.0f}",
            result["cannot"],
        )
    return table


TABLES = {"validation": table_of, "validation_peers": table_of_peers, "neighbour": table_of_neighbours}

if __name__ == "__main__":
    bench()
