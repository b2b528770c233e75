"""An engine whose jobs leave what they bring to the store, and a storekeeper over a store of the test's own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from gateway.pipeline.drop import Contributed, Drop, Outcome, Suspect
from gateway.store.shapes import EVENT_ROWS, PAIRS, PROFILE_ROWS
from tests.pickup.conftest import SharedEngine


class ContributingEngine(SharedEngine):
    """`policies` are those of feeds, by name."""

    def __init__(self, workers: int, **policies: Any) -> None:
        super().__init__(workers)
        self.policies = policies

    def run(self, drop: Drop, staging: Path, *arguments: Any, **keywords: Any) -> Outcome | Suspect:
        outcome = super().run(drop, staging, *arguments, **keywords)
        if isinstance(outcome, Suspect) or not outcome.counts.accepted:
            return outcome
        brought = bring_profiles if drop.contract.kind == "profiles" else bring_events
        rows = pl.read_csv(staging / "accepted.csv", infer_schema=False)
        contributed = brought(drop, staging / "store", rows)
        return replace(outcome, contributed=replace(contributed, **self.policies.get(drop.feed, {})))


def bring_profiles(drop: Drop, folder: Path, rows: pl.DataFrame) -> Contributed:
    found = [
        ("identity", row["identity"], drop.as_of, number, pairs_of(row))
        for number, row in enumerate(rows.to_dicts(), 1)
    ]
    write(folder / "profiles.parquet", found, PROFILE_ROWS)
    return Contributed(profiles=len(found))


def pairs_of(row: dict[str, str | None]) -> list[dict[str, str]]:
    return [{"key": key, "value": f'"{value}"'} for key, value in row.items() if value and key != "identity"]


def bring_events(drop: Drop, folder: Path, rows: pl.DataFrame) -> Contributed:
    found = [
        ("identity", row["identity"], row["evtName"], None, moment(row["ts"]), number, "{}", None, True, True)
        for number, row in enumerate(rows.to_dicts(), 1)
    ]
    write(folder / "events.parquet", found, EVENT_ROWS)
    return Contributed(events=len(found), first_event=min(row[4] for row in found))


def moment(text: str) -> datetime:
    return datetime.fromtimestamp(int(text), UTC) if text.isdecimal() else datetime.fromisoformat(text)


def write(path: Path, rows: list[tuple[Any, ...]], schema: pl.Schema) -> None:
    path.parent.mkdir(exist_ok=True)
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(path)


__all__ = ["PAIRS", "ContributingEngine"]
