"""A drop that is read by pieces gives what it gives as a whole: the same results, rejects, report and page.

Chunks, runs, ranges and shards are made so small that a file of a few rows has several of each.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import clock, contracts
from gateway.config import FeedSettings
from gateway.contracts import Contract
from gateway.pipeline import judge, records
from gateway.pipeline.drop import Drop, OnCutOff, Suspect
from gateway.pipeline.pieces import alike, arranged, numbers, runs, shards, spool
from gateway.pipeline.process import process
from tests.pipeline.conftest import AS_OF
from tests.pipeline.test_hostile_bytes import CONTRACTS, PIECES, damaged, packed, valid
from tests.pipeline.test_properties import CASES, FURTHER, cells, typed

relaxed = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
WHOLE, BY_PIECES = 1 << 30, 0
Results = dict[str, bytes] | Suspect

SIZES = (
    (judge, "CHUNK_BYTES", 150),
    (records, "BLOCK_BYTES", 60),
    (numbers, "PART_ROWS", 2),
    (runs, "BLOCK_BYTES", 200),
    (runs, "COLUMN_BYTES", 1),
    (spool, "RUN_BYTES", 300),
    (arranged, "RANGE_BYTES", 3000),
    (shards, "SHARD_BYTES", 2500),
    (alike, "HASHES_MAX", 2),
)
TIMELESS = """
name = "notes"
title = "Notes"
kind = "events"
formats = ["csv", "ndjson"]
identity = ["id"]
further_columns = "keep"
UNIQUE
[time]
column = "at"
[[columns]]
name = "id"
required = true
[[columns]]
name = "at"
type = "iso_time"
[[columns]]
name = "count"
type = "integer"
default = "1"
"""


@pytest.fixture(autouse=True, scope="module")
def tiny() -> Iterator[None]:
    """Sizes at which a file of some hundred bytes does not fit in memory, and a clock that stands still."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: AS_OF)
        for module, name, size in SIZES:
            patch.setattr(module, name, size)
        yield


def results_of(folder: Path, drop: Drop, whole_bytes_max: int) -> Results:
    """Every file that a run leaves, by name."""
    staging = folder / "out"
    outcome = process(replace(drop, whole_bytes_max=whole_bytes_max), staging)
    if isinstance(outcome, Suspect):
        return outcome
    assert sorted(path.name for path in staging.iterdir()) == sorted(file.staged for file in outcome.files)
    return {path.name: path.read_bytes() for path in staging.iterdir()}


def same_by_pieces(body: bytes, contract: Contract, name: str, **given_to_it: Any) -> Results:
    """The results of a drop, which are the same either way."""
    of_drop = {key: given_to_it.pop(key) for key in list(given_to_it) if key in Drop.__slots__}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "original")
        path.write_bytes(body)
        drop = Drop(
            job_id="j", tenant="acme", feed="feed", name=name, generation=1, path=path, as_of=AS_OF,
            sha256=hashlib.sha256(body).hexdigest(), uploaded_by=None, contract=contract,
            policy=FeedSettings.model_validate({"contract": contract.name} | given_to_it), **of_drop,
        )  # fmt: skip
        whole = results_of(Path(folder), drop, WHOLE)
        pieces = results_of(Path(folder), drop, BY_PIECES)
        assert pieces == whole
        return pieces


@st.composite
def files(draw: st.DrawFn, contract: Contract, form: str) -> bytes:
    """Up to 40 records, made of a few that come again and again, good and bad ones and broken ones between them."""
    names = [column.name for column in contract.columns] + FURTHER.get(contract.name, ["further"])
    kinds = draw(st.lists(st.fixed_dictionaries({name: cells(name) for name in names}), min_size=1, max_size=8))
    picked = draw(st.lists(st.integers(0, len(kinds) - 1), max_size=40))
    broken = draw(st.sets(st.integers(0, 40), max_size=3))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    if form == "csv":
        writer.writerow(names)
    for at, kind in enumerate(picked):
        row = kinds[kind]
        if at in broken:
            out.write(draw(st.sampled_from(["a,b\n", 'x"y\n', "{\n", "[]\n", "\n"])))
        elif form == "csv":
            writer.writerow([row[name] for name in names])
        else:
            out.write(json.dumps({key: typed(key, value) for key, value in row.items() if value}) + "\n")
    return out.getvalue().encode()


policies = st.fixed_dictionaries(
    {
        "result_format": st.sampled_from(["same", "csv", "ndjson", "parquet"]),
        "on_error": st.sampled_from(["reject_rows", "reject_rows", "reject_file"]),
        "max_error_rate": st.sampled_from([1.0, 1.0, 0.5]),
        "null_marker": st.sampled_from([None, "x"]),
        "strict": st.booleans(),
        "problems_max": st.sampled_from([100_000, 3]),
    }
)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_drop_by_pieces_is_the_same_as_the_whole(name: str, form: str) -> None:
    contract = contracts.load(name)

    @relaxed
    @given(body=files(contract, form), policy=policies, zone=st.sampled_from(["UTC", "Europe/Berlin"]))
    def holds(body: bytes, policy: dict[str, Any], zone: str) -> None:
        same_by_pieces(body, contract, f"a.{form}", timezone=zone, retention_days=365, **policy)

    holds()


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_damaged_drop_by_pieces_is_the_same_as_the_whole(name: str) -> None:
    contract, bodies = contracts.load(name), valid(name)

    @relaxed
    @given(
        body=damaged(bodies) | packed(bodies) | st.lists(st.sampled_from(PIECES)).map(b"".join) | st.binary(),
        file=st.sampled_from(["a.csv", "a.ndjson", "a.csv.gz", "a"]),
        on_cut_off=st.sampled_from(["hold", "refuse", "process", "proven"]),
        policy=policies,
        encoding=st.sampled_from(["utf-8", "utf-8", "latin-1"]),
    )
    def holds(body: bytes, file: str, on_cut_off: OnCutOff, policy: dict[str, Any], encoding: str) -> None:
        same_by_pieces(body, contract, file, on_cut_off=on_cut_off, encoding=encoding, **policy)

    holds()
