"""Lists on the terminal: columns that fit a screen, and are whole when they go into a pipe or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 400
# Between two columns, and what the one that gives way has in any case.
GAP = 2
NARROW = 20


def wide_console(*, stderr: bool = False) -> Console:
    """The terminal, or something so wide that nothing is cut or wrapped for who reads a pipe."""
    console = Console(highlight=False, stderr=stderr)
    return console if console.is_terminal else Console(highlight=False, stderr=stderr, width=WIDE)


def harmless(said: object, style: str = "") -> Text:
    """What a partner wrote, for a terminal: no markup of rich's, and no character that a terminal would obey."""
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(said)), style)


def plainly(said: object) -> str:
    """The same for `click.echo`; lines stay lines."""
    return "\n".join(harmless(line).plain for line in str(said).split("\n"))


def print_list(columns: Sequence[str], rows: Iterable[Sequence[str]], gives_way: str = "") -> None:
    """One line a row, under the columns' names; where they do not all fit, the column that gives way is cut first."""
    console, shown = wide_console(), [[harmless(cell) for cell in row] for row in rows]
    widths = {name: max([len(name), *(row[at].cell_len for row in shown)]) for at, name in enumerate(columns)}
    room = console.width - sum(width + GAP for name, width in widths.items() if name != gives_way)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True, max_width=max(room, NARROW) if column == gives_way else None)
    for row in shown:
        table.add_row(*row)
    console.print(table)
