"""The ledger keeps the history of a feed's columns."""

from __future__ import annotations

import pytest

from tests.pickup.conftest import Site

HEADERS = ("identity,Name,Plan", "identity,Name,Plan", "identity,Plan,City", "identity,Plan,City,Name")


def changes(site: Site, feed: str) -> list[tuple[str, str, str]]:
    found = site.ledger.rows(
        "SELECT filename, change, column_changes.name AS name FROM column_changes JOIN jobs ON jobs.id = job_id "
        "WHERE column_changes.feed = ? ORDER BY column_changes.at, change, column_changes.name",
        (feed,),
    )
    return [(row["filename"], row["change"], row["name"]) for row in found]


def current(site: Site, feed: str) -> list[str]:
    found = site.ledger.rows("SELECT name FROM feed_columns WHERE feed = ? ORDER BY name", (feed,))
    return [row["name"] for row in found]


@pytest.mark.rule("C11")
def test_a_column_that_comes_or_goes_is_in_the_history_of_its_feed(site: Site) -> None:
    for number, header in enumerate(HEADERS):
        # A gateway that has begun anew goes on from what the ledger says.
        with site.picking_up():
            row = ",".join(f"{name}{number}" for name in header.split(","))
            site.upload(f"{number}.csv", f"{header}\n{row}\n".encode())
            site.ended(number + 1)
    assert changes(site, "profiles") == [
        ("0.csv", "added", "Name"), ("0.csv", "added", "Plan"), ("0.csv", "added", "identity"),
        ("2.csv", "added", "City"), ("2.csv", "removed", "Name"),
        ("3.csv", "added", "Name"),
    ]  # fmt: skip
    assert current(site, "profiles") == ["City", "Name", "Plan", "identity"]


def test_a_file_that_fails_or_is_only_tried_and_records_that_leave_a_key_out_change_nothing(site: Site) -> None:
    with site.picking_up():
        site.upload("0.csv", b"identity,Name\nann,Ann\n")
        site.ended(1)
        site.upload("1.csv", b"Identity,Other\nann,Ann\n")
        site.upload("dryrun/2.csv", b"identity,Other\nann,Ann\n")
        site.ended(3)
        for number, key in enumerate(("Plan", "City", "Plan"), 3):
            record = f'{{"identity": "ann", "evtName": "Seen", "ts": {number}, "{key}": "one"}}\n'
            site.upload(f"{number}.ndjson", record.encode(), "events")
            site.ended(number + 1)
    assert current(site, "profiles") == ["Name", "identity"]
    assert changes(site, "events") == [("3.ndjson", "added", "Plan"), ("4.ndjson", "added", "City")]
