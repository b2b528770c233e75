"""Accepted rows as lines of a CSV: what polars itself would write, whether they are put together early or late."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pipeline.csv_lines import line_of
from gateway.pipeline.followed import followed_digest

VALUES = st.none() | st.text(st.sampled_from('ab",;\n\r é'), max_size=5)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=12),
    delimiter=st.sampled_from(",;\t|"),
)
def test_a_line_is_what_polars_writes(rows: list[tuple[str | None, ...]], delimiter: str) -> None:
    frame = pl.DataFrame(rows, schema=dict.fromkeys("abc", pl.String), orient="row").with_row_index()
    lines = frame.select("index", line=line_of(frame, ["a", "b", "c"], delimiter, set()))["line"].to_list()
    written = frame.select("a", "b", "c").write_csv(include_header=False, separator=delimiter, quote_style="necessary")
    assert "".join(f"{line}\n" for line in lines) == written


def test_a_file_is_hashed_as_far_as_it_is_written_at_last(tmp_path: Path) -> None:
    parts = [bytes([at]) * 3_000_000 for at in range(30)]

    def produce(path: Path) -> None:
        with path.open("wb", buffering=0) as file:
            for part in parts:
                file.write(part)

    whole = b"".join(parts)
    assert followed_digest(tmp_path / "a", produce) == (len(whole), hashlib.sha256(whole).hexdigest())
