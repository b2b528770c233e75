"""A gateway, or its worker, dies at each named point of the way of a file: there is one outcome all the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from tests.faults.outcomes import Outcome, check_transitions, outcomes
from tests.faults.partner import SCRIPTS, Partner
from tests.faults.points import CRASHES, Point
from tests.faults.site import Site, until

Reference = Callable[[str], dict[str, Outcome]]
named = pytest.mark.parametrize("point", CRASHES, ids=lambda point: point.name.replace(" ", "-"))


def die_at(point: Point, site: Site) -> None:
    """Wait until somebody has died there, and see to it that a gateway serves."""
    until(lambda: not site.armed() or site.has_died(), site.log)
    if point.victim == "gateway" and site.process is not None:
        until(site.has_died, site.log)
        site.see_it_die()
        site.serve()


def digests(contents: list[bytes]) -> set[str]:
    return {hashlib.sha256(content).hexdigest() for content in contents}


@named
def test_a_kill_at_any_point_ends_with_one_outcome(shared_site: Site, undisturbed: Reference, point: Point) -> None:
    expected = undisturbed(point.script)
    site = shared_site
    partner = Partner(site)
    before = site.process
    site.arm(point.name)
    SCRIPTS[point.script](partner)
    if site.process is before:
        die_at(point, site)
    assert site.armed() == [], "nobody came by the point"
    site.ended(len(partner.acknowledged))
    found = outcomes(site)
    # What was taken back may have been on its way already.
    perhaps = digests(partner.taken_back)
    assert found.keys() - perhaps == expected.keys() - perhaps == digests(partner.acknowledged)
    assert found == {sha256: (undisturbed("overwrite") | expected)[sha256] for sha256 in found}
    check_transitions(site)
