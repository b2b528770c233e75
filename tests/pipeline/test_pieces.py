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
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import clock, contracts
from gateway.allowance import whole_bytes_max
from gateway.config import FeedSettings
from gateway.config.model import EngineSettings
from gateway.contracts import Contract
from gateway.contracts.model import parse
from gateway.pipeline import judge, records
from gateway.pipeline.drop import Drop, OnCutOff, Suspect
from gateway.pipeline.pieces import FOLDER, alike, arranged, numbers, runs, shards, spool
from gateway.pipeline.pieces.disk import Disk
from gateway.pipeline.pieces.pages import let_go
from gateway.pipeline.process import fresh, process
from gateway.pipeline.source import octets_of
from tests.pipeline.conftest import AS_OF
from tests.pipeline.test_hostile_bytes import CONTRACTS, PIECES, damaged, packed, valid
from tests.pipeline.test_properties import CASES, FURTHER, cells, typed

relaxed = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
WHOLE, BY_PIECES = 1 << 30, 0
Results = dict[str, bytes] | Suspect

SIZES = (
    (judge, "CHUNK_BYTES", 150),
    (records, "BLOCK_BYTES", 60),
    (records, "PLAIN_BYTES_MAX", 0),
    (numbers, "PART_ROWS", 2),
    (runs, "BLOCK_BYTES", 200),
    (runs, "COLUMN_BYTES", 1),
    (spool, "RUN_BYTES", 300),
    (arranged, "RANGE_BYTES", 3000),
    (shards, "SHARD_BYTES", 1500),
    (alike, "HASHES_MAX", 2),
)
NOTES = """
name = "notes"
title = "Notes"
formats = ["csv", "ndjson"]
identity = ["id"]
further_columns = "keep"
"""
NOTE_COLUMNS = """
[[columns]]
name = "id"
[[columns]]
name = "inserted_at"
type = "iso_time"
[[columns]]
name = "Age"
type = "integer"
"""
TIMED = """
[time]
column = "inserted_at"
"""
KINDS = {
    "profiles without a time": 'kind = "profiles"',
    "profiles, some without a time": 'kind = "profiles"' + TIMED,
    "events without a time": 'kind = "events"',
    "events, some without a time": 'kind = "events"' + TIMED,
    "events that are unique by id": 'kind = "events"\nunique = ["id"]' + TIMED,
    "events that may repeat": 'kind = "mixed"\nallow_repeats = true' + TIMED,
}


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


def drop_of(path: Path, contract: Contract, name: str, **given_to_it: Any) -> Drop:
    """A drop of these bytes; what is not a parameter of Drop is a policy of the feed."""
    of_drop = {key: given_to_it.pop(key) for key in list(given_to_it) if key in Drop.__slots__}
    return Drop(
        job_id="j", tenant="acme", feed="feed", name=name, generation=1, path=path, as_of=AS_OF,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(), uploaded_by=None, contract=contract,
        policy=FeedSettings.model_validate({"contract": contract.name} | given_to_it), **of_drop,
    )  # fmt: skip


def same_by_pieces(body: bytes, contract: Contract, name: str, **given_to_it: Any) -> Results:
    """The results of a drop, which are the same either way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "original")
        path.write_bytes(body)
        drop = drop_of(path, contract, name, **given_to_it)
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


@pytest.mark.parametrize("form", ["csv", "ndjson"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_contract_by_pieces_is_the_same_as_the_whole(kind: str, form: str) -> None:
    contract = parse(NOTES + KINDS[kind] + NOTE_COLUMNS, kind)

    @relaxed
    @given(body=files(contract, form), policy=policies)
    def holds(body: bytes, policy: dict[str, Any]) -> None:
        same_by_pieces(body, contract, f"a.{form}", **policy)

    holds()


ORDERED = b"".join(b'{"identity":"%d","evtName":"e","ts":%d}\n' % (at, 1_720_000_000 + at // 9) for at in range(99))
LINES = sorted(ORDERED.splitlines(keepends=True), key=lambda line: line[::-1])
MOVED = b"".join(LINES)
EVENTS = {
    "oldest first": ORDERED,
    "in no order": MOVED,
    "in no order, all twice": MOVED * 2,
    "in no order, with times that are the same": MOVED.replace(b"172000000", b"17200000"),
    "the same row": ORDERED[: ORDERED.index(b"\n") + 1] * 99,
    "other keys in each row": b"".join(
        b'{"identity":"1","evtName":"e","ts":%d,"k%d":%d}\n' % (1_720_000_000 - at % 7, at % 40, at) for at in range(99)
    ),
}


@pytest.mark.parametrize("result", ["same", "csv", "parquet"])
@pytest.mark.parametrize("what", EVENTS)
def test_events_by_pieces_are_in_the_order_of_the_whole(what: str, result: str) -> None:
    found = same_by_pieces(EVENTS[what], contracts.load("clevertap-events"), "a.ndjson", result_format=result)
    assert isinstance(found, dict)
    assert any(name.startswith("accepted") for name in found)


def test_columns_that_only_some_chunks_fill_in_stand_behind_those_of_the_header() -> None:
    body = (
        b"event_type,event_name,user_id,inserted_at,url\n"
        b"track,upgraded,ann,2024-07-28T09:00:00Z,\n"
        b'track,upgraded,bob,2024-07-28T08:00:00Z,"https://app.example.com/a,b"\n'
    ) + b"track,upgraded,ann,2024-07-28T10:00:00Z,\n" * 9
    found = same_by_pieces(body, contracts.load("userpilot-import"), "a.csv")
    assert isinstance(found, dict)
    assert found["accepted.csv"].decode().splitlines()[:3] == [
        "event_type,event_name,user_id,inserted_at,url,hostname,metadata,pathname,source",
        'track,upgraded,bob,2024-07-28T08:00:00.000000Z,"https://app.example.com/a,b",'
        'app.example.com,{},"/a,b",backend-http-import',
        "track,upgraded,ann,2024-07-28T09:00:00.000000Z,,,{},,backend-http-import",
    ]


def test_one_profile_that_is_most_of_a_file_is_merged_a_part_at_a_time() -> None:
    rows = b"".join(b"%s,%d,%s\n" % (b"ann" if at % 5 else b"p%d" % at, at, b"x" * (at % 3)) for at in range(300))
    found = same_by_pieces(b"identity,Age,Name\n" + rows, contracts.load("clevertap-profiles"), "a.csv")
    assert isinstance(found, dict)
    assert found["accepted.csv"].count(b"ann") == 1


class Full(Disk):
    """A disk that is full after so many looks at it."""

    looks = 0

    def room_for(self, length: int) -> None:
        Full.looks -= 1
        super().room_for(length if Full.looks >= 0 else 1 << 60)


def test_a_disk_that_fills_up_leaves_nothing_and_the_next_try_is_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    body = MOVED * 2
    whole = same_by_pieces(body, contracts.load("clevertap-events"), "a.ndjson")
    monkeypatch.setattr(spool, "Disk", Full)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "original")
        path.write_bytes(body)
        drop = drop_of(path, contracts.load("clevertap-events"), "a.ndjson")
        Full.looks = 1 << 30
        assert results_of(Path(folder), drop, BY_PIECES) == whole
        used = (1 << 30) - Full.looks
        for looks in range(0, used, used // 3):
            Full.looks = looks
            with pytest.raises(OSError, match="that are kept free") as full:
                results_of(Path(folder), drop, BY_PIECES)
            assert full.value.errno == ENOSPC
            assert not Path(folder, "out", FOLDER).exists()
        Full.looks = used
        assert results_of(Path(folder), drop, BY_PIECES) == whole


def test_a_disk_without_room_for_a_large_drop_is_told_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_bytes(ORDERED)
    drop = drop_of(path, contracts.load("clevertap-events"), "a.ndjson", disk_free_min=1 << 60)
    with pytest.raises(OSError, match="kept free") as full:
        results_of(tmp_path, drop, BY_PIECES)
    assert full.value.errno == ENOSPC
    assert not isinstance(results_of(tmp_path, drop, WHOLE), Suspect)


def test_what_a_killed_try_left_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_bytes(MOVED)
    (tmp_path / "out" / FOLDER).mkdir(parents=True)
    for name in ("good", "rows", "times", "hashes", "shard-0", "merged", "moments", "rejected"):
        (tmp_path / "out" / FOLDER / name).write_bytes(b"left by a try that was killed")
    drop = drop_of(path, contracts.load("clevertap-events"), "a.ndjson")
    assert results_of(tmp_path, drop, BY_PIECES) == results_of(tmp_path, drop, WHOLE)


def test_the_folders_of_another_job_are_used_again_and_its_files_are_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("store", "settled"):
        (out / name).mkdir(parents=True)
    (tmp_path / "original").touch()
    drop = drop_of(tmp_path / "original", contracts.load("clevertap-events"), "a.ndjson")
    before = (out / "store").stat().st_ino
    fresh(out, drop)
    assert sorted(path.name for path in out.iterdir()) == ["settled", "store"]
    assert (out / "store").stat().st_ino == before
    (out / "store" / "told.json").touch()
    fresh(out, drop)
    assert list(out.iterdir()) == []


def test_the_pages_of_a_file_that_are_behind_are_given_back_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_bytes(bytes(range(256)) * 4096)
    octets = octets_of(path)[3:]
    before = octets.tobytes()
    held = rss_of(path)
    let_go(octets[10:], len(octets) // 2)
    assert rss_of(path) <= held // 2 + 64
    assert octets.tobytes() == before


def rss_of(path: Path) -> int:
    """How much of a mapped file is in memory, in kB."""
    maps = Path("/proc/self/smaps").read_text()
    return int(maps[maps.index(str(path)) :].split("Rss:", 1)[1].split()[0])


def test_a_job_with_little_memory_holds_smaller_texts_as_a_whole() -> None:
    assert whole_bytes_max(EngineSettings(memory_bytes_max=1 << 30)) == 128 << 20
    assert whole_bytes_max(EngineSettings(memory_bytes_max=1 << 40)) == 1 << 30
    assert whole_bytes_max(EngineSettings(whole_bytes_max=5)) == 5


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
