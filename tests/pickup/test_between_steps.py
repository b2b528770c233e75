"""What happens between two steps: another upload, a full disk, an operator; each drop has one outcome all the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import clock, durable
from gateway.ledger import Ledger, drops, holds, jobs
from gateway.pickup import landing, passage
from gateway.pickup.folder import inbox
from gateway.pickup.pickup import Pickup
from gateway.pickup.scan import Scan
from tests.conftest import standing
from tests.pickup.conftest import PROFILES
from tests.pickup.test_holds import CUT
from tests.pickup.test_sequence import EVENTS, delayed_profiles, pause_until
from tests.waiting import until

CUT_EVENTS = b"identity,evtName,ts,evtData\nann,Bought,1700000000,{}\nann,Bou"


def claimed_and_not_taken(site: Any, drop_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kill leaves it that comes between the commit of the claim and the taking of the file."""
    with monkeypatch.context() as patched:
        patched.setattr(Scan, "_take", lambda *arguments: None)
        assert Scan(site.live, site.ledger).claim_settled() == 1
    assert site.state(drop_id) == "claimed"


def test_a_claimed_file_that_still_stands_is_withdrawn_and_never_taken_for_a_local_one(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_id = site.upload("a.csv")
    claimed_and_not_taken(site, drop_id, monkeypatch)
    holds.withdraw(site.ledger, site.drop(drop_id), "withdrawn by an operator", "archive", clock.now())
    with site.picking_up():
        until(lambda: not standing(site.inbox))
        site.upload("b.csv")
        until(lambda: [job.status for job in site.jobs()] == ["failed", "completed"])


def test_an_upload_that_came_behind_one_that_looks_cut_off_is_not_held_up_by_it(site: Any) -> None:
    first = site.upload("a.csv", CUT)
    assert Scan(site.live, site.ledger).claim_settled() == 1
    second = site.upload("a.csv", CUT + b"ob,42\n")
    with site.picking_up():
        until(lambda: site.state(second) == "done")
    assert site.state(first) == "superseded"


def test_the_same_bytes_are_known_while_the_first_wait_for_profiles(site: Any) -> None:
    delayed_profiles(site)
    with site.picking_up():
        first = site.upload("a.csv", EVENTS, feed="events")
        until(lambda: site.state(first) == "held")
        second = site.upload("b.csv", EVENTS, feed="events")
        until(lambda: site.state(second) == "duplicate")
        pause_until(site, clock.now())
        until(lambda: site.state(first) == "done")


def test_to_release_a_suspect_does_not_release_it_from_its_profiles(site: Any) -> None:
    with site.picking_up():
        events = site.upload("bought.csv", CUT_EVENTS, feed="events")
        until(lambda: site.state(events) == "held")
    delayed_profiles(site)
    with site.ledger.transaction() as connection:
        earlier = clock.text(clock.now() - timedelta(hours=1))
        connection.execute("UPDATE drops SET landed_at = ? WHERE path = 'people.csv'", (earlier,))
    holds.release(site.ledger, site.drop(events), clock.now())
    with site.picking_up():
        until(lambda: site.drop(events).held_for == "profiles")
        assert site.state(events) == "held"


def test_events_that_were_staged_and_not_held_yet_when_the_gateway_died_still_wait_for_their_profiles(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    delayed_profiles(site)
    with monkeypatch.context() as patched, site.picking_up():
        # A passage ends here as with its process: nothing of what comes after it is done.
        patched.setattr(passage, "hold_behind", lambda *arguments: None)
        patched.setattr(Pickup, "_recover", lambda pickup: None)
        events = site.upload("bought.csv", EVENTS, feed="events")
        until(lambda: [job.status for job in site.jobs()] == ["queued", "pending_refresh"])
    assert (site.state(events), site.outbox_names("events")) == ("claimed", [])
    with site.picking_up():
        until(lambda: site.state(events) == "held")
        pause_until(site, clock.now())
        until(lambda: site.state(events) == "done")
    assert site.report("bought.csv", "events")["accepted_rows"] == 1


def test_a_slot_outlives_a_ledger_that_is_locked_for_longer_than_it_waits(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = threading.Event()
    real = jobs.begin_next

    def begin_next(ledger: Ledger, now: datetime, tenant: str, **given: int) -> Any:
        """The first time somebody else has the lock."""
        if locked.is_set():
            return real(ledger, now, tenant, **given)
        locked.set()
        with contextlib.closing(sqlite3.connect(site.settings.ledger_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            ledger.rows("PRAGMA busy_timeout = 100")
            return real(ledger, now, tenant, **given)

    monkeypatch.setattr(jobs, "begin_next", begin_next)
    drop_id = site.upload("a.csv")
    with site.picking_up():
        until(lambda: site.state(drop_id) == "done")
    assert locked.is_set()


def test_a_checksum_that_comes_first_again_next_week_is_no_repeat(site: Any) -> None:
    line = hashlib.sha256(PROFILES).hexdigest().encode()
    with site.picking_up():
        site.upload("a.csv.sha256", line, feed="summed")
        site.upload("a.csv", PROFILES, feed="summed")
        (job,) = site.ended()
        drops.change(site.ledger, job.drop_id, "1", claimed_at=clock.now() - timedelta(days=7))
        again = site.upload("a.csv.sha256", line, feed="summed")
        until(lambda: site.state(again) == "held")
        second = site.upload("a.csv", PROFILES, feed="summed")
        until(lambda: site.state(second) == "duplicate")


def test_a_held_drop_outlives_a_replacement_that_could_not_be_stored(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.picking_up():
        drop_id = site.upload("a.csv", CUT)
        until(lambda: site.state(drop_id) == "held")

        def full(*arguments: Any) -> None:
            raise OSError(28, os.strerror(28))

        with monkeypatch.context() as patched:
            patched.setattr(landing, "move_into_inbox", full)
            with pytest.raises(OSError, match="space"):
                site.upload("a.csv", CUT + b"ob,42\n")
        assert site.state(drop_id) == "held"
        holds.release(site.ledger, site.drop(drop_id), clock.now())
        (job,) = site.ended()
    assert (job.status, job.accepted_rows, job.file_size) == ("completed", 1, len(CUT))


def test_a_status_file_that_could_not_be_written_or_removed_is_tried_again(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def once(what: str, real: Any) -> Any:
        def call(path: Path, *arguments: Any, **keywords: Any) -> Any:
            if path.name == "a.csv.status.json" and what not in refused:
                refused.append(what)
                raise OSError(30, os.strerror(30))
            return real(path, *arguments, **keywords)

        return call

    monkeypatch.setattr(durable, "write", once("written", durable.write))
    monkeypatch.setattr(Path, "unlink", once("removed", Path.unlink))
    with site.picking_up():
        drop_id = site.upload("a.csv", feed="marked")
        assert site.status("a.csv", "marked")["held_for"] == "done_marker"
        holds.withdraw(site.ledger, site.drop(drop_id), "withdrawn by an operator", "archive", clock.now())
        until(lambda: "a.csv.status.json" not in site.outbox_names("marked"))
    assert refused == ["written", "removed"]
    assert not standing(inbox(site.settings, "acme", "marked"))
