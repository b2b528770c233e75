"""A look at the first rows of a file as the gateway understands them, before anything is processed (C14)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from gateway.pipeline.cut_off import open_quote_is_a_sign
from gateway.pipeline.drop import Drop
from gateway.pipeline.header import read_header
from gateway.pipeline.judge import judge
from gateway.pipeline.problems import Problems
from gateway.pipeline.records import framed
from gateway.pipeline.result_form import result_columns
from gateway.pipeline.rows import ROW, START, STOP
from gateway.pipeline.source import Source, opened

PREVIEW_ROWS = 15


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a drop.

    columns: name and type of each column. rows: by record number, the values of a good row in normal form; a
    rejected row is in `rejected`, as it came. problems: a frame of problems.SCHEMA.
    """

    columns: dict[str, str]
    rows: dict[int, dict[str, str | None]]
    rejected: dict[int, str]
    problems: pl.DataFrame


def preview(drop: Drop, rows_max: int = PREVIEW_ROWS) -> Preview:
    """The first `rows_max` rows. Raises DropRefused for a file that would be refused."""
    with tempfile.TemporaryDirectory() as scratch:
        source = opened(drop, Path(scratch))
        problems = Problems(drop.policy.problems_max)
        with open_quote_is_a_sign(source):
            judged = judge(beginning(source, drop, rows_max), drop, problems)
    types = {column.name: column.type for column in drop.contract.columns} | judged.header.dates
    shown = result_columns(judged, drop, source.format)
    rows = {row[ROW]: {name: row[name] for name in shown} for row in judged.good.iter_rows(named=True)}
    columns = {name: types.get(name, "string") for name in shown}
    rejected = {
        row: source.raw(start, stop).decode(source.encoding, "replace").rstrip("\r\n")
        for row, start, stop in judged.rejected.select(ROW, START, STOP).iter_rows()
    }
    return Preview(columns, rows, rejected, problems.listed())


def beginning(source: Source, drop: Drop, rows_max: int) -> Source:
    """The source cut behind its header and so many records."""
    delimiter, skip = None, 0
    if source.format == "csv":
        header = read_header(source.octets, drop.contract, Problems(0), drop.policy.columns_max)
        delimiter, skip = ord(header.delimiter), header.stop
    stop, left = len(source.octets), rows_max
    for records in framed(source.octets, delimiter, 1):
        body = records.where((records.start >= skip) & (records.end > records.start))
        if len(body) >= left:
            stop = int(body.stop[left - 1])
            break
        left -= len(body)
    return replace(source, octets=source.octets[:stop])
