"""Running the pipeline on bytes, and looking at what it wrote."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import contracts
from gateway.config import FeedSettings
from gateway.contracts import Contract
from gateway.pipeline.drop import Drop, Outcome
from gateway.pipeline.process import outcome_of
from gateway.pipeline.settle import settled
from gateway.store import Facts

AS_OF = datetime(2024, 8, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Result:
    """An outcome, its report, and its staged files by role (accepted, rejected, errors)."""

    outcome: Outcome
    report: dict[str, Any]
    files: dict[str, bytes]

    @property
    def accepted(self) -> list[dict[str, Any]]:
        return records(self.files.get("accepted", b""))

    @property
    def errors(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.files.get("errors", b"").decode(), newline="")))

    @property
    def codes(self) -> dict[str, int]:
        found: dict[str, int] = self.report["problems_by_code"]
        return found

    def problem(self, code: str) -> dict[str, Any]:
        """The first problem of that code in the report."""
        return next(problem for problem in self.report["problems"] if problem["code"] == code)


def records(body: bytes) -> list[dict[str, Any]]:
    """The rows of a CSV with a header, or of an NDJSON."""
    text = body.decode()
    if text.startswith("{"):
        return [json.loads(line) for line in text.split("\n") if line]
    return list(csv.DictReader(io.StringIO(text, newline="")))


Run = Callable[..., Result]


def run_pipeline(
    folder: Path, body: bytes, contract: str | Contract, name: str = "drop.csv", as_of: datetime = AS_OF, **given: Any
) -> Result:
    """Process the bytes as a drop; what is not a parameter of Drop is a policy of the feed."""
    of_drop = {key: given.pop(key) for key in list(given) if key in Drop.__slots__}
    path = folder / "original"
    path.write_bytes(body)
    loaded = contracts.load(contract) if isinstance(contract, str) else contract
    drop = Drop(
        job_id="0190f0f0-0000-7000-8000-000000000001", tenant="acme", feed="feed", name=name, path=path,
        sha256=hashlib.sha256(body).hexdigest(), as_of=as_of, uploaded_by="ann@acme.example", contract=loaded,
        policy=FeedSettings(contract=loaded.name, **given), **({"generation": 1} | of_drop),
    )  # fmt: skip
    staging = folder / "out"
    outcome = outcome_of(drop, staging)
    if outcome.contributed and outcome.contributed.rows:
        # Its report waits for what the store makes of it; here that is nothing.
        outcome = settled(staging, outcome, Facts(drop.job_id))
    files = {Path(file.staged).name.split(".")[0]: (staging / file.staged).read_bytes() for file in outcome.files}
    return Result(outcome, json.loads(files.pop("report")), files)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(body, contract, name="drop.csv", **policy)`: the pipeline on bytes."""

    def call(body: bytes | str, contract: str, **given: Any) -> Result:
        return run_pipeline(tmp_path, body.encode() if isinstance(body, str) else body, contract, **given)

    return call
