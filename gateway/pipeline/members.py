"""The members of JSON objects, as lists of key and value: of a whole column at once, whatever its keys.

A column for each key would be quick for a few keys, and not fit into memory where each row has its own; putting
columns together as lists of pairs takes polars ten times as long as to take texts apart.
"""

from __future__ import annotations

import polars as pl

from gateway.pipeline import json_text
from gateway.pipeline.json_text import JsonFault

PAIRS = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
# Deeper than any feed allows a text to be nested, and than anything that was put together of such texts.
DEPTH_MAX = 256

_STRING = r'"(?:[^"\\]|\\.)*"'
_SCALAR = rf"(?:{_STRING}|[-+.0-9A-Za-z]+)"


def _nested(value: str) -> str:
    member = rf"{_STRING}: {value}"
    return rf"(?:{value}|\{{(?:{member}(?:, {member})*)?\}}|\[(?:{value}(?:, {value})*)?\])"


# A member of an object in canonical form (see `json_text`), nested as deep as nearly all are.
MEMBER = rf"{_STRING}: {_nested(_nested(_nested(_SCALAR)))}"


def members(texts: pl.Series) -> pl.Series:
    """The members of each object (PAIRS), values as JSON text, null for a JSON null; of a repeated key the first.

    `texts` are JSON objects in canonical form, none of them null.
    """
    found = texts.str.extract_all(MEMBER)
    pairs = found.list.eval(pair_of(pl.element()))
    odd = (found.list.join(", ").str.len_bytes() + 2 != texts.str.len_bytes()) | odd_keys(texts, pairs)
    odd = odd.fill_null(True)
    if not odd.any():
        return pairs
    index = odd.arg_true()
    exact = pl.Series([exactly(text) for text in texts.gather(index)], dtype=PAIRS)
    kept = pairs.filter(~odd)
    places = pl.concat([(~odd).arg_true(), index])
    return pl.concat([kept, exact]).gather(places.arg_sort()).alias(texts.name)


def pair_of(member: pl.Expr) -> pl.Expr:
    """`"a": 1` as key and value."""
    halves = member.str.splitn('": ', 2).struct
    value = halves.field("field_1")
    return pl.struct(
        halves.field("field_0").str.slice(1).alias("key"), pl.when(value != "null").then(value).alias("value")
    )


def odd_keys(texts: pl.Series, pairs: pl.Series) -> pl.Series:
    """Where a key comes twice, or has an escape."""
    keys = pairs.list.eval(pl.element().struct.field("key"))
    shapes = keys.list.join("\0")
    # Most rows have the keys of another one, so that there is little to look at.
    shape = shapes.unique()
    each = shape.str.split("\0")
    twice = shape.filter((each.list.n_unique() != each.list.len()) | shape.str.contains("\\", literal=True))
    return shapes.is_in(twice.implode()) if len(twice) else pl.repeat(False, len(texts), eager=True)


def exactly(text: str) -> list[dict[str, str | None]]:
    """As `members`, of one text that is read value by value."""
    value = json_text.parse(text, DEPTH_MAX)
    if isinstance(value, JsonFault) or not isinstance(value, dict):
        raise AssertionError("a JSON object in canonical form could not be read again")
    return [
        {"key": key, "value": None if inner is None else json_text.canonical(inner)} for key, inner in value.items()
    ]
