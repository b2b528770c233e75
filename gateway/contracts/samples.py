"""What `samples/<feed>/` shows a partner: sample files, the contract in words, its JSON Schema, the limits."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from gateway import durable
from gateway.config import FeedSettings
from gateway.contracts.model import Contract
from gateway.contracts.schema import json_schema
from gateway.contracts.words import in_words


def write(contract: Contract, policy: FeedSettings, folder: Path) -> None:
    """Write the samples of a feed; files that already say the same are left alone (C25, C32, C33)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files(contract, policy).items():
        content = text.encode()
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            durable.write(path, content)


def files(contract: Contract, policy: FeedSettings) -> dict[str, str]:
    """Name and text of each file."""
    return {
        **(contract.samples or {"sample.csv": from_examples(contract)}),
        "CONTRACT.md": in_words(contract, policy),
        "schema.json": json.dumps(json_schema(contract), indent=2, ensure_ascii=False) + "\n",
        "limits.json": json.dumps(limits(policy), indent=2) + "\n",
    }


def limits(policy: FeedSettings) -> dict[str, int | float]:
    """The limits of a feed, with their units in their names."""
    return {
        "drop_bytes_max": policy.drop_bytes_max,
        "inbox_files_max": policy.inbox_files_max,
        "inbox_bytes_max": policy.inbox_bytes_max,
        "expanded_bytes_max": policy.expanded_bytes_max,
        "rows_max": policy.rows_max,
        "columns_max": policy.columns_max,
        "line_bytes_max": policy.line_bytes_max,
        "json_depth_max": policy.json_depth_max,
        "expansion_ratio_max": policy.expansion_ratio_max,
        "max_error_rate": policy.max_error_rate,
        "problems_listed_max": policy.problems_max,
    }


def from_examples(contract: Contract) -> str:
    """A CSV with one row, made of the examples of the contract's columns."""
    columns = [column for column in contract.columns if column.example]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerow([column.example for column in columns])
    return text.getvalue()
