"""Drops as the documents describe them, and the pipeline that they go through."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.conftest import Result, run_pipeline

Run = Callable[..., Result]
Record = dict[str, Any]

EXAMPLES = Path(__file__).parent / "examples"
USERPILOT = "userpilot-import"
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/91.0.4472.124 Safari/537.36"
)
SEEN = {"source": "backend-http", "inserted_at": "2024-07-28T08:55:35Z"}
RECORDS: dict[str, Record] = {
    "identify_user": SEEN | {"event_type": "identify_user", "user_id": "u1", "metadata": {"name": "Jane"}},
    "identify_company": SEEN | {"event_type": "identify_company", "company_id": "c1", "metadata": {"name": "Acme"}},
    "page_view": SEEN | {"event_type": "page_view", "user_id": "u1", "hostname": "app.example.com", "pathname": "/"},
    "track": SEEN | {"event_type": "track", "user_id": "u1", "event_name": "clicked", "metadata": {"plan": "pro"}},
}


def record(kind: str, **changes: Any) -> Record:
    """A good Userpilot record of that type, changed; None takes a key out."""
    return {key: value for key, value in (RECORDS[kind] | changes).items() if value is not None}


def ndjson(*records: Record) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in records)


def table(*rows: Sequence[str]) -> bytes:
    """A CSV; the first row is the header."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(body, contract, name="drop.csv", **policy)`: the pipeline on bytes; every row is accounted for."""

    def call(body: bytes | str, contract: str, **given: Any) -> Result:
        result = run_pipeline(tmp_path, body.encode() if isinstance(body, str) else body, contract, **given)
        assert result.outcome.counts.add_up
        return result

    return call


@pytest.fixture
def userpilot(run: Run) -> Run:
    """`userpilot(*records, **policy)`: the pipeline on an NDJSON of Userpilot records."""

    def call(*records: Record, **given: Any) -> Result:
        return run(ndjson(*records), USERPILOT, name="drop.ndjson", **given)

    return call
