"""Rows that the store rejects: they stand among those that validation has rejected, in the order of the file.

Where that can come, the pipeline leaves what it has rejected and listed beside what the job brings to the store; the
drop itself is read again for the bytes of the rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateway.contracts.codes import CODES
from gateway.pipeline import contribution_files
from gateway.pipeline.drop import Drop
from gateway.pipeline.judge import read
from gateway.pipeline.problems import SCHEMA, Problems, shown
from gateway.pipeline.rows import LINE, ROW, place_of
from gateway.pipeline.source import Source, opened

REJECTED: Final = "rejected"
LISTED: Final = "listed.parquet"
CODE: Final = CODES["unknown_identity"]
# Which problems come first in a list: those of the file, those that are told once, those of rows.
PART: Final = "part"


def keep_rejected(folder: Path, rows: Iterable[NDArray[np.int64]]) -> None:
    """Leave the numbers of the rows that validation has rejected, durable."""
    with (folder / REJECTED).open("wb") as file:
        for part in rows:
            file.write(np.ascontiguousarray(part).data)
        file.flush()
        os.fsync(file.fileno())


def keep_listed(folder: Path, problems: Problems, listed: pl.DataFrame) -> None:
    """Leave the list of problems, durable."""
    of_file, told_once = problems.heads
    at = pl.int_range(pl.len())
    part = pl.when(at < of_file).then(0).when(at < of_file + told_once).then(1).otherwise(2)
    with (folder / LISTED).open("wb") as file:
        listed.with_columns(part.alias(PART)).write_parquet(file)
        file.flush()
        os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class Refused:
    """What the rejected file is written from, and the problems (of SCHEMA) of the rows that the store rejects.

    places: PLACE columns of all rejected rows, in the order of the file.
    """

    source: Source
    header: bytes
    places: pl.DataFrame
    problems: pl.DataFrame


def refused(drop: Drop, folder: Path, scratch: Path, rows: pl.Series) -> Refused:
    """The rows of a drop that the store rejects, and those that were rejected before; the drop is read again."""
    # Whatever was cut off has been judged, and is no accepted row.
    drop = replace(drop, on_cut_off="proven", for_store=False)
    source = opened(drop, scratch)
    header, _, pieces = read(source, drop, Problems(0))
    before = pl.Series(np.fromfile(folder / REJECTED, dtype=np.int64))
    wanted = pl.concat([before, rows.rename("")]).implode()
    places = pl.concat(place_of(piece.records, piece.first_row).filter(pl.col(ROW).is_in(wanted)) for piece in pieces)
    return Refused(source, header.raw, places, problems_of(places, folder, rows))


def problems_of(places: pl.DataFrame, folder: Path, rows: pl.Series) -> pl.DataFrame:
    """A problem for each of the rows, which names whom its event is of."""
    people = contribution_files.read(folder, "events", ["row", "namespace", "identity"])
    people = people.filter(pl.col("row").is_in(rows.implode()))
    told = places.select(row=ROW, line=LINE).join(people, on="row", maintain_order="left")
    return told.select(
        "row", "line", level=pl.lit("error"), column="namespace", code=pl.lit(CODE.name),
        value=shown(pl.col("identity")), message=pl.lit(CODE.meaning), hint=pl.lit(CODE.hint),
    ).cast(pl.Schema(SCHEMA))  # fmt: skip


def listed(folder: Path, found: pl.DataFrame, of_file: list[dict[str, Any]], listed_max: int) -> pl.DataFrame:
    """The list of problems with these of rows in their places, and with these of the file behind the others of it."""
    before = pl.read_parquet(folder / LISTED)
    first, told_once, of_rows = (before.filter(pl.col(PART) == part).drop(PART) for part in range(3))
    # What was found before in the same row stays before; rows that the list had no room for are behind all that it has.
    of_rows = pl.concat([of_rows, found]).sort("row", maintain_order=True).head(listed_max)
    return pl.concat([first, pl.DataFrame(of_file, schema=SCHEMA), told_once, of_rows])
