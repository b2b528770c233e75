"""The columns of the store's tables, and of the files in which a job hands over what it brings."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

MOMENT = pl.Datetime("us", "UTC")
TEXT, NUMBER, FLAG, BUCKET = pl.String(), pl.Int64(), pl.Boolean(), pl.Int32()

# What a job's staging holds, below `store/`: rows in the accepted order, not merged; few as an Arrow stream, more as
# Parquet. `time` is the row's own, else that of the upload: never null. Attributes are pairs in `attributes`
# (CONTRIBUTED: name and JSON text, a null value blanks), or a column each, TEXT_OF or JSON_OF and its name: text, or
# JSON text, `null` to blank. A null in such a column is an attribute that the row has not.
PROFILE_ROWS = pl.Schema({"namespace": TEXT, "identity": TEXT, "time": MOMENT, "row": NUMBER})
CONTRIBUTED = pl.List(pl.Struct({"key": TEXT, "value": TEXT}))
TEXT_OF, JSON_OF = "text:", "json:"
# `properties` is canonical JSON; `unique_key` a JSON array of the contract's `unique` columns, null without them.
EVENT_ROWS = pl.Schema(
    {
        "namespace": TEXT,
        "identity": TEXT,
        "name": TEXT,
        "type": TEXT,
        "time": MOMENT,
        "row": NUMBER,
        "properties": TEXT,
        "unique_key": TEXT,
        "can_trigger": FLAG,
        "in_activity_log": FLAG,
    }
)

# One attribute of a stored profile: its JSON text (null: blanked), and the update that set it.
ATTRIBUTE = pl.Struct({"value": TEXT, "time": MOMENT, "job": TEXT, "row": NUMBER})
ATTRIBUTES = pl.Map(TEXT, ATTRIBUTE)
# The same bytes as a list of pairs, which polars can explode and build.
PAIRS = pl.List(pl.Struct({"key": TEXT, "value": ATTRIBUTE}))


@dataclass(frozen=True, slots=True)
class Shape:
    """A table: its name, its columns (the partition's column first, which the files leave out), what it holds."""

    name: str
    schema: pl.Schema
    partition: str | None
    description: str

    @property
    def columns(self) -> list[str]:
        """The columns in the files."""
        return [name for name in self.schema if name != self.partition]


IDENTITIES = pl.Schema(
    {
        "bucket": BUCKET,
        "namespace": TEXT,
        "identity": TEXT,
        "attributes": ATTRIBUTES,
        "created": MOMENT,
        "updated": MOMENT,
        "created_by": TEXT,
        "updated_by": TEXT,
    }
)
HASHED = "`bucket` is N + crc32(key) modulo N, or negative where the row has not been put there yet."
PROFILES = Shape("profiles", IDENTITIES, "bucket", f"One row an identity; {HASHED}")
COMPANIES = Shape("companies", IDENTITIES, "bucket", f"One row a company; {HASHED}")
EVENTS = Shape(
    "events",
    pl.Schema(
        {
            "month": TEXT,
            "namespace": TEXT,
            "identity": TEXT,
            "name": TEXT,
            "type": TEXT,
            "time": MOMENT,
            "properties": TEXT,
            "feed": TEXT,
            "job": TEXT,
            "row": NUMBER,
            "received": MOMENT,
            "can_trigger": FLAG,
            "in_activity_log": FLAG,
            "unique_key": TEXT,
        }
    ),
    "month",
    "Append only; each event counts at its own time.",
)
# So that a property that is new to the tenant is known without a look at every profile.
ATTRIBUTE_NAMES = Shape(
    "attributes",
    pl.Schema({"of": TEXT, "name": TEXT, "first_seen": MOMENT, "first_job": TEXT}),
    None,
    "The names of attributes that profiles and companies have had, and the job that brought each first.",
)
SHAPES = {shape.name: shape for shape in (PROFILES, COMPANIES, EVENTS, ATTRIBUTE_NAMES)}
