"""What a drop brings to the store is the same whether it is read whole, chunk by chunk or by pieces.

And it is left beside the results without any change to them.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from gateway import clock, contracts
from gateway.contracts import Contract
from gateway.contracts.model import parse
from gateway.pipeline import contribution, handover
from gateway.pipeline.drop import Contributed, Drop, Outcome, Suspect
from gateway.pipeline.process import process
from tests.contributions import left
from tests.pipeline.conftest import AS_OF
from tests.pipeline.test_pieces import (
    BY_PIECES,
    EVENTS,
    KINDS,
    MOVED,
    NOTE_COLUMNS,
    NOTES,
    SIZES,
    WHOLE,
    drop_of,
    files,
    policies,
)  # fmt: skip
from tests.pipeline.test_properties import CASES

# Each example is processed four times, in chunks of two rows.
relaxed = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
Tables = dict[str, list[dict[str, Any]]]
# Chunks with more columns than that leave pairs, others a column for each attribute.
SMALL = ((handover, "HELD_BYTES", 600), (handover, "RANGE_BYTES", 3000), (contribution, "COLUMNS_MAX", 2))


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: AS_OF)


def run(folder: Path, drop: Drop) -> tuple[Outcome | Suspect, dict[str, Any], Tables]:
    """The outcome, every result file with what the report says, and the rows for each table."""
    staging = folder / "out"
    outcome = process(drop, staging)
    tables = {path.stem: left(path.parent, path.stem) for path in (staging / "store").glob("*.[ap]*")}
    tables.pop("listed", None)
    results: dict[str, Any] = {path.name: path.read_bytes() for path in staging.iterdir() if path.is_file()}
    results.pop("report.html", None)
    if isinstance(outcome, Outcome):
        report = report_of(staging)
        report["files"] = [file for file in report["files"] if file["role"] != "report"]
        results["report.json"] = report
    return outcome, results, tables


def report_of(staging: Path) -> dict[str, Any]:
    """What the report says, also when it is not written before the store has the rows."""
    told_there = staging / "store" / "told.json"
    if told_there.exists():
        told: dict[str, Any] = json.loads(told_there.read_text(encoding="utf-8"))["report"]
        return told
    report: dict[str, Any] = json.loads((staging / "report.json").read_text(encoding="utf-8"))
    return report


def same_in_each_way(body: bytes, contract: Contract, name: str, **given_to_it: Any) -> Tables:
    """What a drop brings, which is the same in each way, and changes no result."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "original")
        path.write_bytes(body)
        drop = drop_of(path, contract, name, for_store=True, **given_to_it)
        outcome, _, whole = run(Path(folder), drop)
        with pytest.MonkeyPatch.context() as patch:
            for module, key, size in (*SIZES, *SMALL):
                patch.setattr(module, key, size)
            # How many problems are listed depends on the chunks, so results are compared between equal ones.
            _, results, nothing = run(Path(folder), replace(drop, for_store=False))
            assert nothing == {}
            for way in (WHOLE, BY_PIECES):
                again, with_store, tables = run(Path(folder), replace(drop, whole_bytes_max=way))
                assert contributed_by(again) == contributed_by(outcome)
                assert with_store == results
                assert tables == whole
        told_is_there(outcome, whole)
        return whole


def contributed_by(outcome: Outcome | Suspect) -> Contributed | None:
    return outcome.contributed if isinstance(outcome, Outcome) else None


def told_is_there(outcome: Outcome | Suspect, tables: Tables) -> None:
    contributed = contributed_by(outcome)
    told = contributed or Contributed()
    counted = {"profiles": told.profiles, "companies": told.companies, "events": told.events}
    assert {table: rows for table, rows in counted.items() if rows} == {
        table: len(rows) for table, rows in tables.items()
    }
    for table, rows in tables.items():
        assert len({row["row"] for row in rows}) == len(rows)
        assert all(row[name] is not None for row in rows for name in ("namespace", "identity", "time", "row"))
        order = [row["time" if table == "events" else "row"] for row in rows]
        assert order == sorted(order)
    if (
        isinstance(outcome, Outcome)
        and contributed
        and "events" in tables
        and not {"profiles", "companies"} & set(tables)
    ):
        assert told.events <= outcome.counts.accepted


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_drop_brings_the_same_in_each_way(name: str, form: str) -> None:
    contract = contracts.load(name)

    @relaxed
    @given(body=files(contract, form), policy=policies)
    def holds(body: bytes, policy: dict[str, Any]) -> None:
        same_in_each_way(body, contract, f"a.{form}", **policy)

    holds()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_contract_brings_the_same_in_each_way(kind: str) -> None:
    contract = parse(NOTES + KINDS[kind] + NOTE_COLUMNS, kind)

    @relaxed
    @given(body=files(contract, "csv"), policy=policies)
    def holds(body: bytes, policy: dict[str, Any]) -> None:
        same_in_each_way(body, contract, "a.csv", **policy)

    holds()


@pytest.mark.rule("F17", "F18")
@pytest.mark.parametrize("what", EVENTS)
def test_events_in_any_order_are_brought_oldest_first_and_none_twice(what: str) -> None:
    found = same_in_each_way(EVENTS[what], contracts.load("clevertap-events"), "a.ndjson")["events"]
    assert found == sorted(found, key=lambda row: (row["time"], row["row"]))
    told = [(row["identity"], row["name"], row["time"], row["properties"]) for row in found]
    assert len(set(told)) == len(told)


def test_a_drop_that_is_cut_off_brings_what_is_whole_of_it() -> None:
    body = MOVED + b'{"identity":"1","evtNa'
    found = same_in_each_way(body, contracts.load("clevertap-events"), "a.ndjson", on_cut_off="process")
    assert len(found["events"]) == 99
    held = same_in_each_way(body, contracts.load("clevertap-events"), "a.ndjson", on_cut_off="hold")
    assert held == {}


@pytest.mark.parametrize("contract", ["clevertap-events", "clevertap-profiles"])
def test_a_full_disk_leaves_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contract: str) -> None:
    for module, key, size in SMALL:
        monkeypatch.setattr(module, key, size)
    path = tmp_path / "original"
    path.write_bytes(MOVED if contract == "clevertap-events" else b"identity,Name\n" + b"ann,Ann\n" * 99)
    drop = drop_of(path, contracts.load(contract), "a", for_store=True, disk_free_min=1 << 60)
    with pytest.raises(OSError, match="kept free") as full:
        process(drop, tmp_path / "out")
    assert full.value.errno == ENOSPC
    assert list((tmp_path / "out").iterdir()) == []
