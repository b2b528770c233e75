"""What a check of `gateway doctor` finds, and what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gateway.config import Settings, load, load_gateway
from gateway.errors import ConfigError
from gateway.ledger import Ledger, health

FAILS = "fail"
Level = Literal["ok", "note", "warning", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found; `hint` says what to do about it."""

    level: Level
    what: str
    hint: str = ""
    section: str = ""
    check: str = ""

    def of(self, section: str, check: str) -> Finding:
        return replace(self, section=section, check=check)


def ok(what: str) -> Finding:
    return Finding("ok", what)


def note(what: str, hint: str = "") -> Finding:
    return Finding("note", what, hint)


def warning(what: str, hint: str) -> Finding:
    return Finding("warning", what, hint)


def fail(what: str, hint: str = "") -> Finding:
    return Finding("fail", what, hint)


@dataclass(slots=True)
class Site:
    """The configuration directory that is looked at. What cannot be loaded is None; one check says why."""

    root: Path
    settings: Settings | None = field(init=False, default=None)
    refused: ConfigError | None = field(init=False, default=None)
    _ledger: Ledger | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        try:
            self.settings = load(self.root)
        except ConfigError as error:
            self.refused = error
            try:
                self.settings = Settings(root=self.root, gateway=load_gateway(self.root), tenants={})
            except ConfigError:
                self.settings = None

    @property
    def ledger(self) -> Ledger | None:
        """The ledger, when there is one that this version made: opening another would change it."""
        if self._ledger is None and self.settings is not None and self.settings.ledger_path.is_file():
            found = health.examine(self.settings.ledger_path)
            if not found.differing and not found.damage:
                self._ledger = Ledger(self.settings.ledger_path)
        return self._ledger

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()


Check = Callable[[Site], Iterator[Finding]]
