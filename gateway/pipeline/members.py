"""The members of JSON objects, and the columns of a row, as lists of key and value.

Of a whole column at once, whatever its keys: a column for each would not fit into memory where each row has its own.
Polars takes texts apart ten times as fast as it puts columns together as lists, so these become texts first.
"""

from __future__ import annotations

import polars as pl

from gateway.pipeline import json_text
from gateway.pipeline.json_text import JsonFault

PAIRS = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
# No key and no JSON text holds a control character.
KEY_ENDS, VALUE_ENDS = "\x1e", "\x1f"
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
    pairs = parted(found, '": ', key=pl.field("key").str.slice(1))
    unread = found.list.join(", ").str.len_bytes() + 2 != texts.str.len_bytes()
    odd = unread.fill_null(True) | odd_keys(texts, pairs)
    if not odd.any():
        return pairs
    index = odd.arg_true()
    exact = pl.Series([exactly(text) for text in texts.gather(index)], dtype=PAIRS)
    kept = pairs.filter(~odd)
    places = pl.concat([(~odd).arg_true(), index])
    return pl.concat([kept, exact]).gather(places.arg_sort()).alias(texts.name)


def paired(texts: pl.Series) -> pl.Series:
    """Texts of keys and values as PAIRS: KEY_ENDS behind each key, VALUE_ENDS between one pair and the next."""
    pairs = parted(texts.str.split(VALUE_ENDS), KEY_ENDS)
    empty = texts == ""
    return pairs.zip_with(~empty, pl.Series([[]], dtype=PAIRS).new_from_index(0, len(texts))) if empty.any() else pairs


def parted(found: pl.Series, between: str, *, key: pl.Expr | None = None) -> pl.Series:
    """Lists of texts as PAIRS of what is before and behind the first `between`. A JSON null is null."""
    pair = pl.element().str.splitn(between, 2).struct.rename_fields(["key", "value"])
    known = pl.when(pl.field("value") != "null").then(pl.field("value")).alias("value")
    cells = [known] if key is None else [key, known]
    # In two steps, since each text would be taken apart once for the key and once for the value.
    return found.list.eval(pair).list.eval(pl.element().struct.with_fields(cells))


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
