"""Objects taken apart as texts have the members that reading them gives."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pipeline import json_text, members
from gateway.pipeline.members import KEY_ENDS, PAIRS, VALUE_ENDS

KEYS = st.text(max_size=4) | st.sampled_from(["a", "b", '": ', ", ", "\\", '"', "null", "}", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


def canonical(value: Any) -> str:
    return json_text.canonical(json_text.parse(json.dumps(value, ensure_ascii=False)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=5))
def test_members_are_those_of_the_object(objects: list[dict[str, Any]]) -> None:
    texts = pl.Series("t", [canonical(value) for value in objects], dtype=pl.String)
    found = members.members(texts)
    assert (found.dtype, len(found)) == (PAIRS, len(texts))
    wanted = [{key: None if inner is None else canonical(inner) for key, inner in value.items()} for value in objects]
    assert [{pair["key"]: pair["value"] for pair in pairs} for pairs in found.to_list()] == wanted
    assert [len(pairs) for pairs in found.to_list()] == [len(value) for value in objects]


def test_the_first_of_a_repeated_key_counts_and_no_depth_is_too_much() -> None:
    deep = '{"a": ' * 100 + "1" + "}" * 100
    found = members.members(pl.Series(['{"a": 1, "b": null, "a": 2}', deep]))
    assert found.to_list() == [
        [{"key": "a", "value": "1"}, {"key": "b", "value": None}],
        [{"key": "a", "value": deep[6:-1]}],
    ]


def test_columns_are_pairs_and_a_row_without_any_has_none() -> None:
    texts = [f'a{KEY_ENDS}"x"{VALUE_ENDS}b{KEY_ENDS}null', "", f"c{KEY_ENDS}1"]
    found = members.paired(pl.Series(texts))
    assert found.to_list() == [
        [{"key": "a", "value": '"x"'}, {"key": "b", "value": None}],
        [],
        [{"key": "c", "value": "1"}],
    ]
