"""An engine whose jobs leave what they bring to the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.pipeline.drop import Drop, Outcome, Suspect
from tests.contributions import contributed
from tests.pickup.conftest import SharedEngine


class ContributingEngine(SharedEngine):
    """`policies` are those of feeds, by name."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.policies: dict[str, dict[str, Any]] = {}

    def run(self, drop: Drop, staging: Path, *arguments: Any, **keywords: Any) -> Outcome | Suspect:
        outcome = super().run(drop, staging, *arguments, **keywords)
        return contributed(drop, staging, outcome, **self.policies.get(drop.feed, {}))
