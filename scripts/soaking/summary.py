"""The soak in numbers: a table for people, and the same for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from scripts.soaking.client import Upload
from scripts.soaking.outcomes import OUTCOMES, Check

FAULTS = ("lost", "doubled", "torn")


def summary(check: Check, kills: Mapping[str, int], failure: str | None) -> dict[str, Any]:
    """Totals, the same for each program, kills by their way, and everything that is wrong."""
    programs = sorted({upload.program for upload in check.uploads})
    of_program = {name: [upload for upload in check.uploads if upload.program == name] for name in programs}
    return {
        **numbers(check, check.uploads),
        "kills_survived": sum(kills.values()),
        **{fault: check.count(fault) for fault in FAULTS},
        "kills": dict(sorted(kills.items())),
        "programs": {name: numbers(check, uploads) for name, uploads in of_program.items()},
        "failure": failure,
        "findings": [asdict(finding) for finding in check.findings],
    }


def numbers(check: Check, uploads: Iterable[Upload]) -> dict[str, int]:
    uploads = list(uploads)
    ended = Counter(check.outcomes.get((upload.client, upload.number)) for upload in uploads)
    return {
        "uploads": len(uploads),
        "tries": sum(upload.tries for upload in uploads),
        "acknowledged": sum(upload.acknowledged for upload in uploads),
        "outcomes": sum(ended[outcome] for outcome in OUTCOMES),
        **{outcome: ended[outcome] for outcome in OUTCOMES},
    }


def tables(found: Mapping[str, Any]) -> Iterator[Table]:
    columns = ("uploads", "tries", "acknowledged", "outcomes", *OUTCOMES)
    by_program = plain_table("client", *columns)
    for name, one in found["programs"].items():
        by_program.add_row(name, *(f"{one[column]:,}" for column in columns))
    yield by_program
    totals = plain_table("uploads", "acknowledged", "outcomes", "kills survived", *FAULTS)
    names = ("uploads", "acknowledged", "outcomes", "kills_survived", *FAULTS)
    totals.add_row(*(f"{found[name]:,}" for name in names))
    yield totals
    kills = plain_table(*(f"killed: {way}" for way in found["kills"]))
    kills.add_row(*(str(times) for times in found["kills"].values()))
    yield kills


def plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column == "client" else "right")
    return table
