"""The results of a drop that is spooled: as `process.conclude` writes them, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from gateway.pipeline import csv_lines, results
from gateway.pipeline import report as reports
from gateway.pipeline.drop import Counts, Drop
from gateway.pipeline.histogram import MOMENT, spread_over
from gateway.pipeline.judge import Judged
from gateway.pipeline.order import Concluded
from gateway.pipeline.pieces.arranged import Arranged, arranged
from gateway.pipeline.pieces.numbers import Numbers
from gateway.pipeline.pieces.runs import NO_TIME, times_of
from gateway.pipeline.pieces.spool import Spool
from gateway.pipeline.problems import Problems
from gateway.pipeline.result_form import columns_of, is_rendered, properties_of, result_format, too_many_errors
from gateway.pipeline.source import Source
from gateway.pipeline.staging import Staging
from gateway.pipeline.validate import TIME

# As polars has it where it writes a frame as a whole.
ROW_GROUP_ROWS = 512 * 512

Parts = Iterator[pl.DataFrame]


def conclude(drop: Drop, source: Source, judged: Judged, spool: Spool, out: Staging, problems: Problems) -> Concluded:
    """Order and write what was judged."""
    spool.close()
    good, rejected = len(spool.rows), len(spool.rejected)
    total = good + rejected
    facts = reports.Facts(drop.path.stat().st_size)
    if rejected:
        out.write(f".rejected.{source.format}", spool.rejected_path.rename)
    if reason := too_many_errors(drop, rejected, total):
        problems.add_of_file("too_many_errors", reason)
        return Concluded(Counts(total, rejected=rejected, withheld=good, blank=judged.blank), facts, reason)
    done = arranged(spool, drop.contract)
    counts = Counts(total, done.height, done.merged, done.duplicates, rejected, blank=judged.blank)
    moments = Numbers(spool.folder / "moments", np.int64)
    columns = write_accepted(drop, source, judged, spool, done, moments, out)
    facts = reports.Facts(
        facts.file_size,
        order=order_facts(moments, TIME in spool.present, done.moved),
        time_columns=judged.tallies.times.told(),
        properties=properties_of(drop, columns),
        histogram=spread_over(partial(series, moments)),
        columns=tuple(judged.header.names or sorted(judged.further)),
        has_header=bool(judged.header.names),
    )
    return Concluded(counts, facts, left_out=done.left_out, rejected=spool.rejected.parts())


def write_accepted(
    drop: Drop, source: Source, judged: Judged, spool: Spool, done: Arranged, moments: Numbers[np.int64], out: Staging
) -> list[str]:
    """The accepted rows in the format of the drop, or of the feed; returns their columns.

    Their times go to `moments`.
    """
    rendered = is_rendered(source, drop)
    form = result_format(source, drop)
    columns = columns_of(judged.header, drop.contract, spool.present, spool.valued, form)
    needed = [results.RENDERED, *further_of(spool, columns)] if rendered else columns
    parts = watched(done.parts, needed, moments)
    writers: dict[str, Callable[[Path], object]] = {
        "csv": partial(write_csv, parts, columns, judged.header.delimiter, rendered=rendered),
        "ndjson": partial(write_rendered, parts) if rendered else partial(write_ndjson, parts, columns, drop, judged),
        "parquet": partial(write_parquet, parts, columns, drop, spool.folder),
    }
    if done.height:
        out.write(f".accepted.{form}", writers[form])
    return sorted(judged.further) if rendered and form == "ndjson" else columns


def watched(parts: Parts, columns: list[str], moments: Numbers[np.int64]) -> Parts:
    """The parts, with all of the columns; null where a part has none of one."""
    for part in parts:
        if TIME in part.columns:
            moments.add(times_of(part))
        missing = [name for name in columns if name not in part.columns]
        yield part.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in missing)


def further_of(spool: Spool, columns: list[str]) -> list[str]:
    """The columns of a CSV that are not in its rendered lines yet."""
    return [name for name in columns if name in spool.present]


def write_csv(parts: Parts, columns: list[str], delimiter: str, path: Path, *, rendered: bool) -> None:
    append = csv_lines.append if rendered else results.append_csv
    with path.open("wb") as file:
        for at, part in enumerate(parts):
            append(part, columns, delimiter, file, header=at == 0)


def write_ndjson(parts: Parts, columns: list[str], drop: Drop, judged: Judged, path: Path) -> None:
    with path.open("wb") as file:
        for part in parts:
            results.append_ndjson(part, drop, columns, judged.json_columns, judged.escapes, file)


def write_rendered(parts: Parts, path: Path) -> None:
    with path.open("wb") as file:
        for part in parts:
            results.append_rendered(part, file)


def write_parquet(parts: Parts, columns: list[str], drop: Drop, folder: Path, path: Path) -> None:
    """Parts as they come make row groups of uneven size, so polars puts them together anew."""
    written: list[Path] = []
    for part in parts:
        written.append(folder / f"part-{len(written)}")
        results.typed(part, drop, columns).write_ipc(written[-1])
    pl.scan_ipc(written).sink_parquet(path, row_group_size=ROW_GROUP_ROWS)


def order_facts(moments: Numbers[np.int64], has_times: bool, moved: int) -> dict[str, object]:
    """As `report.order_facts`, of the first and the last moment of all."""
    if not has_times:
        return reports.order_facts(pl.DataFrame(), TIME, moved)
    ends = [end for part in series(moments) for end in (part.min(), part.max())]
    return reports.order_facts(pl.DataFrame({TIME: ends}, schema={TIME: MOMENT}), TIME, moved)


def series(moments: Numbers[np.int64]) -> Iterator[pl.Series]:
    """Moments as times, null where there is none."""
    for part in moments.parts():
        numbers = pl.Series(part)
        yield numbers.set(numbers == NO_TIME, None).cast(MOMENT)
