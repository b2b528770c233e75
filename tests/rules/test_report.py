"""The job object, and what the partner gets back (RULES.md sections 7 and 8)."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import contracts
from gateway.config import FeedSettings
from gateway.durable import sync_folder
from gateway.pipeline.drop import Drop
from gateway.pipeline.process import outcome_of
from gateway.pipeline.publish import publish
from tests.pipeline.conftest import AS_OF
from tests.rules.conftest import Run, ndjson, record, table

PROFILES = "clevertap-profiles"
# Two good rows, one that merges, one bad row and a blank line.
MIXED = b"identity,Name,Phone\n1,Ann,1\n2,Bob,+2\n\n3,Cy,3\n1,Anna,\n"
COUNTS = ("total", "accepted", "merged", "duplicate", "rejected", "withheld", "blank")


def counts(report: dict[str, Any]) -> tuple[int, ...]:
    return tuple(report[f"{name}_rows"] for name in COUNTS)


@pytest.mark.rule("C8")
@pytest.mark.rule("C22")
@pytest.mark.rule("C23")
@pytest.mark.rule("C24")
@pytest.mark.rule("U42")
def test_bad_rows_do_not_stop_good_ones_and_every_row_is_counted_once(run: Run) -> None:
    result = run(MIXED, PROFILES)
    assert result.report["status"] == "completed"
    assert counts(result.report) == (4, 2, 1, 0, 1, 0, 1)
    assert [row["Name"] for row in result.accepted] == ["Cy", "Anna"]
    assert result.files["rejected"] == b"identity,Name,Phone\n2,Bob,+2\n"


@pytest.mark.rule("C18")
@pytest.mark.rule("C19")
@pytest.mark.rule("C20")
@pytest.mark.rule("U28")
@pytest.mark.rule("U29")
@pytest.mark.rule("U33")
def test_the_report_says_what_came_when_and_from_whom(run: Run) -> None:
    report = run(MIXED, PROFILES, name="2024/July.csv").report
    assert (report["name"], report["filename"], report["file_size"]) == ("July.csv", "2024/July.csv", len(MIXED))
    assert (report["uploaded_by"], report["uploaded_on"]) == ("ann@acme.example", "2024-08-01T12:00:00.000000Z")
    assert report["links"] == f"/v1/imports/jobs/{report['job_id']}"


@pytest.mark.rule("U39")
@pytest.mark.rule("U40")
@pytest.mark.rule("U41")
@pytest.mark.parametrize("body", [MIXED, b"Name\nAnn\n"], ids=["completed", "failed"])
def test_the_report_says_when_the_job_began_and_ended_and_how_long_it_took(run: Run, body: bytes) -> None:
    result = run(body, PROFILES)
    began, ended = (datetime.fromisoformat(result.report[name]) for name in ("start_time", "end_time"))
    assert AS_OF < began <= ended
    assert result.report["elapsed_time"] == pytest.approx((ended - began).total_seconds(), abs=0.001)
    assert result.outcome.elapsed_time == (ended - began).total_seconds() > 0


@pytest.mark.rule("U43")
@pytest.mark.rule("U44")
def test_a_failed_job_has_accepted_nothing_and_says_why_in_a_list(run: Run) -> None:
    result = run(b"Name\nAnn\n", PROFILES)
    assert (result.report["status"], counts(result.report)) == ("failed", (0, 0, 0, 0, 0, 0, 0))
    assert result.report["reason_for_failure"] == ["the header has no column 'identity' or 'objectId'"]
    assert run(MIXED, PROFILES).report["reason_for_failure"] == []


@pytest.mark.rule("U43")
@pytest.mark.rule("U44")
@pytest.mark.parametrize(
    ("policy", "fails"),
    [
        ({"on_error": "reject_file"}, True),
        ({"max_error_rate": 0.24}, True),
        ({"max_error_rate": 0.25}, False),
        ({"max_error_rate": 0.0}, True),
        ({"on_error": "reject_rows"}, False),
    ],
)
def test_a_feed_may_want_all_rows_good_and_then_the_good_ones_are_withheld(
    run: Run, policy: dict[str, Any], fails: bool
) -> None:
    result = run(MIXED, PROFILES, **policy)
    assert (result.report["status"] == "failed") is fails
    assert ("accepted" not in result.files) is fails
    assert counts(result.report) == ((4, 0, 0, 0, 1, 3, 1) if fails else (4, 2, 1, 0, 1, 0, 1))
    assert bool(result.report["reason_for_failure"]) is fails
    assert result.files["rejected"] == b"identity,Name,Phone\n2,Bob,+2\n"


@pytest.mark.rule("U44")
@pytest.mark.parametrize("policy", [{"on_error": "reject_file"}, {"max_error_rate": 0.0}])
def test_a_file_of_good_rows_passes_the_strictest_feed(run: Run, policy: dict[str, Any]) -> None:
    assert run(b"identity\n1\n", PROFILES, **policy).report["status"] == "completed"


@pytest.mark.rule("U45")
@pytest.mark.rule("U46")
def test_every_problem_has_its_place_code_message_and_hint(userpilot: Run) -> None:
    bad = [record("track", screen_width=-1, country_code="ZZ"), record("track", event_type="page_views")]
    result = userpilot(record("track"), *bad)
    problems = result.report["problems"]
    assert [(problem["row"], problem["column"], problem["code"]) for problem in problems] == [
        (2, "country_code", "bad_country"),
        (2, "screen_width", "not_non_negative_integer"),
        (3, "event_type", "unknown_event_type"),
    ]
    assert problems[1]["message"] == 'screen_width: expected a non-negative integer, found "-1"'
    for problem in problems:
        assert (problem["level"], problem["line"]) == ("error", problem["row"])
        assert problem["hint"]
    assert result.report["rejected_rows"] == 2
    assert result.report["problems_by_column"] == {"country_code": 1, "event_type": 1, "screen_width": 1}


@pytest.mark.rule("C22")
def test_row_counts_records_and_line_counts_physical_lines(run: Run) -> None:
    body = b'identity,Name,Phone\r\n1,"Ann\nof\r\nCork",1\r\n\r\n2,Bob,x\r\n3,"a\nb",y\r\n'
    result = run(body, PROFILES)
    assert [(error["row"], error["line"]) for error in result.errors] == [("2", "6"), ("3", "7")]
    assert result.files["rejected"] == b'identity,Name,Phone\r\n2,Bob,x\r\n3,"a\nb",y\r\n'


@pytest.mark.rule("C24")
@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + MIXED.replace(b"\n", b"\r\n"),
        MIXED.replace(b",", b";"),
        MIXED.decode().encode("utf-16"),
        MIXED[: MIXED.index(b"\n\n")],
    ],
    ids=["CRLF behind a byte-order mark", "semicolons", "UTF-16", "no final newline"],
)
def test_the_rejected_file_is_a_drop_again_whose_rows_are_all_rejected(run: Run, body: bytes) -> None:
    rejected = run(body, PROFILES).files["rejected"]
    again = run(rejected, PROFILES, name="drop.csv.rejected.csv")
    assert (again.report["total_rows"], again.report["rejected_rows"]) == (1, 1)
    assert again.files["rejected"] == rejected
    fixed = rejected.decode("utf-16" if body[:1] == b"\xff" else "utf-8-sig").replace("+2", "2")
    assert run(fixed, PROFILES).report["accepted_rows"] == 1


@pytest.mark.rule("C22")
def test_the_errors_file_cannot_run_in_a_spreadsheet(run: Run) -> None:
    result = run(table(["identity", "Phone"], ["1", "=HYPERLINK(1)"], ["2", "+1"], ["3", "@a"], ["4", "-1"]), PROFILES)
    assert [error["value"] for error in result.errors] == ["'=HYPERLINK(1)", "'+1", "'@a", "'-1"]
    assert result.files["errors"].startswith(b"row,line,level,column,code,value,message,hint\n")


@pytest.mark.rule("C22")
def test_counts_are_complete_where_lists_are_cut(run: Run) -> None:
    result = run(table(["identity", "Phone"], *([str(at), "x"] for at in range(500))), PROFILES, problems_max=200)
    assert (result.codes, result.report["rejected_rows"]) == ({"phone_not_digits": 500}, 500)
    assert (len(result.report["problems"]), len(result.errors)) == (100, 200)
    assert len(result.files["rejected"].splitlines()) == 501


def drop_of(folder: Path, body: bytes, **changes: Any) -> Drop:
    path = folder / "original"
    path.write_bytes(body)
    plain: dict[str, Any] = {
        "job_id": "0190f0f0-0000-7000-8000-000000000001", "tenant": "acme", "feed": "feed", "name": "2024/July.csv",
        "generation": 1, "path": path, "sha256": hashlib.sha256(body).hexdigest(), "as_of": AS_OF,
        "uploaded_by": None, "contract": contracts.load(PROFILES), "policy": FeedSettings(contract=PROFILES),
    }  # fmt: skip
    return Drop(**plain | changes)


@pytest.mark.parametrize(("generation", "prefix"), [(1, "July.csv"), (2, "July.csv.g2")])
def test_results_lie_beside_each_other_under_the_name_of_the_drop_and_the_report_lists_them(
    tmp_path: Path, generation: int, prefix: str
) -> None:
    drop = drop_of(tmp_path, MIXED, generation=generation)
    outcome = outcome_of(drop, tmp_path / "out")
    publish(outcome, tmp_path / "out", tmp_path / "outbox")
    folder = tmp_path / "outbox" / "2024"
    report = json.loads((folder / f"{prefix}.report.json").read_text())
    original, *written = report["files"]
    assert (original["name"], original["bytes"], original["sha256"]) == ("2024/July.csv", len(MIXED), drop.sha256)
    assert {"accepted.csv", "rejected.csv", "errors.csv"} <= {
        entry["name"].removeprefix(f"2024/{prefix}.") for entry in written
    }
    for entry in written:
        content = (tmp_path / "outbox" / entry["name"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    names = {path.name for path in folder.iterdir()}
    assert names == {Path(entry["name"]).name for entry in written} | {f"{prefix}.report.json"}
    assert outcome.files[-1].name.endswith(".report.json")


def test_a_drop_without_problems_gets_no_errors_and_no_rejected_file(run: Run) -> None:
    assert {"errors", "rejected"} & set(run(b"identity,Name\n1,Ann\n", PROFILES).files) == set()


def test_bytes_that_came_before_are_counted_as_no_rows_and_name_the_first_job(run: Run) -> None:
    result = run(MIXED, PROFILES, duplicate_of="0190f0f0-0000-7000-8000-000000000009")
    assert result.report["duplicate_of"] == "0190f0f0-0000-7000-8000-000000000009"
    assert (result.report["status"], counts(result.report)) == ("completed", (0, 0, 0, 0, 0, 0, 0))
    assert "accepted" not in result.files
    refused = run(MIXED, PROFILES, duplicate_of="0190f0f0-0000-7000-8000-000000000009", on_duplicate="reject")
    assert (refused.report["status"], refused.codes) == ("failed", {"duplicate_file": 1})


@pytest.mark.parametrize("result_format", ["csv", "ndjson", "parquet"])
def test_the_feed_chooses_the_format_of_the_accepted_rows(tmp_path: Path, result_format: str) -> None:
    policy = FeedSettings.model_validate({"contract": PROFILES, "result_format": result_format})
    outcome = outcome_of(drop_of(tmp_path, MIXED, policy=policy), tmp_path / "out")
    names = [file.name for file in outcome.files]
    assert f"2024/July.csv.accepted.{result_format}" in names
    assert "2024/July.csv.rejected.csv" in names


@pytest.mark.rule("U42")
def test_checking_accepted_again_accepts_all_of_it_and_changes_nothing(userpilot: Run, run: Run) -> None:
    given = [record("track", user_id=f"u{at}", inserted_at=f"2024-07-{28 - at % 9:02} 08:00:00") for at in range(40)]
    first = userpilot(*given, given[0]).files["accepted"]
    again = run(first, "userpilot-import", name="drop.ndjson")
    assert (again.files["accepted"], again.report["accepted_rows"], again.codes) == (first, 40, {})
    assert again.report["order"]["rows_moved"] == 0
    assert ndjson(given[0]) != first


@pytest.mark.rule("C45")
@pytest.mark.rule("C46")
@pytest.mark.rule("C47")
@pytest.mark.parametrize(("ahead", "noted"), [(-3600, False), (300, False), (301, True), (86400, True)])
def test_a_file_time_more_than_five_minutes_ahead_is_noted_with_the_remedy_and_fails_nothing(
    run: Run, ahead: int, noted: bool
) -> None:
    result = run(b"identity\n1\n", PROFILES, client_mtime=AS_OF + timedelta(seconds=ahead))
    assert (result.report["status"], result.report["accepted_rows"]) == ("completed", 1)
    assert result.codes == ({"clock_skew": 1} if noted else {})
    if noted:
        problem = result.problem("clock_skew")
        assert (problem["level"], str(timedelta(seconds=ahead)) in problem["message"]) == ("note", True)
        assert "Set the sending machine's clock" in problem["hint"]


def test_a_partner_who_takes_results_and_folder_at_once_does_not_get_them_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = outcome_of(drop_of(tmp_path, MIXED), tmp_path / "out")

    def sync_what_is_gone(folder: Path) -> None:
        if (folder / "July.csv.report.json").exists():
            shutil.rmtree(folder)
        sync_folder(folder)

    monkeypatch.setattr("gateway.pipeline.publish.sync_folder", sync_what_is_gone)
    publish(outcome, tmp_path / "out", tmp_path / "outbox")
    assert not (tmp_path / "outbox" / "2024").exists()
