"""What can be wrong, and how it is kept: a case says what it saw, and its number makes it happen again."""

from __future__ import annotations

from dataclasses import dataclass


class Wrong(Exception):
    """The gateway did what it must not do."""


class Hangs(Wrong):
    """It did not answer, or did not end a connection, in its own time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`case` is None for what belongs to the whole run."""

    case: int | None
    said: str

    def __str__(self) -> str:
        return self.said if self.case is None else f"case {self.case}: {self.said}"
