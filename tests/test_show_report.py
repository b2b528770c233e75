"""A report on the terminal says what happened and what to do, and its exit code says it to scripts."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gateway.cli.show_report import exit_code, show

PROBLEM = {
    "row": 14,
    "line": 15,
    "level": "error",
    "column": "screen_width",
    "code": "not_non_negative_integer",
    "value": "-1",
    "message": 'screen_width: expected a non-negative integer, found "-1"',
    "hint": "Write digits only.",
}


def report(**changed: Any) -> dict[str, Any]:
    plain = {
        "filename": "day/one.csv",
        "status": "completed",
        "total_rows": 2,
        "accepted_rows": 2,
        "rejected_rows": 0,
        "merged_rows": 0,
        "duplicate_rows": 0,
        "withheld_rows": 0,
        "blank_rows": 0,
        "reason_for_failure": [],
        "problems": [],
        "problems_by_code": {},
        "order": {"first": None, "last": None, "rows_moved": 0},
        "files": [],
        "duplicate_of": None,
    }
    return plain | changed


def shown(content: dict[str, Any], width: int = 200) -> str:
    out = io.StringIO()
    show(content, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, 0),
        ({"accepted_rows": 1, "duplicate_rows": 1}, 0),
        ({"duplicate_of": "018f", "accepted_rows": 0}, 0),
        ({"rejected_rows": 1}, 1),
        ({"status": "failed"}, 2),
        ({"status": "failed", "rejected_rows": 1}, 2),
    ],
)
def test_the_exit_code_says_how_it_ended(changed: dict[str, Any], code: int) -> None:
    assert exit_code(report(**changed)) == code


def test_all_is_well_in_one_line() -> None:
    assert shown(report()) == "day/one.csv: completed, all rows accepted (2 rows, 2 accepted)\n"


def test_only_counts_that_say_something_are_shown() -> None:
    said = shown(report(total_rows=1234, accepted_rows=1000, merged_rows=200, rejected_rows=34, blank_rows=2))
    assert said.startswith(
        "day/one.csv: completed, some rows rejected (1,234 rows, 1,000 accepted, 200 merged, 34 rejected, 2 blank)"
    )


def test_a_problem_has_line_column_code_words_and_a_hint() -> None:
    lines = shown(report(rejected_rows=1, problems=[PROBLEM])).splitlines()
    assert lines[2].split()[:3] == ["15", "screen_width", "not_non_negative_integer"]
    assert lines[2].rstrip().endswith('screen_width: expected a non-negative integer, found "-1"')
    assert lines[3].strip() == "Write digits only."


def test_a_refusal_says_why() -> None:
    said = shown(
        report(status="failed", total_rows=0, accepted_rows=0, reason_for_failure=["line 3: a quote never ends"])
    )
    assert said == "day/one.csv: failed, nothing accepted (0 rows)\n  line 3: a quote never ends\n"


def test_more_problems_than_are_shown_are_counted() -> None:
    said = shown(
        report(rejected_rows=1200, problems=[PROBLEM] * 100, problems_by_code={"bad_date": 1000, "too_old": 200})
    )
    assert said.count("not_non_negative_integer") == 10
    assert "1,200 problems in all: bad_date 1,000, too_old 200" in said


def test_the_same_bytes_point_to_the_first_job() -> None:
    said = shown(report(duplicate_of="018f", total_rows=0, accepted_rows=0))
    assert "already processed" in said
    assert "the same bytes as job 018f" in said


def test_time_span_and_files_of_the_outbox_are_named() -> None:
    files = [
        {"name": "day/one.csv", "bytes": 10, "sha256": "", "role": "original"},
        {"name": "day/one.csv.accepted.csv", "bytes": 12345, "sha256": "", "role": "accepted"},
    ]
    lines = shown(report(order={"first": "A", "last": "B", "rows_moved": 3}, files=files)).splitlines()
    assert lines[1:] == ["  from A to B; 3 rows were out of order", "  day/one.csv.accepted.csv, 12,345 bytes"]


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    nasty = "[red]x[/red] [link=file:///etc/passwd]y[/link] [/"
    said = shown(
        report(filename=nasty, reason_for_failure=[nasty], problems=[PROBLEM | {"message": nasty, "column": nasty}])
    )
    assert said.count(nasty) == 4


def test_control_characters_of_a_partner_do_not_reach_the_terminal() -> None:
    said = shown(
        report(problems=[PROBLEM | {"message": "found \x1b[2J\x07", "column": "a\x1bb"}], filename="\x1b]0;t\x07.csv")
    )
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "a\N{REPLACEMENT CHARACTER}b" in said


def test_what_the_store_made_of_the_rows_is_said() -> None:
    store = {"created": 1200, "updated": 3, "unchanged": 0, "events": 7, "unknown_identities": 0}
    text = shown(report(store=store))
    assert "profiles: 1,200 new, 3 updated, 0 with nothing to change" in text
    assert "events: 7 stored" in text
    assert "profiles" not in shown(report(store=store | {"created": 0, "updated": 0}))
