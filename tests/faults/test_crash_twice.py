"""A gateway dies at one point of the way of a file, and again at another while it recovers."""

from __future__ import annotations

import random

import pytest

from tests.faults.outcomes import Reference
from tests.faults.points import CLAIMED, CRASHES, PUBLISHED, UNACKNOWLEDGED, Point
from tests.faults.site import Site
from tests.faults.test_crash import check, run

NAMED = {point.name: point for point in CRASHES}
CHOSEN = (
    ("the landing is committed", "the file is renamed into the inbox"),
    ("the claim is committed", "the file is linked into the work folder"),
    ("the outcome is committed", "the second result is visible"),
    ("the first result is visible", "all results but the report are visible"),
    ("the report is visible", "the end is not committed"),
    ("the renamed upload is open again", "the landing by rename is committed"),
)
IN_ORDER = [point for point in (*UNACKNOWLEDGED, *CLAIMED, *PUBLISHED) if point.script == "put"]


def drawn(seed: int, count: int) -> list[tuple[str, str]]:
    """Pairs of points, the second no earlier than the first; the same ones for each run."""
    dice = random.Random(seed)
    pairs = [sorted(dice.sample(range(len(IN_ORDER)), 2)) for _ in range(count)]
    return [(IN_ORDER[first].name, IN_ORDER[second].name) for first, second in pairs]


@pytest.mark.parametrize(("first", "second"), [*CHOSEN, *drawn(seed=4, count=4)])
def test_two_kills_in_succession_end_with_one_outcome(
    shared_site: Site, undisturbed: Reference, first: str, second: str
) -> None:
    points: list[Point] = [NAMED[first], NAMED[second]]
    undisturbed(points[0].script)
    check(shared_site, run(shared_site, points[0].script, *points), undisturbed, points[0].script)
