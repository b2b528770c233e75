"""Lists on the terminal: columns that fit a screen, and are whole when they go into a pipe or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 400


def print_list(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """One line a row, under the columns' names."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        # As Text, because a partner's names may hold what rich reads as markup.
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
