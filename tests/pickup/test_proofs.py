"""Feeds that ask for a proof that a file is whole: a marker, a checksum, a rename. What waits is held, and says so."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import clock
from gateway.config import FeedSettings
from gateway.ledger import drops, holds
from gateway.pickup.folder import inbox
from gateway.pickup.proofs import checksum_in, kind_of
from gateway.pickup.scan import Scan
from tests.conftest import standing
from tests.pickup.conftest import PROFILES
from tests.waiting import until

DIGEST = hashlib.sha256(PROFILES).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


def test_a_file_waits_for_its_marker_and_says_so(site: Any) -> None:
    with site.picking_up():
        drop_id = site.upload("a.csv", feed="marked")
        told = site.status("a.csv", "marked")
        assert (told["state"], told["held_for"], told["reason"]) == (
            "held",
            "done_marker",
            "a.csv.done has not come yet",
        )
        assert told["hint"] == "Upload an empty file a.csv.done when a.csv is complete."
        assert told["since"] < told["until"]
        assert site.jobs() == []
        site.upload("a.csv.done", b"", feed="marked")
        (job,) = site.ended()
        assert (job.filename, job.status, job.accepted_rows) == ("a.csv", "completed", 2)
        until(lambda: "a.csv.status.json" not in site.outbox_names("marked"))
    drop = site.drop(drop_id)
    assert (drop.state, drop.proof) == ("done", "done_marker")
    assert site.transitions(drop_id) == ["landed", "held", "queued", "claimed", "done"]
    assert standing(inbox(site.settings, "acme", "marked")) == []
    assert "no_completion_proof" not in site.report("a.csv", "marked")["problems_by_code"]


def test_a_marker_that_came_first_waits_for_its_file(site: Any) -> None:
    with site.picking_up():
        marker = site.upload("2026/a.csv.done", b"", feed="marked")
        path = site.outbox.parent / "marked" / "2026" / "a.csv.status.json"
        until(path.exists)
        told = site.outbox_json("2026/a.csv.status.json", "marked")
        assert (told["filename"], told["held_for"]) == ("2026/a.csv", "file")
        assert told["reason"] == "2026/a.csv.done is here, and 2026/a.csv has not come yet"
        assert site.state(marker) == "held"
        site.upload("2026/a.csv", feed="marked")
        (job,) = site.ended()
        assert (job.status, site.state(marker)) == ("completed", "done")
        until(lambda: not path.exists())


def test_a_used_marker_is_seen_by_its_sender_for_a_while_and_proves_nothing_again(site: Any) -> None:
    with site.picking_up():
        site.upload("a.csv", feed="marked")
        marker = site.upload("a.csv.done", b"go", feed="marked")
        site.ended()
        assert site.drop(marker).claimed_at is not None
        again = site.upload("a.csv", PROFILES + b"cid,Cid\n", feed="marked")
        assert site.status("a.csv.g2", "marked")["held_for"] == "done_marker"
        assert site.state(again) == "held"


@pytest.mark.parametrize("written", [f"{DIGEST}  a.csv\n", f"{DIGEST.upper()}", f"SHA256 (a.csv) = {DIGEST}\n"])
def test_a_file_whose_checksum_matches_is_processed(site: Any, written: str) -> None:
    with site.picking_up():
        site.upload("a.csv.sha256", written.encode(), feed="summed")
        drop_id = site.upload("a.csv", feed="summed")
        (job,) = site.ended()
    assert (job.status, job.accepted_rows) == ("completed", 2)
    assert (site.drop(drop_id).proof, site.drop(drop_id).expected_sha256) == ("sha256", DIGEST)


def test_a_checksum_that_does_not_match_refuses_the_file_and_shows_both(site: Any) -> None:
    with site.picking_up():
        site.upload("a.csv", feed="summed")
        site.upload("a.csv.sha256", f"{OTHER}  a.csv\n".encode(), feed="summed")
        (job,) = site.ended()
        report = site.report("a.csv", "summed")
        assert (job.status, report["problems_by_code"]) == ("failed", {"checksum_mismatch": 1})
        assert OTHER in report["reason_for_failure"][0]
        assert DIGEST in report["reason_for_failure"][0]
        site.upload("a.csv.sha256", f"{DIGEST}  a.csv\n".encode(), feed="summed")
        site.upload("a.csv", feed="summed")
        assert [job.status for job in site.ended(2)] == ["failed", "completed"]


def test_a_checksum_file_without_a_checksum_keeps_the_file_waiting_until_a_good_one_comes(site: Any) -> None:
    with site.picking_up():
        site.upload("a.csv", feed="summed")
        site.upload("a.csv.sha256", b"to be done\n", feed="summed")
        told = until(lambda: (found := site.status("a.csv", "summed"))["held_for"] == "sha256" and found)
        until(lambda: "holds no SHA-256" in site.status("a.csv", "summed")["reason"])
        assert told["state"] == "held"
        site.upload("a.csv.sha256", DIGEST.encode(), feed="summed")
        (job,) = site.ended()
        assert job.status == "completed"


def test_a_file_under_its_final_name_waits_where_a_rename_is_asked_for(site: Any) -> None:
    with site.picking_up():
        uploaded = site.upload("a.csv", feed="renamed")
        told = site.status("a.csv", "renamed")
        assert told["held_for"] == "rename"
        assert "a.csv.part" in told["hint"]
        (inbox(site.settings, "acme", "renamed") / "b.csv").write_bytes(PROFILES)
        assert "local program" in site.status("b.csv", "renamed")["reason"]
        assert site.jobs() == []
        holds.release(site.ledger, site.drop(uploaded), clock.now())
        (job,) = site.ended()
    assert (job.filename, job.status) == ("a.csv", "completed")
    assert "no_completion_proof" in site.report("a.csv", "renamed")["problems_by_code"]


def test_a_proof_that_never_comes_refuses_the_file_in_the_end(site: Any) -> None:
    with site.picking_up() as pickup:
        drop_id = site.upload("a.csv", feed="marked")
        until(lambda: site.state(drop_id) == "held")
        site.end_the_wait(drop_id)
        pickup.wake()
        (job,) = site.ended()
        report = site.report("a.csv", "marked")
        assert (job.status, report["problems_by_code"]) == ("failed", {"proof_missing": 1})
        assert report["problems"][0]["hint"] == "Upload an empty file a.csv.done when a.csv is complete."
        until(lambda: "a.csv.status.json" not in site.outbox_names("marked"))


def test_a_marker_whose_file_never_comes_leaves_the_inbox_in_the_end(site: Any) -> None:
    with site.picking_up() as pickup:
        marker = site.upload("a.csv.done", b"", feed="marked")
        until(lambda: site.state(marker) == "held")
        site.end_the_wait(marker)
        pickup.wake()
        until(lambda: site.state(marker) == "withdrawn" and not site.drop(marker).leaving)
        assert standing(inbox(site.settings, "acme", "marked")) == []
        site.upload("b.csv", feed="repeats")
        assert [job.filename for job in site.ended()] == ["b.csv"]


def test_a_new_upload_replaces_a_file_that_waits_for_its_proof(site: Any) -> None:
    with site.picking_up():
        first = site.upload("a.csv", b"identity\nold\n", feed="marked")
        until(lambda: site.state(first) == "held")
        assert site.upload("a.csv", feed="marked") == first
        until(lambda: site.state(first) == "held")
        site.upload("a.csv.done", b"", feed="marked")
        (job,) = site.ended()
    assert (job.accepted_rows, site.drop(first).generation) == (2, 1)


def test_a_kill_between_the_use_of_a_marker_and_its_removal_makes_no_local_file_of_it(site: Any) -> None:
    site.upload("a.csv", feed="marked")
    marker = site.upload("a.csv.done", b"", feed="marked")
    path = inbox(site.settings, "acme", "marked") / "a.csv.done"
    os.link(path, site.root / "kept")
    assert Scan(site.live, site.ledger).claim_settled() == 1
    os.link(site.root / "kept", path)
    drops.change(site.ledger, marker, "1", leaving="archive")
    with site.picking_up():
        site.ended()
        until(lambda: not path.exists())
    assert [drop["path"] for drop in site.ledger.rows("SELECT path FROM drops ORDER BY id")] == ["a.csv", "a.csv.done"]


@pytest.mark.parametrize(
    ("feed", "name", "content"),
    [
        ("marked", "a.csv.done", b""),
        ("summed", "a.csv.sha256", DIGEST.encode()),
    ],
)
def test_a_proof_that_is_sent_twice_is_not_taken_for_that_of_the_next_file(
    site: Any, feed: str, name: str, content: bytes
) -> None:
    with site.picking_up():
        site.upload("a.csv", feed=feed)
        site.upload(name, content, feed=feed)
        site.ended()
        again = site.upload(name, content, feed=feed)
        until(lambda: site.state(again) == "done")
        second = site.upload("a.csv", b"identity\nnext\n", feed=feed)
        until(lambda: site.state(second) == "held")


@given(st.text(max_size=200))
def test_whatever_a_checksum_file_holds_it_is_a_digest_or_nothing(text: str) -> None:
    found = checksum_in(text, "a.csv")
    assert found is None or (len(found) == 64 and set(found) <= set("0123456789abcdef"))


def test_of_several_checksums_the_one_that_names_the_file_counts() -> None:
    assert checksum_in(f"{OTHER}  b.csv\n{DIGEST} *./out/a.csv\n", "a.csv") == DIGEST
    assert checksum_in(f"{OTHER}  b.csv\n{DIGEST}  c.csv\n", "a.csv") is None
    assert checksum_in(f"{DIGEST}  renamed-since.csv\n", "a.csv") == DIGEST


@pytest.mark.parametrize(
    ("path", "kind"), [("a.csv", "data"), ("a.csv.done", "done_marker"), (".done", "data"), ("x/a.done", "done_marker")]
)
def test_what_a_file_is_to_its_feed_is_in_its_name(path: str, kind: str) -> None:
    assert kind_of(path, FeedSettings(contract="clevertap-profiles", complete_on="done_marker")) == kind
    assert kind_of(path, FeedSettings(contract="clevertap-profiles")) == "data"
