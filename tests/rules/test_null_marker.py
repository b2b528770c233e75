"""The feed's null marker: it blanks what is stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gateway.config import FeedSettings
from gateway.contracts.model import parse
from gateway.pipeline.drop import Drop
from gateway.pipeline.process import process
from tests.rules.conftest import Run, table

PROFILES = "clevertap-profiles"


@pytest.mark.parametrize(
    "column", ["Age", "Email", "Phone", "Tags", "Name", "Plan", "seen<Unix>", "seen<dd/MM/yyyy HH:mm:ss>"]
)
def test_the_null_marker_blanks_a_value_of_any_type(run: Run, column: str) -> None:
    result = run(table(["identity", column], ["1", "NULL"]), PROFILES, null_marker="NULL")
    assert (result.accepted, result.codes) == ([{"identity": "1", column: "NULL"}], {})


def test_the_null_marker_is_no_identity(run: Run) -> None:
    assert run(table(["identity", "Name"], ["-", "x"]), PROFILES, null_marker="-").codes == {"missing_identity": 1}


ALL_TYPES = """
name = "every-type"
title = "Every type"
kind = "profiles"
formats = ["csv", "ndjson"]
identity = ["id"]
further_columns = "keep"
columns = [
    {name = "id"}, {name = "Name"}, {name = "Age", type = "integer"}, {name = "Share", type = "number"},
    {name = "Ok", type = "boolean"}, {name = "Data", type = "object"}, {name = "Tags", type = "tags"},
    {name = "since", type = "unix_time"},
]
"""
MARKED = dict.fromkeys(["Name", "Age", "Share", "Ok", "Data", "Tags", "since", "More"], "NULL")
WHOLE = {"Name": "B", "Age": 1, "Share": 1.5, "Ok": True, "Data": {"a": 1}, "Tags": ["x", "y"], "since": 1722156935}
IN_CSV = WHOLE | {"Ok": "true", "Data": '"{""a"": 1}"', "Tags": "x;y", "More": "m"}
AS_CSV = f"id,{','.join(MARKED)}\nann{',NULL' * len(MARKED)}\nbob,{','.join(str(IN_CSV[name]) for name in MARKED)}\n"
AS_NDJSON = "".join(
    json.dumps(row) + "\n" for row in ({"id": "ann"} | MARKED, {"id": "bob"} | WHOLE | {"Tags": "x;y", "More": "m"})
)


def accepted(folder: Path, name: str, text: str, form: str) -> Path:
    """The accepted file, in that format, of a drop with that text."""
    path = folder / name
    path.write_text(text)
    drop = Drop(
        job_id="", tenant="", feed="", name=name, generation=1, path=path, sha256="", as_of=datetime.now(UTC),
        uploaded_by=None, contract=parse(ALL_TYPES, "every-type.toml"),
        policy=FeedSettings.model_validate({"contract": "", "null_marker": "NULL", "result_format": form}),
    )  # fmt: skip
    assert process(drop, folder / "out").counts.accepted == 2  # type: ignore[union-attr]  # Nothing here is cut off.
    return folder / "out" / f"accepted.{form}"


@pytest.mark.parametrize(("name", "text"), [("a.csv", AS_CSV), ("a.ndjson", AS_NDJSON)])
def test_the_null_marker_stays_the_text_that_it_is_in_json(tmp_path: Path, name: str, text: str) -> None:
    lines = accepted(tmp_path, name, text, "ndjson").read_text().splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert rows == [{"id": "ann"} | MARKED, {"id": "bob"} | WHOLE | {"More": "m"}]


@pytest.mark.parametrize(("name", "text"), [("a.csv", AS_CSV), ("a.ndjson", AS_NDJSON)])
def test_the_null_marker_is_null_in_the_typed_columns_of_parquet(tmp_path: Path, name: str, text: str) -> None:
    marked, whole = pl.read_parquet(accepted(tmp_path, name, text, "parquet")).to_dicts()
    assert {column for column, value in marked.items() if value is None} == {"Age", "Share", "Ok"}
    assert (marked["Name"], whole["Age"], whole["Share"], whole["Ok"]) == ("NULL", 1, 1.5, True)
