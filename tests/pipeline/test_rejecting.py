"""Rows that the store rejects are rejected like all others: same files, same order, same rules for the whole drop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.importing import Tenant
from tests.pipeline.conftest import Result

HEADER = "identity,evtName,ts,note\n"
LINES = [
    "zed,Bought,1700000005,=1+1\n",  # Unknown.
    ",Bought,1700000004,\n",  # Bad.
    "ann,Bought,1700000003,\n",
    'zed,"Bou\nght",1700000002,\n',  # Unknown, in two lines.
    "ann,Bought,never,\n",  # Bad.
    "yan,Left,1700000001,\n",  # Unknown.
    "bob,Left,1700000000,\n",
]


@pytest.fixture
def tenant(tmp_path: Path) -> Tenant:
    """Ann and Bob are known."""
    made = Tenant(tmp_path)
    made.take("identity\nann\nbob\n", "clevertap-profiles")
    return made


def take(tenant: Tenant, lines: list[str] = LINES, **given: Any) -> Result:
    return tenant.take(HEADER + "".join(lines), "clevertap-events", **({"unknown_identity": "reject"} | given))


def listed(result: Result) -> list[tuple[str, str, str]]:
    return [(error["row"], error["line"], error["code"]) for error in result.errors]


def test_rows_of_unknown_identities_stand_in_the_order_of_the_file_in_every_result(tenant: Tenant) -> None:
    found = take(tenant)
    assert found.files["rejected"].decode() == HEADER + "".join(LINES[at] for at in (0, 1, 3, 4, 5))
    assert listed(found) == [
        ("1", "2", "unknown_identity"),
        ("2", "3", "missing_identity"),
        ("4", "5", "unknown_identity"),
        ("5", "7", "bad_unix_time"),
        ("6", "8", "unknown_identity"),
    ]
    assert [problem["row"] for problem in found.report["problems"]] == [1, 2, 4, 5, 6]
    assert found.report["problems"][0] | {"value": "zed", "column": "identity"} == found.report["problems"][0]
    counts = found.outcome.counts
    assert (counts.total, counts.accepted, counts.rejected) == (7, 2, 5)
    assert [row["identity"] for row in found.accepted] == ["bob", "ann"]
    assert [event["identity"] for event in tenant.events()] == ["bob", "ann"]


@pytest.mark.parametrize("problems_max", [1, 2, 3, 4, 5])
def test_a_list_of_errors_that_is_cut_has_the_first_of_all(tenant: Tenant, problems_max: int) -> None:
    found = take(tenant, problems_max=problems_max)
    assert [int(row) for row, _, _ in listed(found)] == [1, 2, 4, 5, 6][:problems_max]
    assert [problem["row"] for problem in found.report["problems"]] == [1, 2, 4, 5, 6][:problems_max]
    assert found.codes["unknown_identity"] == 3
    assert sum(found.codes.values()) == 5


def test_what_is_told_of_the_file_and_once_for_many_rows_stays_before_the_rows(tenant: Tenant) -> None:
    milliseconds = "ann,Bought,1700000009000,\n"
    found = take(tenant, [*LINES, milliseconds], completion_proof=False)
    assert [code for _, _, code in listed(found)][:4] == [
        "no_completion_proof", "milliseconds", "unknown_identity", "missing_identity",
    ]  # fmt: skip
    assert [problem["code"] for problem in found.report["problems"]] == [code for _, _, code in listed(found)]


def test_a_spreadsheet_runs_nothing_of_a_list_that_is_written_again(tenant: Tenant) -> None:
    found = take(tenant, ["=cmd,Bought,1700000005,\n", "ann,Bought,=1+1,\n", "'=ann,Bought,1700000005,\n"])
    assert [error["value"] for error in found.errors] == ["'=cmd", "'=1+1", "''=ann"]


def test_where_nothing_was_bad_before_there_are_the_rows_of_the_store_alone(tenant: Tenant) -> None:
    found = take(tenant, [LINES[2], LINES[0]], completion_proof=False)
    assert found.files["rejected"].decode() == HEADER + LINES[0]
    assert listed(found) == [("", "", "no_completion_proof"), ("2", "3", "unknown_identity")]


def test_a_compressed_utf_16_drop_gives_its_rows_back_as_they_came(tenant: Tenant) -> None:
    body = (HEADER + "".join(LINES)).encode("utf-16")
    found = tenant.take(body, "clevertap-events", unknown_identity="reject")
    assert found.files["rejected"].decode("utf-16") == HEADER + "".join(LINES[at] for at in (0, 1, 3, 4, 5))


def test_a_drop_that_is_read_by_pieces_gives_the_same_results(tenant: Tenant) -> None:
    whole, pieces = take(tenant), take(tenant, whole_bytes_max=1, feed="another")
    assert pieces.files["rejected"] == whole.files["rejected"]
    assert pieces.files["errors"] == whole.files["errors"]


@pytest.mark.rule("U44", "C24")
@pytest.mark.parametrize("lines", [LINES, [line for at, line in enumerate(LINES) if at not in (1, 4)]])
def test_a_rate_of_errors_that_the_store_exceeds_fails_the_drop_as_validation_does(
    tenant: Tenant, lines: list[str]
) -> None:
    rejected = len(lines) - 2
    found = take(tenant, lines, max_error_rate=0.5)
    counts = found.outcome.counts
    assert (found.outcome.status, found.outcome.contributed) == ("failed", None)
    assert (counts.total, counts.rejected, counts.withheld) == (len(lines), rejected, 2)
    (reason,) = found.outcome.reason_for_failure
    assert reason == f"{rejected} of {len(lines)} rows are bad, more than the 50.00% that this feed allows"
    assert tenant.events() == []
    # The very same as of a drop whose rows are all rejected by validation, but for what is wrong with each.
    other = tenant.drop(
        HEADER + "".join(line.replace("zed", "null").replace("yan", "null") for line in lines), "clevertap-events",
        max_error_rate=0.5,
    )  # fmt: skip
    validated = other.result(other.outcome)
    assert shape(found) == shape(validated)
    assert found.files.keys() == validated.files.keys()
    assert "too_many_errors" in found.files["page"].decode()


def shape(result: Result) -> dict[str, Any]:
    """A report without what differs from one job, and from one reason of a rejection, to another."""
    varying = {
        "job_id",
        "links",
        "as_of",
        "uploaded_on",
        "start_time",
        "end_time",
        "elapsed_time",
        "file_size",
        "files",
    }
    left = {key: value for key, value in result.report.items() if key not in varying}
    of_rows = {"problems_by_code", "problems_by_column", "problems"}
    places = [(one["row"], one["line"], one["level"]) for one in left["problems"]]
    codes = [one["code"] for one in left["problems"] if one["row"] is None]
    return {key: value for key, value in left.items() if key not in of_rows} | {"places": places, "codes": codes}


@pytest.mark.parametrize(
    ("rate", "status"), [(0.7, "failed"), (0.71, "failed"), (0.72, "completed"), (1.0, "completed")]
)
def test_the_rate_counts_what_validation_and_the_store_have_rejected(tenant: Tenant, rate: float, status: str) -> None:
    # 5 of 7 are 71.4 %.
    assert take(tenant, max_error_rate=rate).outcome.status == status


@pytest.mark.rule("U44")
def test_a_feed_that_takes_whole_files_only_takes_none_with_an_event_of_somebody_unknown(tenant: Tenant) -> None:
    failed, taken = tenant.commit(
        tenant.drop(
            HEADER + LINES[0] + LINES[2], "clevertap-events", unknown_identity="reject", on_error="reject_file"
        ),
        tenant.drop(HEADER + LINES[6], "clevertap-events", feed="others"),
    )
    assert failed is not None
    assert taken is not None
    assert failed.outcome.reason_for_failure == (
        "1 of 2 rows are bad, and this feed takes a file only when all its rows are good",
    )
    assert failed.report["withheld_rows"] == 1
    assert "store" not in failed.report
    assert (taken.outcome.status, taken.report["store"]["events"]) == ("completed", 1)
    assert [event["identity"] for event in tenant.events()] == ["bob"]


def test_people_of_a_drop_that_fails_are_not_known_to_the_others_of_its_commit(tenant: Tenant) -> None:
    mixed = (
        "event_type,event_name,source,user_id,inserted_at,metadata\n"
        "identify_user,,backend-http,cyd,2024-07-01T00:00:00Z,{}\n"
        "track,seen,backend-http,nobody,2024-07-01T00:00:00Z,{}\n"
    )
    events = "\n".join([mixed.partition("\n")[0], "track,seen,backend-http,cyd,2024-07-01T00:00:00Z,{}", ""])
    strict: dict[str, Any] = {"unknown_identity": "reject", "on_error": "reject_file"}
    failed, others = tenant.commit(
        tenant.drop(mixed, "userpilot-import", **strict),
        tenant.drop(events, "userpilot-import", feed="others", **strict),
    )
    assert failed is not None
    assert others is not None
    assert [failed.outcome.status, others.outcome.status] == ["failed", "failed"]
    assert ("user_id", "cyd") not in tenant.store.values()


def test_a_drop_that_was_held_to_its_end_comes_under_the_same_rule(tenant: Tenant) -> None:
    policy: dict[str, Any] = {"unknown_identity": "hold", "max_error_rate": 0.5}
    drop = tenant.drop(HEADER + "".join(LINES), "clevertap-events", **policy)
    assert tenant.commit(drop) == [None]
    (found,) = tenant.commit(drop, last_word=True)
    assert found is not None
    assert (found.outcome.status, found.report["rejected_rows"], found.report["withheld_rows"]) == ("failed", 5, 2)
    assert [int(row) for row, _, code in listed(found) if code != "too_many_errors"] == [1, 2, 4, 5, 6]
