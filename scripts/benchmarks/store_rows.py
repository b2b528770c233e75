"""The rows of the store's benchmark: profiles of ten attributes each, updates of some of them, and events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

START = datetime(2024, 1, 1, tzinfo=UTC)
BLOCK_ROWS = 250_000
# Attributes as partners have them: of few values, of many, and of one for each. As the pipeline leaves them for the
# store each is a column, of text or of JSON.
ATTRIBUTES = {
    "text:Name": "Person {}",
    "text:Email": "person-{}@example.com",
    "text:Phone": "0207946{}",
    "json:Age": "{}",
    "text:City": "City {}",
    "text:Plan": "plan-{}",
    "json:Score": "{}.5",
    "text:Company": "Company {}",
    "json:Tags": '["tag-{}", "imported"]',
    "text:Last seen": "2024-01-01T00:00:{}Z",
}
KINDS = {
    "Age": 80, "City": 500, "Plan": 4, "Score": 1_000, "Company": 5_000, "Tags": 50, "Last seen": 60,
}  # fmt: skip


def profile_rows(numbers: pl.Series, salt: int) -> pl.DataFrame:
    """The rows of these people; another salt gives other values, at a later time."""
    number = pl.col("number")

    def value(column: str) -> pl.Expr:
        name = column.partition(":")[2]
        seed = (number * 7 + salt) % KINDS[name] if name in KINDS else number + salt
        return pl.format(ATTRIBUTES[column], seed)

    return numbers.to_frame("number").select(
        namespace=pl.lit("identity"),
        identity=pl.format("person-{}", number),
        time=pl.lit(START + timedelta(days=salt)).cast(pl.Datetime("us", "UTC")) + pl.duration(milliseconds=number),
        row=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
        **{name: value(name) for name in ATTRIBUTES},
    )


def event_rows(count: int, people: int) -> pl.DataFrame:
    """Events of two months, oldest first, of people who are known."""
    number = pl.col("number")
    return pl.int_range(count, eager=True).to_frame("number").select(
        namespace=pl.lit("identity"),
        identity=pl.format("person-{}", number * 7919 % people),
        name=pl.format("event {}", number % 20),
        type=pl.lit("track"),
        time=pl.lit(START).cast(pl.Datetime("us", "UTC")) + pl.duration(milliseconds=number * (5_000_000_000 // count)),
        row=number + 1,
        properties=pl.concat_str(
            pl.lit('{"amount":'), number % 997, pl.lit(',"currency":"EUR","page":"/p/'), number % 5_003, pl.lit('"}')
        ),
        unique_key=pl.lit(None, pl.String),
        can_trigger=pl.lit(value=False),
        in_activity_log=pl.lit(value=False),
    )  # fmt: skip


def updates(stored: int, count: int) -> pl.Series:
    """Half of them people who are stored, spread over all; half new."""
    known = pl.int_range(count // 2, eager=True) * (stored // (count // 2))
    return pl.concat([known, pl.int_range(stored, stored + count - count // 2, eager=True)]).shuffle(seed=7)


def write_profiles(folder: Path, numbers: pl.Series, salt: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frames = [profile_rows(numbers[at : at + BLOCK_ROWS], salt) for at in range(0, len(numbers), BLOCK_ROWS)]
    whole = pl.concat(frames).with_columns(row=pl.int_range(1, len(numbers) + 1, dtype=pl.Int64))
    whole.write_parquet(folder / "profiles.parquet", compression="zstd", compression_level=1, row_group_size=50_000)


def write_events(folder: Path, count: int, people: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    event_rows(count, people).write_parquet(folder / "events.parquet", compression="zstd", compression_level=1)
