"""The feed's null marker: it blanks what is stored."""

from __future__ import annotations

import pytest

from tests.rules.conftest import Run, table

PROFILES = "clevertap-profiles"


@pytest.mark.parametrize(
    "column", ["Age", "Email", "Phone", "Tags", "Name", "Plan", "seen<Unix>", "seen<dd/MM/yyyy HH:mm:ss>"]
)
def test_the_null_marker_blanks_a_value_of_any_type(run: Run, column: str) -> None:
    result = run(table(["identity", column], ["1", "NULL"]), PROFILES, null_marker="NULL")
    assert (result.accepted, result.codes) == ([{"identity": "1", column: "NULL"}], {})


def test_the_null_marker_is_no_identity(run: Run) -> None:
    assert run(table(["identity", "Name"], ["-", "x"]), PROFILES, null_marker="-").codes == {"missing_identity": 1}
