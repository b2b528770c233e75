"""The sweep: what is done with goes when its time is over, and nothing that is under way ever does."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import drops, holds, jobs, retention, uploads
from gateway.ledger.uploads import UploadRow
from gateway.pickup.claim import archived_path
from gateway.pickup.landing import spool_path
from gateway.retention import originals, results, sweep
from gateway.retention.originals import finish_purges
from gateway.retention.swept import Swept
from tests.conftest import standing
from tests.pickup.conftest import PROFILES
from tests.pickup.test_holds import gateway
from tests.waiting import until

LONG = timedelta(days=31)
SHORT = timedelta(days=29)


def sweep_after(site: Any, age: timedelta) -> dict[str, Swept]:
    """A sweep as it will be after that time."""
    return sweep.sweep(site.settings, site.ledger, clock.now() + age)


def processed(site: Any, name: str = "a.csv", feed: str = "profiles") -> str:
    drop_id = str(site.upload(name, feed=feed))
    with site.picking_up():
        until(lambda: site.state(drop_id) == "done")
    return drop_id


def outbox(site: Any) -> list[str]:
    return sorted(path.relative_to(site.outbox).as_posix() for path in site.outbox.rglob("*") if path.is_file())


def test_originals_go_after_archive_days_and_a_requeue_is_then_refused_in_words(site: Any) -> None:
    drop_id = processed(site)
    original = archived_path(site.settings, site.drop(drop_id))
    sweep_after(site, SHORT)
    assert original.read_bytes() == PROFILES
    swept = sweep_after(site, LONG)["originals"]
    assert (swept.count, swept.bytes) == (1, len(PROFILES))
    assert not original.parent.exists()
    refused = gateway(site, "requeue", str(site.drop(drop_id).job_id))
    assert refused.returncode == 3
    for word in ("profiles/a.csv", f"removed on {clock.now():%Y-%m-%d}", "archive_days"):
        assert word in refused.stderr
    assert site.state(drop_id) == "done"
    kinds = [(row["what"], row["count"], row["bytes"]) for row in site.ledger.rows("SELECT * FROM sweeps")]
    assert ("originals", 1, len(PROFILES)) in kinds


def test_what_is_held_queued_or_quarantined_keeps_its_file_however_old(site: Any) -> None:
    (waits, held, quarantined) = (site.upload(name) for name in ("a.csv", "b.csv", "c.csv"))
    with site.ledger.transaction():
        drops.move(site.ledger, held, ("landed",), "held", "for a test", held_for="done_marker")
        for state in ("queued", "claimed", "quarantined"):
            drops.move(site.ledger, quarantined, (site.state(quarantined),), state)
    original = archived_path(site.settings, site.drop(quarantined))
    original.parent.mkdir()
    original.write_bytes(PROFILES)
    swept = sweep_after(site, timedelta(days=4000))
    assert swept["originals"].count == 0
    assert original.exists()
    assert standing(site.inbox) == ["a.csv", "b.csv", "c.csv"]
    assert site.transitions(waits) == ["landed"], "the history of what waits stays as well"
    assert uploads.look_up(site.ledger, site.drop(waits).upload_id) is not None


class Killed(BaseException):
    """The process ended here."""


def test_a_kill_between_the_ledgers_word_and_the_file_is_made_good_at_the_next_start(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_id = processed(site)
    folder = archived_path(site.settings, site.drop(drop_id)).parent

    class Dies(Swept):
        def remove_folder(self, folder: Path) -> None:
            raise Killed

    monkeypatch.setattr(originals, "Swept", Dies)
    with pytest.raises(Killed):
        sweep_after(site, LONG)
    monkeypatch.undo()
    assert folder.exists()
    with pytest.raises(LedgerError, match="archive_days"):
        jobs.requeue(site.ledger, str(site.drop(drop_id).job_id), clock.now())
    other = processed(site, "b.csv", "repeats")
    assert finish_purges(site.settings, site.ledger).count == 1
    assert not folder.exists()
    assert archived_path(site.settings, site.drop(other)).exists()


def test_a_job_that_is_requeued_before_the_sweep_says_so_keeps_its_file(site: Any) -> None:
    drop = site.drop(processed(site))
    jobs.requeue(site.ledger, str(drop.job_id), clock.now())
    assert not retention.purge(site.ledger, drop, clock.now())
    with site.picking_up():
        until(lambda: site.state(drop.id) == "done")
    assert not retention.purge(site.ledger, drop, clock.now()), "it has ended anew, so its time begins anew"
    assert site.drop(drop.id).purged_at is None


def test_results_go_after_outbox_days_with_the_empty_folders_of_partners(site: Any) -> None:
    (site.inbox / "2026").mkdir()
    processed(site, "2026/a.csv")
    kept = outbox(site)
    assert "2026/a.csv.report.json" in kept
    sweep_after(site, SHORT)
    assert outbox(site) == kept
    swept = sweep_after(site, LONG)["results"]
    assert swept.count == len(kept)
    assert list(site.outbox.iterdir()) == []
    assert site.jobs()[0].outbox_swept_at is not None
    assert sweep_after(site, LONG)["results"].count == 0


def test_the_report_of_a_quarantined_drop_stays_until_an_operator_has_looked(site: Any) -> None:
    drop_id = processed(site)
    kept = outbox(site)
    drops.move(site.ledger, drop_id, ("done",), "quarantined", "for a test")
    assert sweep_after(site, timedelta(days=4000))["results"].count == 0
    assert outbox(site) == kept


def test_the_results_of_a_job_that_runs_again_are_never_swept(site: Any) -> None:
    drop_id = processed(site)
    kept = outbox(site)
    jobs.requeue(site.ledger, str(site.drop(drop_id).job_id), clock.now())
    assert sweep_after(site, timedelta(days=4000))["results"].count == 0
    assert outbox(site) == kept


def test_results_of_a_job_that_is_requeued_between_look_and_sweep_stay(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_id = processed(site)
    kept = outbox(site)
    looked = retention.published

    def requeued_after(*arguments: Any) -> Any:
        found = looked(*arguments)
        if found:
            jobs.requeue(site.ledger, str(site.drop(drop_id).job_id), clock.now())
        return found

    monkeypatch.setattr(retention, "published", requeued_after)
    assert results.sweep_results(site.settings, site.ledger, clock.now()).count == 0
    assert outbox(site) == kept


def test_what_was_left_over_in_the_outbox_goes_and_what_a_held_drop_shows_stays(site: Any) -> None:
    drop_id = site.upload("held.csv")
    drops.move(site.ledger, drop_id, ("landed",), "held", "for a test", held_for="done_marker")
    for name in ("held.csv.status.json", "gone.csv.status.json", ".gone.csv.status.json.x1.new"):
        (site.outbox / name).write_text("{}")
    assert sweep_after(site, SHORT)["results"].count == 0
    assert sweep_after(site, LONG)["results"].count == 2
    assert outbox(site) == ["held.csv.status.json"]


@pytest.fixture
def broken_off(site: Any) -> Callable[[str], UploadRow]:
    def break_off(name: str) -> UploadRow:
        upload_id = site.spool(name)
        uploads.interrupt(site.ledger, upload_id, len(PROFILES), "the connection ended")
        return uploads.get(site.ledger, upload_id)

    return break_off


def test_a_partial_upload_expires_after_partial_hours_with_its_bytes(
    site: Any, broken_off: Callable[[str], UploadRow]
) -> None:
    row = broken_off("a.csv")
    sweep_after(site, timedelta(hours=71))
    assert uploads.get(site.ledger, row.id).state == "incomplete"
    swept = sweep_after(site, timedelta(hours=73))["uploads"]
    assert (swept.count, swept.bytes) == (1, len(PROFILES))
    expired = uploads.get(site.ledger, row.id)
    assert (expired.state, expired.reason) == ("expired", "nobody went on with it in time")
    assert not spool_path(site.settings, row.id).exists()
    assert uploads.partial(site.ledger, "acme", "ann", "profiles", "a.csv") is None
    assert site.state(site.upload("a.csv")) == "landed"


def test_an_upload_that_is_open_or_gone_on_with_is_never_touched(
    site: Any, broken_off: Callable[[str], UploadRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = site.spool("open.csv")
    resumed = broken_off("resumed.csv")
    looked = uploads.incomplete

    def resumed_after(*arguments: Any) -> list[UploadRow]:
        found = looked(*arguments)
        uploads.resume(site.ledger, resumed.id, in_place=False)
        return found

    monkeypatch.setattr(uploads, "incomplete", resumed_after)
    assert sweep_after(site, timedelta(days=9))["uploads"].count == 0
    for upload_id in (opened, resumed.id):
        assert uploads.get(site.ledger, upload_id).state == "open"
        assert spool_path(site.settings, upload_id).read_bytes() == PROFILES


def test_an_upload_that_kept_its_temporary_name_expires_and_a_local_programs_file_stays(site: Any) -> None:
    upload_id = site.spool("a.csv.part")
    os.rename(spool_path(site.settings, upload_id), site.inbox / "a.csv.part")
    uploads.close_upload(site.ledger, upload_id, len(PROFILES))
    (site.inbox / "local.csv.part").write_bytes(PROFILES)
    sweep_after(site, timedelta(hours=71))
    assert (site.inbox / "a.csv.part").exists()
    assert sweep_after(site, timedelta(hours=73))["uploads"].count == 1
    assert standing(site.inbox) == ["local.csv.part"]
    assert uploads.get(site.ledger, upload_id).state == "expired"


def test_bytes_in_the_spool_that_nobody_knows_go_and_those_of_a_landing_stay(site: Any) -> None:
    landing, aborted = site.spool("landing.csv"), site.spool("aborted.csv")
    uploads.close_upload(site.ledger, landing, len(PROFILES))
    uploads.abort(site.ledger, aborted, "for a test")
    spool_path(site.settings, "unknown").write_bytes(PROFILES)
    assert sweep_after(site, timedelta(hours=71))["uploads"].count == 0
    assert sweep_after(site, timedelta(hours=73))["uploads"].count == 2
    assert [path.name for path in spool_path(site.settings, landing).parent.iterdir()] == [landing]


def test_old_history_goes_and_drops_and_jobs_stay(site: Any) -> None:
    drop = site.drop(processed(site))
    sweep_after(site, timedelta(days=399))
    assert len(site.transitions(drop.id)) > 2
    assert sweep_after(site, timedelta(days=401))["history"].count > 6
    assert site.transitions(drop.id) == []
    assert uploads.look_up(site.ledger, str(drop.upload_id)) is None
    assert (site.state(drop.id), site.drop(drop.id).username) == ("done", "ann")
    assert len(site.jobs()) == 1


def test_only_what_is_older_than_the_cut_can_be_deleted_from_the_history(site: Any) -> None:
    old = processed(site, "a.csv")
    cut = clock.now()
    young = site.upload("b.csv")
    assert retention.forget_transitions(site.ledger, cut) > 0
    assert (site.transitions(old), site.transitions(young)) == ([], ["landed"])
    with pytest.raises(sqlite3.IntegrityError, match="append-only"), site.ledger.transaction() as connection:
        connection.execute("DELETE FROM transitions")


def test_history_goes_in_portions(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PORTION", 2)
    for name in ("a.csv", "b.csv", "c.csv"):
        holds.withdraw(site.ledger, site.drop(site.upload(name)), "for a test", "delete", clock.now())
    kept = site.upload("d.csv")
    later = clock.now() + timedelta(seconds=1)
    assert retention.forget_transitions(site.ledger, later) == 12
    assert retention.forget_uploads(site.ledger, later) == 3
    left = site.ledger.rows("SELECT DISTINCT subject FROM transitions ORDER BY subject")
    assert {row["subject"] for row in left} == {kept, site.drop(kept).upload_id}


def test_zero_keeps_everything_for_ever(site: Any) -> None:
    drop_id = processed(site)
    never = dict.fromkeys(("archive_days", "outbox_days", "partial_hours", "ledger_days"), 0)
    kept = site.settings.gateway.retention.model_copy(update=never)
    changed = site.settings.gateway.model_copy(update={"retention": kept})
    site.live.current = site.settings.model_copy(update={"gateway": changed})
    assert sweep_after(site, timedelta(days=9999)) == {}
    assert archived_path(site.settings, site.drop(drop_id)).exists()
