"""Random and damaged bytes of every kind: the pipeline always ends with an outcome or a suspicion, and counts add up.

HOSTILE_EXAMPLES in the environment says how many files of a kind are tried; a long run is made so by hand.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import contracts
from gateway.config import FeedSettings
from gateway.pipeline.drop import Drop, OnCutOff, Outcome, Suspect
from gateway.pipeline.process import process
from tests.pipeline.conftest import AS_OF

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "25"))
hostile = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

PIECES = [
    b'"', b'""', b",", b";", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\0", b"\\", b"\\u0000", b"\\ud800", b'\\"', b"{",
    b"}", b"[", b"]", b":", b"null", b"true", b"NaN", b"1e999", b"-0", b"9" * 40, b"\xff", b"\xc3",
    b"\xe2\x80\xa8", b"\x1f", b"\x85", b" ", b"=1+1", b"<script>", b"\xef\xbb\xbf", b"\xff\xfe", b"PK\x03\x04",
    b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b'{"a":' * 70, b"[" * 70,
    b'"metadata":{"a":[{"b":1}]},', b'"identity":[1],', b'"":1,',
    b"2024-02-30", b"1719828000", b"identity", b'{"identity":"1","evtName":"e"}\n',
]  # fmt: skip
CONTRACTS = contracts.builtin_names()


def valid(contract: str) -> list[bytes]:
    """Small good files: the samples that partners get."""
    return [text.encode() for text in contracts.load(contract).samples.values()]


@st.composite
def damaged(draw: st.DrawFn, bodies: list[bytes]) -> bytes:
    """A file in which some bytes were replaced, left out, repeated or put in."""
    body = bytearray(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(0, 6))):
        at, width = draw(st.integers(0, len(body))), draw(st.integers(0, 12))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
        body[at : at + width] = piece * draw(st.sampled_from([1, 1, 1, 2, 50]))
    return bytes(body)


@st.composite
def packed(draw: st.DrawFn, bodies: list[bytes]) -> bytes:
    """The same in gzip members and zstd frames, and then damaged again."""
    whole = b""
    for _ in range(draw(st.integers(1, 3))):
        body = draw(damaged(bodies))
        whole += gzip.compress(body) if draw(st.booleans()) else zstandard.compress(body)
    return draw(damaged([whole])) if draw(st.booleans()) else whole


def ends_well(body: bytes, contract: str, name: str, on_cut_off: OnCutOff, **policy: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "original")
        path.write_bytes(body)
        loaded = contracts.load(contract)
        drop = Drop(
            job_id="0190f0f0-0000-7000-8000-000000000001", tenant="acme", feed="feed", name=name, generation=1,
            path=path, sha256=hashlib.sha256(body).hexdigest(), as_of=AS_OF, uploaded_by=None, contract=loaded,
            policy=FeedSettings.model_validate({"contract": contract} | policy), on_cut_off=on_cut_off,
        )  # fmt: skip
        outcome = process(drop, Path(folder, "out"))
        if isinstance(outcome, Suspect):
            assert on_cut_off == "hold"
            return
        assert isinstance(outcome, Outcome)
        assert outcome.counts.add_up
        report = json.loads(Path(folder, "out", "report.json").read_text())
        assert report["status"] == "completed" or report["reason_for_failure"]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_damaged_files_end_with_an_outcome_whatever_was_done_to_them(contract: str) -> None:
    bodies = valid(contract)

    @hostile
    @given(
        body=damaged(bodies) | packed(bodies) | st.lists(st.sampled_from(PIECES)).map(b"".join) | st.binary(),
        name=st.sampled_from(["a.csv", "a.ndjson", "a.csv.gz", "a"]),
        on_cut_off=st.sampled_from(["hold", "refuse", "process", "proven"]),
        result=st.sampled_from(["same", "csv", "ndjson", "parquet"]),
        depth=st.sampled_from([1, 3, 64]),
        encoding=st.sampled_from(["utf-8", "utf-8", "latin-1"]),
    )
    def holds(body: bytes, name: str, on_cut_off: OnCutOff, result: str, depth: int, encoding: str) -> None:
        ends_well(body, contract, name, on_cut_off, result_format=result, json_depth_max=depth, encoding=encoding)

    holds()
