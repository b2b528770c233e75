"""Commits in the ledger: one at a time for each tenant, guarded transitions, and a view for ops."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import Ledger, commits, jobs
from gateway.ledger.migrations import ledger_migrations
from gateway.ledger.transitions import history
from tests.ledger.test_jobs import begin, claimed, ledger

__all__ = ["ledger"]

NOW = clock.now()


def staged(ledger: Ledger, *paths: str) -> list[dict[str, Any]]:
    found = []
    for path in paths:
        job_id = claimed(ledger, path, path)
        begin(ledger, job_id)
        jobs.stage(ledger, job_id, "{}", NOW)
        found.append({"job": job_id})
    return found


def sequences(ledger: Ledger) -> list[int | None]:
    return [job.commit_sequence for job in jobs.select(ledger)[::-1]]


def test_a_commit_goes_from_begun_to_committed_and_the_history_says_so(ledger: Ledger) -> None:
    one, two = staged(ledger, "a.csv", "b.csv")
    commit = commits.begin(ledger, "acme", [one, two], NOW)
    assert (commit.sequence, commit.state, sequences(ledger)) == (1, "begun", [1, 1])
    assert commits.state_of(ledger, one["job"]) == "begun"
    commits.resolve(ledger, commit, [two], {two["job"]: '{"status": "completed"}'}, 3, NOW)
    assert sequences(ledger) == [None, 1]
    assert jobs.get(ledger, two["job"]).outcome == '{"status": "completed"}'
    commits.finish(ledger, commit, NOW)
    assert commits.state_of(ledger, two["job"]) == "committed"
    found = ledger.rows("SELECT old, new FROM transitions WHERE kind = 'commit' AND subject = 'acme/1' ORDER BY id")
    assert [tuple(row) for row in found] == [(None, "begun"), ("begun", "resolved"), ("resolved", "committed")]
    assert commits.begin(ledger, "acme", [one], NOW).sequence == 2


def test_a_commit_that_was_only_begun_is_begun_anew_under_its_number(ledger: Ledger) -> None:
    one, two = staged(ledger, "a.csv", "b.csv")
    commits.begin(ledger, "acme", [one], NOW)
    assert commits.begin(ledger, "acme", [two], NOW).sequence == 1
    assert sequences(ledger) == [None, 1]


def test_no_commit_begins_beside_one_that_is_resolved_and_none_skips_a_state(ledger: Ledger) -> None:
    one, two = staged(ledger, "a.csv", "b.csv")
    commit = commits.begin(ledger, "acme", [one], NOW)
    with pytest.raises(LedgerError, match="is not resolved"):
        commits.finish(ledger, commit, NOW)
    commits.resolve(ledger, commit, [one], {}, 0, NOW)
    with pytest.raises(LedgerError, match="it is finished before another begins"):
        commits.begin(ledger, "acme", [two], NOW)
    with pytest.raises(LedgerError, match="is not begun"):
        commits.resolve(ledger, commit, [one], {}, 0, NOW)


def test_a_job_that_is_not_staged_cannot_go_into_the_store(ledger: Ledger) -> None:
    job_id = claimed(ledger)
    with pytest.raises(LedgerError, match="is not staged"):
        commits.begin(ledger, "acme", [{"job": job_id}], NOW)
    assert commits.unfinished(ledger) == []


def test_ops_see_what_waits_for_the_store_and_why(ledger: Ledger) -> None:
    (one,) = staged(ledger, "a.csv")
    commit = commits.begin(ledger, "acme", [one], NOW)
    assert commits.delayed(ledger) == []
    assert [commits.note_failure(ledger, commit, "no such bucket") for _ in range(2)] == [1, 2]
    (row,) = ledger.rows("SELECT tenant, sequence, state, tries, error, jobs FROM unfinished_commits")
    assert tuple(row) == ("acme", 1, "begun", 2, "no such bucket", 1)
    assert [drop.job_id for drop in commits.delayed(ledger)] == [one["job"]]


def test_an_abandoned_commit_frees_its_jobs_and_its_number(ledger: Ledger) -> None:
    (one,) = staged(ledger, "a.csv")
    commits.abandon(ledger, commits.begin(ledger, "acme", [one], NOW), "its jobs wait for profiles")
    assert (commits.unfinished(ledger), sequences(ledger)) == ([], [None])
    assert commits.begin(ledger, "acme", [one], NOW).sequence == 1


def test_a_ledger_from_before_the_store_keeps_its_history(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        ledger_migrations.apply(sqlite_utils.Database(old), stop_before="m003_commits")
        old.execute("PRAGMA user_version = 2")
        old.execute(
            "INSERT INTO transitions (at, kind, subject, new) VALUES (?, 'job', 'one', 'queued')", (clock.text(NOW),)
        )
    now = Ledger(path)
    assert [transition.new for transition in history(now, "one")] == ["queued"]
    with pytest.raises(sqlite3.Error, match="append-only"), now.transaction() as connection:
        connection.execute("UPDATE transitions SET reason = 'x'")
    now.close()
