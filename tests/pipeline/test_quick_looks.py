"""What is skipped because a quick look tells that there is nothing to do gives what the long way gives."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway import contracts
from gateway.pipeline import json_text
from gateway.pipeline.findings import Check
from gateway.pipeline.rules import Asked, rules_of
from tests.pipeline.conftest import run_pipeline
from tests.pipeline.test_properties import CASES, drops

# A counterexample that is not the smallest is found in seconds, the smallest in minutes.
relaxed = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.reuse, Phase.generate]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
@settings(deadline=None)
@given(objects=st.lists(st.dictionaries(st.text(max_size=4), values, max_size=4), min_size=1, max_size=5))
def test_json_that_is_taken_as_it_stands_is_what_reading_it_would_give(
    separators: tuple[str, str], objects: list[dict[str, object]]
) -> None:
    texts = pl.Series([json.dumps(one, ensure_ascii=False, separators=separators) for one in objects])
    taken = json_text.canonical_values(texts.clone(), objects_only=True)
    read = json_text.read_values(texts.clone(), objects_only=True, depth_max=json_text.DEPTH_MAX)
    assert taken[0].to_list() == read[0].to_list()
    assert taken[1] == read[1]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('{"a": 1, "b": [true, null], "c": {"d": {"e": "x"}}}', True),
        ('{"a": 01}', False),
        ('{"a": 1,}', False),
        ('{"a": 1.50}', False),
        ('{"a":1}', False),
        ('{"a": "\\u0041"}', False),
        ('{"a": 1} ', False),
    ],
)
def test_only_json_in_canonical_form_is_taken_as_it_stands(text: str, canonical: bool) -> None:
    assert pl.Series([text]).str.contains(json_text.CANONICAL_OBJECT).to_list() == [canonical]


@pytest.mark.parametrize(("contract", "form"), CASES)
def test_a_check_that_is_not_tried_would_have_found_nothing(
    contract: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @relaxed
    @given(body=drops(contract, form))
    def holds(body: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            quick = run_pipeline(Path(folder), body, contract, name=f"a.{form}")
        with tempfile.TemporaryDirectory() as folder, monkeypatch.context() as patched:
            patched.setattr(Check, "can_break", lambda check, frame: True)
            full = run_pipeline(Path(folder), body, contract, name=f"a.{form}")
        times = dict.fromkeys(("start_time", "end_time", "elapsed_time", "files"))
        assert quick.report | times == full.report | times
        assert quick.files.get("errors") == full.files.get("errors")

    holds()


def test_the_rules_of_a_contract_are_made_once_however_often_it_comes() -> None:
    contract = contracts.load("userpilot-import")
    again = pickle.loads(pickle.dumps(contract))  # noqa: S301  # Just pickled here.
    first = rules_of(Asked(contract.sha256, (), "UTC", contract))
    assert rules_of(Asked(again.sha256, (), "UTC", again)) is first
    assert rules_of(Asked(contract.sha256, (), "Europe/Berlin", contract)) is not first
