"""Columns whose values are JSON: objects, and tags as arrays of strings."""

from __future__ import annotations

import polars as pl

from gateway.pipeline import json_text
from gateway.pipeline.json_text import JsonFault

STRINGS_ONLY = r'^\[(?:"(?:[^"\\]|\\.)*"(?:, "(?:[^"\\]|\\.)*")*)?\]$'
ESCAPES = {"\\": "\\\\", '"': '\\"'} | {chr(number): f"\\u{number:04x}" for number in range(32)}


def objects(texts: pl.Series, depth_max: int, *, canonical: bool) -> tuple[pl.Series, dict[int, JsonFault]]:
    """JSON objects in canonical form; null where the text is none, and why, by its index.

    With `canonical` the texts are JSON in canonical form already, but for what they are.
    """
    if not canonical:
        return json_text.canonical_values(texts, objects_only=True, depth_max=depth_max)
    other = (~texts.str.starts_with("{")).fill_null(False)
    if not other.any():
        return texts, {}
    index = other.arg_true().to_list()
    faults = {at: JsonFault("not_object", f"found {json_text.kind(json_text.parse(texts[at]))}") for at in index}
    return texts.set(other, None), faults


def tags(texts: pl.Series) -> pl.Series:
    """Custom tags, `a;b` or a JSON array of strings, as a JSON array; null where the text is neither (F12)."""
    is_array = texts.str.contains(r"^\s*\[").fill_null(False)
    arrays = json_text.canonical_values(texts.set(~is_array, None), objects_only=False)[0]
    tag = pl.element().str.strip_chars()
    separate = texts.str.split(";").list.eval(tag.filter(tag != "").str.replace_many(ESCAPES))
    joined = pl.select(
        pl.when(separate.list.len() > 0).then('["' + pl.lit(separate).list.join('", "') + '"]').otherwise(pl.lit("[]"))
    ).to_series()
    strings = arrays.set(~arrays.str.contains(STRINGS_ONLY).fill_null(False), None)
    return pl.select(pl.when(is_array).then(strings).when(texts.is_not_null()).then(joined)).to_series()
