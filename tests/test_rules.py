"""Every rule that is built has a test, and every mark names a rule."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
BUILT = {"rules", "store"}


def owners() -> dict[str, str]:
    """The owner of each rule, by its id."""
    with (TESTS / "rule-ids.tsv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row["owner"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}


def marks() -> Iterator[tuple[str, str]]:
    """The place and the id of each `pytest.mark.rule(...)` under tests/."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.rule":
                place = f"{path.relative_to(TESTS)}:{node.lineno}"
                yield from ((place, ast.literal_eval(argument)) for argument in node.args)


def test_every_rule_has_a_test_that_carries_its_mark() -> None:
    marked = {rule for _, rule in marks()}
    assert [rule for rule, owner in owners().items() if owner in BUILT and rule not in marked] == []


def test_every_mark_names_a_rule() -> None:
    known = owners()
    assert [(place, rule) for place, rule in marks() if rule not in known] == []
