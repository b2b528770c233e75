"""Form-style columns of a CSV: `data[price]` means the same as `{"data": {"price": …}}` (B20, B21)."""

from __future__ import annotations

import json
import re

import polars as pl

from gateway.contracts import Contract
from gateway.contracts.value_types import NUMBER
from gateway.pipeline import json_text

# A longer number would not survive as a JSON number everywhere; it stays a string.
NUMBER_CHARACTERS_MAX = 15


def nested_columns(names: list[str], contract: Contract) -> dict[str, str]:
    """The form-style columns among `names`, each with its key in the object."""
    if contract.nested is None:
        return {}
    shape = re.compile(re.escape(contract.nested) + r"\[([^\[\]]+)\]")
    return {name: match[1] for name in names if (match := shape.fullmatch(name))}


def with_nested(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The object column put together from the form-style ones; blank cells are absent."""
    columns = nested_columns(frame.columns, contract)
    if not columns or contract.nested is None:
        return frame
    members = [
        pl.when(pl.col(name).str.contains(r"\S")).then(pl.lit(f"{json.dumps(key, ensure_ascii=False)}: ") + value(name))
        for name, key in columns.items()
    ]
    text = pl.lit("{") + pl.concat_str(members, separator=", ", ignore_nulls=True) + pl.lit("}")
    return frame.with_columns(text.alias(contract.nested))


def value(name: str) -> pl.Expr:
    """A cell as a JSON value: numbers and booleans as such, all else as a string."""
    text = pl.col(name)
    bare = text.str.contains(NUMBER) & (text.str.len_bytes() <= NUMBER_CHARACTERS_MAX) | text.is_in(["true", "false"])
    return pl.when(bare).then(text).otherwise(json_text.quoted(text))
