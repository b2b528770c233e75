"""What an operator, a client or a newer upload does to a drop that waits, and what the ledger says of it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import drops, holds, jobs
from gateway.pickup.claim import archived_path
from gateway.pickup.names import NAME_BYTES_MAX
from gateway.pickup.scan import Scan
from tests.pickup.conftest import PROFILES
from tests.waiting import until


def gateway(site: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as an operator types it, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=os.environ | {"GATEWAY_CONFIG": str(site.root)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_operator_sees_a_held_drop_releases_it_and_it_is_processed(site: Any) -> None:
    with site.picking_up():
        drop_id = site.upload("a.csv", feed="marked")
        until(lambda: site.state(drop_id) == "held")
        listed = gateway(site, "drops", "--state", "held").stdout
        assert "a.csv.done has not come yet" in listed
        shown = json.loads(gateway(site, "drops", drop_id[:20], "--json").stdout)
        assert [entry["new"] for entry in shown["transitions"] if entry["kind"] == "drop"] == ["landed", "held"]
        released = gateway(site, "release", drop_id)
        assert (released.returncode, released.stdout) == (0, f"Drop {drop_id} (acme/marked/a.csv) is released.\n")
        (job,) = site.ended()
    assert (job.status, job.accepted_rows) == ("completed", 2)
    history = gateway(site, "drops", drop_id).stdout
    assert "released by an operator" in history


def test_an_operator_withdraws_a_drop_and_its_file_is_kept_but_not_processed(site: Any) -> None:
    with site.picking_up():
        drop_id = site.upload("a.csv", feed="marked")
        until(lambda: site.state(drop_id) == "held")
        assert gateway(site, "withdraw", drop_id).returncode == 0
        until(lambda: not site.drop(drop_id).leaving)
        assert archived_path(site.settings, site.drop(drop_id)).read_bytes() == PROFILES
        until(lambda: site.outbox_names("marked") == [])
        site.upload("b.csv")
        assert [job.filename for job in site.ended()] == ["b.csv"]
    refused = gateway(site, "release", drop_id)
    assert refused.returncode != 0
    assert "withdrawn, not held" in refused.stderr


def test_what_is_done_can_be_neither_released_nor_withdrawn(site: Any) -> None:
    with site.picking_up():
        drop_id = site.upload("a.csv")
        site.ended()
    with pytest.raises(LedgerError, match="done, not held"):
        holds.release(site.ledger, site.drop(drop_id), clock.now())
    with pytest.raises(LedgerError, match="only before it is processed"):
        holds.withdraw(site.ledger, site.drop(drop_id), "no", "archive", clock.now())


def test_a_marker_cannot_be_released_without_its_file(site: Any) -> None:
    with site.picking_up():
        marker = site.upload("a.csv.done", b"", feed="marked")
        until(lambda: site.state(marker) == "held")
        refused = gateway(site, "release", marker)
    assert refused.returncode != 0
    assert "only proves another file" in refused.stderr


def test_uploads_are_listed_with_who_and_why(site: Any) -> None:
    site.upload("a.csv")
    listed = gateway(site, "uploads").stdout
    assert all(word in listed for word in ("ann", "acme/profiles", "a.csv", "closed"))
    (upload,) = json.loads(gateway(site, "uploads", "--json").stdout)
    assert "state" in gateway(site, "uploads", upload["upload_id"][:30]).stdout
    assert "No uploads." in gateway(site, "uploads", "--state", "expired").stdout


def test_with_replace_a_newer_upload_supersedes_what_no_job_has_begun(site: Any) -> None:
    first = site.upload("a.csv", b"identity\nold\n", feed="latest")
    assert Scan(site.live, site.ledger).claim_settled() == 1
    second = site.upload("a.csv", feed="latest")
    assert (site.state(first), site.drop(second).generation) == ("superseded", 2)
    with site.picking_up():
        until(lambda: site.state(second) == "done")
    old, new = site.jobs()
    assert (old.status, old.accepted_rows, new.status, new.accepted_rows) == ("failed", 0, "completed", 2)
    assert old.reason_for_failure == ("a newer upload of its name came before it was processed",)
    assert "a.csv.report.json" not in site.outbox_names("latest")


def test_without_it_both_are_processed_in_their_order(site: Any) -> None:
    first = site.upload("a.csv", b"identity\nold\n", feed="repeats")
    assert Scan(site.live, site.ledger).claim_settled() == 1
    second = site.upload("a.csv", feed="repeats")
    with site.picking_up():
        ended = site.ended(2)
    assert [(job.drop_id, job.status) for job in ended] == [(first, "completed"), (second, "completed")]
    assert ended[0].end_time <= ended[1].start_time


def test_with_replace_a_job_that_ended_once_is_not_superseded(site: Any) -> None:
    with site.picking_up():
        first = site.upload("a.csv", feed="latest")
        site.ended()
    (job,) = site.jobs()
    jobs.requeue(site.ledger, job.id, clock.now())
    site.upload("a.csv", b"identity\nnew\n", feed="latest")
    assert site.state(first) == "claimed"


def test_touching_a_waiting_drop_is_told_as_settling(site: Any) -> None:
    drop_id = site.upload("a.csv")
    drops.restart_settling(site.ledger, drop_id, clock.now(), 0, "the client set its times")
    drop = site.drop(drop_id)
    assert (drop.state, drop.reason) == ("settling", "the client set its times")
    assert site.transitions(drop_id) == ["landed", "settling"]


def test_the_same_bytes_again_end_as_a_duplicate_and_failure_of_ours_as_quarantined(site: Any) -> None:
    with site.picking_up():
        site.upload("a.csv")
        site.ended(1)
        again = site.upload("b.csv")
        site.ended(2)
        assert site.state(again) == "duplicate"
        (site.root / "tenants" / "acme.toml").write_text(
            (site.root / "tenants" / "acme.toml")
            .read_text()
            .replace('[feeds.latest]\ncontract = "clevertap-profiles"', '[feeds.latest]\ncontract = "gone"')
        )
        site.live.refresh()
        lost = site.upload("c.csv", feed="latest")
        until(lambda: site.state(lost) == "quarantined")
    assert site.report("c.csv", "latest")["problems_by_code"] == {"gateway_failure": 1}
    (told,) = site.ledger.rows("SELECT file, reason FROM quarantined_drops")
    assert told["file"] == "c.csv"
    holds.release(site.ledger, site.drop(lost), clock.now())
    assert site.state(lost) == "claimed"


CUT = b"identity,Name,Age\nann,Ann,31\nbob,B"


def test_a_drop_that_looks_cut_off_is_held_and_the_next_upload_of_its_name_takes_its_place(site: Any) -> None:
    with site.picking_up():
        drop_id = site.upload("a.csv", CUT)
        told = site.status("a.csv", "profiles")
        assert (told["state"], told["held_for"]) == ("held", "suspect")
        assert "line 3" in told["reason"]
        assert "reput" in told["hint"]
        assert site.outbox_names("profiles") == ["a.csv.status.json"]
        assert site.upload("a.csv", CUT + b"ob,42\n") == drop_id
        (job,) = site.ended()
        until(lambda: "a.csv.status.json" not in site.outbox_names("profiles"))
    assert (job.status, job.accepted_rows, job.tries, job.file_size) == ("completed", 2, 1, 40)
    assert site.report("a.csv")["generation"] == 1
    assert archived_path(site.settings, site.drop(drop_id)).read_bytes() == CUT + b"ob,42\n"
    held = ["landed", "queued", "claimed", "held"]
    assert site.transitions(drop_id) == [*held, "landed", "queued", "claimed", "done"]


def test_an_operator_releases_a_suspect_and_what_is_whole_of_it_is_processed(site: Any) -> None:
    with site.picking_up():
        drop_id = site.upload("a.csv", CUT)
        until(lambda: site.state(drop_id) == "held")
        assert gateway(site, "release", drop_id).returncode == 0
        (job,) = site.ended()
    assert (job.status, job.accepted_rows, job.rejected_rows) == ("completed", 1, 1)
    assert "suspect_cut_off" in job.problems_by_code


@pytest.mark.parametrize(("feed", "status", "accepted"), [("profiles", "failed", 0), ("lenient", "completed", 1)])
def test_a_suspect_that_nobody_releases_goes_by_the_policy_of_its_feed(
    site: Any, feed: str, status: str, accepted: int
) -> None:
    with site.picking_up() as pickup:
        drop_id = site.upload("a.csv", CUT, feed=feed)
        until(lambda: site.state(drop_id) == "held")
        site.end_the_wait(drop_id)
        pickup.wake()
        (job,) = site.ended()
    assert (job.status, job.accepted_rows) == (status, accepted)
    assert job.problems_by_code["suspect_cut_off"] == 1


def test_an_operator_withdraws_a_suspect_and_its_job_ends_without_a_report(site: Any) -> None:
    with site.picking_up():
        drop_id = site.upload("a.csv", CUT)
        until(lambda: site.state(drop_id) == "held")
        assert gateway(site, "withdraw", drop_id).returncode == 0
        until(lambda: site.outbox_names("profiles") == [])
        site.upload("a.csv")
        until(lambda: [job.status for job in site.jobs()] == ["failed", "completed"])
    old, new = site.jobs()
    assert old.reason_for_failure == ("withdrawn by an operator",)
    assert site.drop(new.drop_id).generation == 2


def test_a_suspect_outlives_a_restart(site: Any) -> None:
    with site.picking_up():
        drop_id = site.upload("a.csv", CUT)
        until(lambda: site.state(drop_id) == "held")
    with site.picking_up():
        assert site.status("a.csv", "profiles")["held_for"] == "suspect"
        site.upload("b.csv", PROFILES)
        site.ended()
        assert site.state(drop_id) == "held"


def test_what_is_proved_to_be_whole_is_judged_at_once(site: Any) -> None:
    with site.picking_up():
        site.upload("a.csv", CUT, feed="marked")
        site.upload("a.csv.done", b"", feed="marked")
        (job,) = site.ended()
        assert (job.status, job.accepted_rows, job.rejected_rows) == ("completed", 1, 1)
        site.upload("b.csv.gz", gzip.compress(PROFILES)[:-9], feed="marked")
        site.upload("b.csv.gz.done", b"", feed="marked")
        until(lambda: [job.status for job in site.jobs()] == ["completed", "failed"])


def test_the_longest_name_has_room_for_all_that_results_add_to_it(site: Any) -> None:
    name = "n" * (NAME_BYTES_MAX - 4) + ".csv"
    with site.picking_up():
        first = site.upload(name, PROFILES, feed="repeats")
        site.ended()
        drops.change(site.ledger, first, "1", generation=999)
        again = site.upload(name, CUT, feed="repeats")
        assert site.status(f"{name}.g1000", "repeats")["held_for"] == "suspect"
        holds.release(site.ledger, site.drop(again), clock.now())
        site.ended(2)
    assert site.report(f"{name}.g1000", "repeats")["rejected_rows"] == 1


def test_a_local_file_whose_name_is_too_long_is_not_picked_up_and_holds_nobody_up(site: Any) -> None:
    (site.inbox / ("n" * NAME_BYTES_MAX + ".csv")).write_bytes(PROFILES)
    (site.inbox / "a.csv").write_bytes(PROFILES)
    with site.picking_up():
        assert [job.filename for job in site.ended()] == ["a.csv"]
