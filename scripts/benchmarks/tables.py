"""Tables of what the benchmarks found, for people."""

from __future__ import annotations

from typing import Any

from rich.table import Table

Results = list[dict[str, Any]]


def table_with(*columns: str, left: int = 1) -> Table:
    """An empty one; the first `left` columns hold words, the others numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    return table


def spread(ratio: dict[str, float], form: str = ".2f") -> str:
    return f"{ratio['median']:{form}} ({ratio['min']:{form}} to {ratio['max']:{form}})"


def table_of_validation(results: Results) -> Table:
    table = table_with(
        "what", "who", "seconds", "CPU seconds", "peak MB", "accepted", "rejected", "ratio (min to max)", left=2
    )
    for result in results:
        for name in ("gateway", "bare polars"):
            one, is_ours = result[name], name == "gateway"
            table.add_row(
                result["what"] if is_ours else "",
                name,
                f"{one['seconds']:.2f}",
                f"{one['cpu_seconds']:.2f}",
                f"{one['peak_mb']:,.0f}",
                f"{one['accepted']:,.0f}",
                f"{one['rejected']:,.0f}",
                spread(result["ratio"]) if is_ours else "",
            )
    return table


def table_of_peers(results: Results) -> Table:
    table = table_with("validator", "leaves out", "seconds", "CPU seconds", "peak MB", "accepted", "rejected", left=2)
    for result in results:
        table.add_row(
            result["who"] + (" (a tenth of the rows, times 10)" if result["scaled_from_a_tenth"] else ""),
            result["leaves_out"],
            f"{result['seconds']:.2f}",
            f"{result['cpu_seconds']:.2f}",
            f"{result['peak_mb']:,.0f}",
            f"{result['accepted']:,.0f}",
            f"{result['rejected']:,.0f}",
        )
    return table


def table_of_neighbours(results: Results) -> Table:
    table = table_with(
        "one tenant's", "alone", "beside an attacker", "what is left (min to max)", "the attacker's drops"
    )
    for result in results:
        table.add_row(
            f"{result['what']}, {result['unit']}",
            f"{result['alone']:.1f}",
            f"{result['attacked']:.1f}",
            spread(result["ratio"]),
            f"{result['attacker_drops']:,.0f}",
        )
    return table


def table_of_figures(results: Results) -> Table:
    table = table_with("what", "figure", "median (min to max)", left=2)
    for result in results:
        for number, (name, found) in enumerate(result["figures"].items()):
            table.add_row("" if number else result["what"], name, spread(found, ",.1f"))
    return table


def table_of_starts(results: Results) -> Table:
    table = table_with("start", "seconds (min to max)", "bare Python")
    for result in results:
        table.add_row(result["what"], spread(result), f"{result['bare Python']:.2f}")
    return table


def table_of_memory(results: Results) -> Table:
    table = table_with("what", "MB", "peak MB", "seconds", "seconds per GiB", "accepted", "rejected")
    for result in results:
        for run in result["runs"]:
            table.add_row(
                result["what"],
                f"{run['mb']:,.0f}",
                f"{run['peak_mb']:,.0f}",
                f"{run['seconds']:,.1f}",
                f"{run['per_gib']:.1f}",
                f"{run['accepted']:,.0f}",
                f"{run['rejected']:,.0f}",
            )
    return table
