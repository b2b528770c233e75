"""`gateway preview`: the first rows of a file as the gateway understands them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from gateway.cli.listing import harmless, wide_console
from gateway.cli.options import config_option
from gateway.cli.show_report import REFUSED

if TYPE_CHECKING:
    from gateway.pipeline.preview import Preview


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--contract", "name", required=True, metavar="NAME", help="What the file must look like.")
@click.option("--rows", type=click.IntRange(1, 1000), default=15, show_default=True, help="How many rows to show.")
@config_option
def preview(file: Path, name: str, rows: int, root: Path) -> None:
    """Show the first rows of FILE as understood: types, values in normal form, problems in place."""
    from gateway import clock, contracts
    from gateway.config import FeedSettings
    from gateway.contracts.codes import CODES
    from gateway.errors import CutOff, DropRefused
    from gateway.pipeline.drop import Drop
    from gateway.pipeline.preview import preview as look

    drop = Drop(
        job_id="", tenant="", feed="", name=file.name, generation=1, path=file, sha256="", as_of=clock.now(),
        uploaded_by=None, contract=contracts.load(name, root), policy=FeedSettings(contract=name),
    )  # fmt: skip
    console = wide_console()
    try:
        seen = look(drop, rows)
    except DropRefused as refusal:
        fate = "held as suspect" if isinstance(refusal, CutOff) else "refused"
        console.print(harmless(f"{file.name} would be {fate}: {refusal.message}", "red"))
        console.print(harmless(refusal.hint or CODES[refusal.code].hint, "dim"))
        sys.exit(REFUSED)
    for line in told(seen):
        console.print(line, soft_wrap=True)


def told(seen: Preview) -> Iterator[Text]:
    """What is wrong with the file, then each row: its values with their types, or as it came; and its problems."""
    problems: dict[int, list[dict[str, Any]]] = {}
    for problem in seen.problems.iter_rows(named=True):
        problems.setdefault(problem["row"] or 0, []).append(problem)
    yield from map(said, problems.get(0, []))
    width = max(map(len, seen.columns), default=0)
    for row in sorted(seen.rows.keys() | seen.rejected.keys()):
        yield Text.assemble((f"row {row}", "bold"), (" rejected", "red") if row in seen.rejected else "")
        if row in seen.rejected:
            yield Text("  ").append_text(harmless(seen.rejected[row]))
        for column, value in seen.rows.get(row, {}).items():
            if value is not None:
                yield Text.assemble(
                    "  ", harmless(column.ljust(width)), "  ", harmless(value), (f"  {seen.columns[column]}", "dim")
                )
        yield from map(said, problems.get(row, []))


def said(problem: dict[str, Any]) -> Text:
    style = {"error": "red", "warning": "yellow"}.get(problem["level"], "cyan")
    return Text.assemble("  ", (problem["code"], style), "  ", harmless(problem["message"]))
