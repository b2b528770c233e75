"""A gateway, or its worker, dies at each named point of the way of a file: there is one outcome all the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from tests.conftest import standing
from tests.faults.outcomes import Reference, check_transitions, outcomes
from tests.faults.partner import MORE, PEOPLE, SCRIPTS, GatewayDied, Partner
from tests.faults.points import CRASHES, UNACKNOWLEDGED, Point
from tests.faults.site import Site
from tests.waiting import until


def digests(contents: list[bytes]) -> set[str]:
    return {hashlib.sha256(content).hexdigest() for content in contents}


def of(points: Sequence[Point]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("point", points, ids=lambda point: point.name.replace(" ", "-"))


def check(site: Site, partner: Partner, undisturbed: Reference, script: str) -> None:
    """Compare what came of the files with a run in which nobody died."""
    site.ended(len(partner.acknowledged))
    found, expected = outcomes(site), undisturbed(script)
    # What was taken back may have been on its way already.
    perhaps = digests(partner.taken_back)
    assert found.keys() - perhaps == expected.keys() - perhaps == digests(partner.acknowledged)
    assert found == {sha256: (undisturbed("overwrite") | expected)[sha256] for sha256 in found}
    check_transitions(site)
    until(lambda: not standing(site.inbox), lambda: f"left in the inbox: {standing(site.inbox)}")


def run(site: Site, script: str, *points: Point) -> Partner:
    """The script, and deaths at the points."""
    partner = Partner(site)
    deaths = site.deaths + sum(point.victim == "gateway" for point in points)
    site.arm(*(point.name for point in points))
    SCRIPTS[script](partner)
    while site.deaths < deaths:
        until(site.has_died, lambda: f"nobody came by {site.armed()}\n{site.log()}")
        site.see_it_die()
        site.serve()
    until(lambda: not site.armed(), site.log)
    return partner


@of(CRASHES)
def test_a_kill_at_any_point_ends_with_one_outcome(shared_site: Site, undisturbed: Reference, point: Point) -> None:
    undisturbed(point.script)
    check(shared_site, run(shared_site, point.script, point), undisturbed, point.script)


@of(UNACKNOWLEDGED[::2])
def test_what_was_never_acknowledged_and_is_not_sent_again_comes_whole_or_not_at_all(
    shared_site: Site, undisturbed: Reference, point: Point
) -> None:
    undisturbed("put")
    partner = Partner(shared_site, retries=False)
    shared_site.arm(point.name)
    with pytest.raises(GatewayDied):
        partner.put("a.csv", PEOPLE)
    # Sent later and whole by the same way, so that it ends after whatever became of the other.
    Partner(shared_site).put("b.csv", MORE)
    until(lambda: shared_site.jobs_of("b.csv") and shared_site.is_at_rest(), shared_site.log)
    found = outcomes(shared_site)
    (other,) = digests([MORE])
    assert {sha256: outcome for sha256, outcome in found.items() if sha256 != other}.items() <= undisturbed(
        "put"
    ).items()
