"""Profiles first: events are published after the profiles that landed before them (F6, F7, F15)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from gateway import clock
from gateway.ledger import holds
from gateway.pickup.scan import Scan
from tests.waiting import until

EVENTS = b"identity,evtName,ts\nann,Bought,1700000000\n"


def delayed_profiles(site: Any) -> str:
    """A profile drop whose job pauses for an hour."""
    drop_id: str = site.upload("people.csv")
    assert Scan(site.live, site.ledger).claim_settled() == 1
    pause_until(site, clock.now() + timedelta(hours=1))
    return drop_id


def pause_until(site: Any, end: datetime) -> None:
    with site.ledger.transaction() as connection:
        connection.execute("UPDATE jobs SET not_before = ? WHERE filename = 'people.csv'", (clock.text(end),))


def test_events_wait_for_the_profiles_that_landed_before_them_and_the_partner_is_told(site: Any) -> None:
    delayed_profiles(site)
    with site.picking_up():
        events = site.upload("bought.csv", EVENTS, feed="events")
        told = site.status("bought.csv", "events")
        assert (told["held_for"], told["until"]) == ("profiles", None)
        assert told["reason"] == "profiles that landed before go first: profiles/people.csv"
        assert [job.status for job in site.jobs()] == ["queued", "pending_refresh"]
        assert site.outbox_names("events") == ["bought.csv.status.json"]
        pause_until(site, clock.now())
        first, second = sorted(site.ended(2), key=lambda job: job.status_since)
        until(lambda: "bought.csv.status.json" not in site.outbox_names("events"))
    assert (first.filename, second.filename, second.accepted_rows) == ("people.csv", "bought.csv", 1)
    assert site.transitions(events) == ["landed", "queued", "claimed", "held", "claimed", "done"]


def test_profiles_that_are_held_or_came_later_hold_nobody_up(site: Any) -> None:
    profiles = site.upload("people.csv", feed="marked")
    with site.picking_up():
        until(lambda: site.state(profiles) == "held")
        site.upload("bought.csv", EVENTS, feed="events")
        (job,) = site.ended()
        assert job.filename == "bought.csv"


def test_an_operator_lets_events_go_before_their_profiles(site: Any) -> None:
    delayed_profiles(site)
    with site.picking_up():
        events = site.upload("bought.csv", EVENTS, feed="events")
        until(lambda: site.state(events) == "held")
        holds.release(site.ledger, site.drop(events), clock.now())
        until(lambda: site.state(events) == "done")


def test_events_that_wait_are_published_after_a_restart(site: Any) -> None:
    delayed_profiles(site)
    with site.picking_up():
        events = site.upload("bought.csv", EVENTS, feed="events")
        until(lambda: site.state(events) == "held")
    pause_until(site, clock.now())
    with site.picking_up():
        until(lambda: site.state(events) == "done")
    assert site.report("bought.csv", "events")["accepted_rows"] == 1


def test_refused_events_are_told_at_once(site: Any) -> None:
    delayed_profiles(site)
    with site.picking_up():
        site.upload("bought.csv", b"no such header\n1\n", feed="events")
        assert [job.status for job in site.ended()] == ["queued", "failed"]
