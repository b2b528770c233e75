"""What jobs of the tests bring to the store, made of their accepted rows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from gateway.pipeline.drop import Contributed, Drop, Outcome, Suspect
from gateway.store.shapes import CONTRIBUTED, EVENT_ROWS, JSON_OF, PROFILE_ROWS, TEXT_OF

Rows = list[tuple[Any, ...]]


def contributed(drop: Drop, staging: Path, outcome: Outcome | Suspect, **policies: Any) -> Outcome | Suspect:
    """The outcome with what its rows bring: profiles or events, as the contract has it."""
    if isinstance(outcome, Suspect) or not outcome.counts.accepted:
        return outcome
    if outcome.contributed is not None:
        return replace(outcome, contributed=replace(outcome.contributed, **policies))
    rows = pl.read_csv(staging / "accepted.csv", infer_schema=False).to_dicts()
    if drop.contract.kind == "profiles":
        bring(staging, profiles=profiles_of(drop, rows))
        return replace(outcome, contributed=Contributed(profiles=len(rows), **policies))
    events = events_of(rows)
    bring(staging, events=events)
    first = min(event[4] for event in events)
    return replace(outcome, contributed=Contributed(events=len(rows), first_event=first, **policies))


def people_and_visits(drop: Drop, staging: Path, outcome: Outcome | Suspect) -> Outcome | Suspect:
    """Each profile row is also a visit, which is stored again whenever it comes again, and a company with a blank."""
    outcome = contributed(drop, staging, outcome, allow_repeats=True)
    if isinstance(outcome, Suspect) or outcome.contributed is None:
        return outcome
    rows = pl.read_csv(staging / "accepted.csv", infer_schema=False).to_dicts()
    visits = events_of([{"identity": row["identity"], "evtName": "Visited", "ts": "1700000000"} for row in rows])
    attributes = [{"key": "Size", "value": "1"}, {"key": "Gone", "value": None}]
    companies = [("company_id", row["identity"], drop.as_of, number, attributes) for number, row in enumerate(rows, 1)]
    bring(staging, events=visits, companies=companies)
    brings = replace(outcome.contributed, events=len(visits), companies=len(companies))
    return replace(outcome, contributed=brings)


def profiles_of(drop: Drop, rows: list[dict[str, Any]]) -> Rows:
    (key,) = {"identity", "id"} & rows[0].keys()
    return [
        (key, row[key], moment(row["_timestamp"]) if "_timestamp" in row else drop.as_of, number, pairs_of(row))
        for number, row in enumerate(rows, 1)
    ]


def pairs_of(row: dict[str, str | None]) -> list[dict[str, str]]:
    left_out = ("identity", "id", "_timestamp")
    return [{"key": key, "value": f'"{value}"'} for key, value in row.items() if value and key not in left_out]


def events_of(rows: list[dict[str, Any]]) -> Rows:
    return [
        ("identity", row["identity"], row["evtName"], None, moment(row["ts"]), number, "{}", None, True, True)
        for number, row in enumerate(rows, 1)
    ]


def moment(text: str) -> datetime:
    return datetime.fromtimestamp(int(text), UTC) if text.isdecimal() else datetime.fromisoformat(text)


def bring(staging: Path, **tables: Rows) -> None:
    (staging / "store").mkdir(exist_ok=True)
    for name, rows in tables.items():
        schema = EVENT_ROWS if name == "events" else {**PROFILE_ROWS, "attributes": CONTRIBUTED}
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(staging / "store" / f"{name}.parquet")


def left(folder: Path, table: str) -> list[dict[str, Any]]:
    """The rows that a job left for a table; `attributes` by name: JSON text, None to blank."""
    stream, file = folder / f"{table}.arrows", folder / f"{table}.parquet"
    if not stream.exists() and not file.exists():
        return []
    assert not (stream.exists() and file.exists())
    rows = (pl.read_ipc_stream(stream.read_bytes()) if stream.exists() else pl.read_parquet(file)).to_dicts()
    return rows if table == "events" else [with_attributes(row) for row in rows]


def with_attributes(row: dict[str, Any]) -> dict[str, Any]:
    found = {pair["key"]: pair["value"] for pair in row.pop("attributes", [])}
    for name in [name for name in row if name.startswith((TEXT_OF, JSON_OF))]:
        value, key = row.pop(name), name[len(TEXT_OF) :]
        if value is not None:
            assert key not in found
            found[key] = json.dumps(value, ensure_ascii=False) if name.startswith(TEXT_OF) else value
            found[key] = None if found[key] == "null" else found[key]
    return row | {"attributes": found}
