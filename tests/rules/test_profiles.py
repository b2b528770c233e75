"""Profiles: attributes, the key, phone numbers and dates (RULES.md section 3)."""

from __future__ import annotations

import json

import pytest

from tests.rules.conftest import Run, table

PROFILES = "clevertap-profiles"
DAY_FIRST = "dd/MM/yyyy HH:mm:ss"


@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        pytest.param("Name", "Jane Doe", "Jane Doe", marks=pytest.mark.rule("F8"), id="Name"),
        pytest.param("Age", "34", "34", marks=pytest.mark.rule("F9"), id="Age"),
        pytest.param("Email", "jane@example.com", "jane@example.com", marks=pytest.mark.rule("F10"), id="Email"),
        pytest.param("Phone", "02079460123", "02079460123", marks=pytest.mark.rule("F11"), id="Phone"),
        pytest.param("Tags", "vip; new;", '["vip", "new"]', marks=pytest.mark.rule("F12"), id="Tags with semicolons"),
        pytest.param("Tags", '["a;b","c"]', '["a;b", "c"]', marks=pytest.mark.rule("F12"), id="Tags as JSON"),
        pytest.param("Shoe size", "007", "007", marks=pytest.mark.rule("F13"), id="a further attribute as written"),
    ],
)
def test_a_profile_holds(run: Run, column: str, value: str, stored: str) -> None:
    result = run(table(["identity", column], ["1", value]), PROFILES)
    assert result.accepted == [{"identity": "1", column: stored}]
    assert result.codes == {}


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        pytest.param("Age", "151", "out_of_range", marks=pytest.mark.rule("F9"), id="an age above 150"),
        pytest.param("Age", "-1", "out_of_range", marks=pytest.mark.rule("F9"), id="an age below 0"),
        pytest.param("Age", "34.5", "not_integer", marks=pytest.mark.rule("F9"), id="an age with a fraction"),
        pytest.param("Email", "jane@", "bad_email", marks=pytest.mark.rule("F10"), id="half an address"),
        pytest.param(
            "Email", "a b@example.com", "bad_email", marks=pytest.mark.rule("F10"), id="a space in an address"
        ),
    ],
)
def test_a_bad_age_or_email_drops_the_value_keeps_the_row_and_warns(
    run: Run, column: str, value: str, code: str
) -> None:
    result = run(table(["identity", "Name", column], ["1", "Jane", value]), PROFILES)
    assert result.accepted == [{"identity": "1", "Name": "Jane", column: ""}]
    problem = result.problem(code)
    assert (problem["level"], problem["column"], problem["value"]) == ("warning", column, value)


@pytest.mark.rule("F12")
@pytest.mark.parametrize("value", ["[1, 2]", '["a"', '[["a"]]'])
def test_tags_that_are_no_array_of_strings_reject_the_row(run: Run, value: str) -> None:
    assert run(table(["identity", "Tags"], ["1", value]), PROFILES).codes == {"bad_tags": 1}


@pytest.mark.rule("C15")
@pytest.mark.rule("C17")
@pytest.mark.parametrize("phone", ["+442079460123", "020-7946-0123", "(020) 79460123", "0207946O123", "call me", "1.5"])
def test_a_phone_number_of_more_than_digits_rejects_the_row(run: Run, phone: str) -> None:
    result = run(table(["identity", "Phone"], ["1", phone], ["2", "2"]), PROFILES)
    assert [row["identity"] for row in result.accepted] == ["2"]
    problem = result.problem("phone_not_digits")
    assert (problem["row"], problem["column"], problem["value"], problem["level"]) == (1, "Phone", phone, "error")


@pytest.mark.rule("C16")
@pytest.mark.parametrize(("phone", "digits"), [("01 123 111 0123", "011231110123"), (" 0 ", "0"), ("1  2", "12")])
def test_spaces_between_the_digits_of_a_phone_number_are_removed(run: Run, phone: str, digits: str) -> None:
    assert run(table(["identity", "Phone"], ["1", phone]), PROFILES).accepted == [{"identity": "1", "Phone": digits}]


@pytest.mark.rule("C28")
def test_a_header_without_identity_refuses_the_file(run: Run) -> None:
    result = run(table(["Name", "Email"], ["Jane", "jane@example.com"]), PROFILES)
    assert result.report["status"] == "failed"
    problem = result.problem("missing_column")
    assert "'identity' or 'objectId'" in problem["message"]
    assert problem["line"] == 1


@pytest.mark.rule("C28")
@pytest.mark.parametrize("identity", ["", "  "])
def test_an_empty_identity_rejects_the_row(run: Run, identity: str) -> None:
    result = run(table(["identity", "Name"], [identity, "Jane"], ["2", "John"]), PROFILES)
    assert [row["identity"] for row in result.accepted] == ["2"]
    assert result.codes == {"missing_identity": 1}


@pytest.mark.rule("C28")
@pytest.mark.parametrize("identity", ["null", "None", "UNDEFINED", "n/a", "NaN", "Anonymous", " null "])
@pytest.mark.parametrize("key", ["identity", "objectId"])
def test_a_placeholder_is_no_person(run: Run, key: str, identity: str) -> None:
    result = run(table([key, "Name"], [identity, "Jane"], ["nulla", "John"]), PROFILES)
    assert [row[key] for row in result.accepted] == ["nulla"]
    assert result.problem("placeholder_identity")["value"] == identity


@pytest.mark.rule("C29")
def test_objectid_may_stand_in_place_of_identity(run: Run) -> None:
    alone = run(table(["objectId", "Name"], ["_a8", "Jane"], ["", "John"]), PROFILES)
    assert alone.accepted == [{"objectId": "_a8", "Name": "Jane"}]
    assert alone.codes == {"missing_identity": 1}
    both = run(table(["identity", "objectId"], ["1", ""], ["", "_a8"], ["", ""]), PROFILES)
    assert both.accepted == [{"identity": "1", "objectId": ""}, {"identity": "", "objectId": "_a8"}]


@pytest.mark.rule("C29")
def test_identity_and_objectid_are_separate_name_spaces(run: Run) -> None:
    result = run(table(["identity", "objectId", "Name"], ["1", "", "Jane"], ["", "1", "John"]), PROFILES)
    assert (result.report["accepted_rows"], result.report["merged_rows"]) == (2, 0)


@pytest.mark.rule("C30")
@pytest.mark.parametrize("spelling", ["Identity", "IDENTITY", "identitY"])
def test_an_identity_in_another_case_refuses_the_file_with_the_right_spelling(run: Run, spelling: str) -> None:
    result = run(table([spelling, "Name"], ["1", "Jane"]), PROFILES)
    assert (result.report["status"], result.report["accepted_rows"]) == ("failed", 0)
    problem = result.problem("wrong_case_column")
    assert "'identity'" in problem["hint"]
    assert (problem["line"], problem["column"]) == (1, spelling)


@pytest.mark.rule("C11")
def test_a_new_column_is_a_new_property_and_the_report_says_so(run: Run) -> None:
    result = run(table(["identity", "Name", "Plan", "Shoe size"], ["1", "Jane", "pro", ""]), PROFILES)
    assert result.report["properties"]["created"] == ["Plan", "Shoe size"]
    assert result.accepted[0]["Plan"] == "pro"


@pytest.mark.rule("C43")
@pytest.mark.parametrize(
    ("declared", "value", "stored"),
    [
        pytest.param(
            DAY_FIRST, "31/12/2023 18:30:05", "31/12/2023 18:30:05", marks=pytest.mark.rule("C34"), id="day first"
        ),
        pytest.param(
            "MM/dd/yyyy HH:mm:ss", "12/31/2023 18:30:05", "12/31/2023 18:30:05",
            marks=pytest.mark.rule("C35"), id="month first",
        ),
        pytest.param(
            "yyyy/dd/MM HH:mm:ss", "2023/31/12 18:30:05", "2023/31/12 18:30:05",
            marks=pytest.mark.rule("C36"), id="year, day, month",
        ),
        pytest.param(
            "yyyy/MM/dd HH:mm:ss", "2023/12/31 18:30:05", "2023/12/31 18:30:05",
            marks=pytest.mark.rule("C37"), id="year, month, day",
        ),
        pytest.param(
            "dd MMM yyyy HH:mm:ss", "31 Dec 2023 18:30:05", "31 Dec 2023 18:30:05",
            marks=pytest.mark.rule("C38"), id="the month as a word",
        ),
        pytest.param("Unix", "1704047405", "1704047405", marks=pytest.mark.rule("C39"), id="Unix"),
        pytest.param("Unix time", "1704047405", "1704047405", marks=pytest.mark.rule("C39"), id="Unix time"),
        pytest.param(DAY_FIRST, "29/02/2024 00:00:00", "29/02/2024 00:00:00", id="a leap day"),
        pytest.param(
            DAY_FIRST, "31/12/2023", "31/12/2023 12:00:00", marks=pytest.mark.rule("C41"), id="no time, day first",
        ),
        pytest.param(
            "yyyy/MM/dd HH:mm:ss", "2023/12/31", "2023/12/31 12:00:00",
            marks=pytest.mark.rule("C41"), id="no time, year first",
        ),
        pytest.param(
            "dd MMM yyyy HH:mm:ss", "31 Dec 2023", "31 Dec 2023 12:00:00",
            marks=pytest.mark.rule("C41"), id="no time, a word",
        ),
        pytest.param(
            DAY_FIRST, "31/12/2023 23:59:59", "31/12/2023 23:59:59", marks=pytest.mark.rule("C42"), id="24 hours, late"
        ),
        pytest.param(
            DAY_FIRST, "31/12/2023 00:00:00", "31/12/2023 00:00:00",
            marks=pytest.mark.rule("C42"), id="24 hours, midnight",
        ),
        pytest.param(DAY_FIRST, "", "", id="an empty cell"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("space", ["", " "])
def test_a_date_that_fits_the_format_of_its_header_is_taken(
    run: Run, declared: str, value: str, stored: str, space: str
) -> None:
    column = f"purchase date{space}<{declared}>"
    result = run(table(["identity", column], ["1", value]), PROFILES)
    assert result.accepted == [{"identity": "1", column: stored}]
    assert result.codes == {}


@pytest.mark.rule("C43")
@pytest.mark.parametrize(
    ("declared", "value"),
    [
        pytest.param(DAY_FIRST, "12/31/2023 18:30:05", marks=pytest.mark.rule("C34"), id="month first, said day first"),
        pytest.param(
            "MM/dd/yyyy HH:mm:ss", "31/12/2023 18:30:05", marks=pytest.mark.rule("C35"), id="the other way round"
        ),
        pytest.param(
            "yyyy/dd/MM HH:mm:ss", "2023/12/31 18:30:05", marks=pytest.mark.rule("C36"), id="month before day"
        ),
        pytest.param(
            "yyyy/MM/dd HH:mm:ss", "2023/31/12 18:30:05", marks=pytest.mark.rule("C37"), id="day before month"
        ),
        pytest.param("dd MMM yyyy HH:mm:ss", "31 dec 2023", marks=pytest.mark.rule("C38"), id="a month in lower case"),
        pytest.param("dd MMM yyyy HH:mm:ss", "31 December 2023", marks=pytest.mark.rule("C38"), id="a month in full"),
        pytest.param("Unix", "31/12/2023", marks=pytest.mark.rule("C39"), id="a date, said Unix time"),
        pytest.param(DAY_FIRST, "31/12/2023 06:30:05 PM", marks=pytest.mark.rule("C42"), id="12 hours"),
        pytest.param(DAY_FIRST, "31/12/2023 24:00:00", marks=pytest.mark.rule("C42"), id="hour 24"),
        pytest.param(DAY_FIRST, "31/12/2023 18:30", id="half a time"),
        pytest.param(DAY_FIRST, "1/2/2023", id="no leading zeros"),
        pytest.param(DAY_FIRST, "29/02/2023", id="a leap day in a common year"),
        pytest.param(DAY_FIRST, "2023-12-31T18:30:05", id="ISO 8601"),
        pytest.param(DAY_FIRST, "soon", id="a word"),
    ],
)
def test_a_date_that_does_not_fit_the_format_of_its_header_rejects_the_row(run: Run, declared: str, value: str) -> None:
    column = f"seen<{declared}>"
    result = run(table(["identity", column], ["1", value], ["2", ""]), PROFILES)
    assert [row["identity"] for row in result.accepted] == ["2"]
    problem = result.problem("bad_date")
    assert (problem["row"], problem["column"], problem["value"]) == (1, column, value)
    assert declared in problem["message"]


@pytest.mark.rule("C39")
def test_a_unix_time_of_13_digits_is_milliseconds_with_a_warning(run: Run) -> None:
    result = run(table(["identity", "seen<Unix>"], ["1", "1704047405000"], ["2", "1704047405"]), PROFILES)
    assert [row["seen<Unix>"] for row in result.accepted] == ["1704047405", "1704047405"]
    problem = result.problem("milliseconds")
    assert (problem["level"], problem["row"]) == ("warning", 1)


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param("dd.MM.yyyy", marks=pytest.mark.rule("C40"), id="dots"),
        pytest.param("yyyy-MM-dd HH:mm:ss", marks=pytest.mark.rule("C40"), id="hyphens"),
        pytest.param("dd/MM/yyyy", marks=pytest.mark.rule("C40"), id="a date without a time"),
        pytest.param("dd/MM/yyyy hh:mm:ss", marks=pytest.mark.rule("C44"), id="hh for HH"),
        pytest.param("DD/MM/YYYY HH:mm:ss", marks=pytest.mark.rule("C44"), id="capitals"),
        pytest.param("dd/mm/yyyy HH:mm:ss", marks=pytest.mark.rule("C44"), id="minutes for months"),
        pytest.param("unix", marks=pytest.mark.rule("C44"), id="unix"),
    ],
)
def test_any_other_format_leaves_the_column_text_and_warns(run: Run, declared: str) -> None:
    column = f"seen<{declared}>"
    result = run(table(["identity", column], ["1", "31/12/2023"], ["2", "whenever"]), PROFILES)
    assert [row[column] for row in result.accepted] == ["31/12/2023", "whenever"]
    problem = result.problem("unknown_date_format")
    assert (problem["level"], problem["column"], problem["line"]) == ("warning", column, 1)
    assert f"'{declared}'" in problem["message"]


@pytest.mark.rule("C43")
def test_a_column_whose_header_names_no_format_is_text(run: Run) -> None:
    result = run(table(["identity", "purchase date"], ["1", "31/12/2023"], ["2", "soon"]), PROFILES)
    assert [row["purchase date"] for row in result.accepted] == ["31/12/2023", "soon"]
    assert result.codes == {}


@pytest.mark.rule("F1")
def test_profiles_of_an_older_system_come_in_whole(run: Run) -> None:
    rows = [[str(number), f"Name {number}", json.dumps([f"tag{number}"])] for number in range(1000)]
    result = run(table(["identity", "Name", "Tags"], *rows), PROFILES)
    assert [list(row.values()) for row in result.accepted] == rows


@pytest.mark.rule("F13")
@pytest.mark.parametrize(("column", "meant"), [("emial", "Email"), ("EMAIL", "Email"), ("Tag", "Tags")])
def test_a_misspelt_column_is_kept_with_a_warning_that_names_the_likely_one(run: Run, column: str, meant: str) -> None:
    result = run(table(["identity", column], ["1", "x"]), PROFILES)
    assert result.accepted == [{"identity": "1", column: "x"}]
    problem = result.problem("unknown_column")
    assert (problem["level"], problem["column"]) == ("warning", column)
    assert f"did you mean '{meant}'?" in problem["message"]


@pytest.mark.parametrize("column", ["Nickname", "last_name", "Plan", "Emails"])
def test_a_column_of_a_name_of_its_own_is_no_misspelling(run: Run, column: str) -> None:
    assert run(table(["identity", "Email", column], ["1", "a@example.com", "x"]), PROFILES).codes == {}
