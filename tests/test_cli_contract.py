"""`gateway check`, `preview`, `contract` and `codes`, run as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from gateway import contracts
from gateway.contracts.codes import CODES
from tests.conftest import Run

PROFILES = "identity,Name,Phone\n1,Ann,1 2\n"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (PROFILES, 0, "all rows accepted"),
        (PROFILES + "2,Bob,+49\n", 1, "phone_not_digits"),
        (PROFILES.replace("identity", "Identity"), 2, "must be spelt 'identity'"),
    ],
)
def test_check_says_with_its_exit_code_what_the_gateway_would_do(
    gateway: Run, tmp_path: Path, text: str, code: int, said: str
) -> None:
    (tmp_path / "p.csv").write_text(text)
    done = gateway("check", "p.csv", "--contract", "clevertap-profiles")
    assert (done.returncode, done.stderr) == (code, "")
    assert said in done.stdout


def test_check_writes_the_result_files_and_prints_the_report_as_json(gateway: Run, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(PROFILES + "2,Bob,+49\n")
    done = gateway("check", "p.csv", "--contract", "clevertap-profiles", "--out", "out", "--json")
    report = json.loads(done.stdout)
    names = {f"p.csv.{end}" for end in ("accepted.csv", "rejected.csv", "errors.csv", "report.json", "report.html")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert report == json.loads((tmp_path / "out" / "p.csv.report.json").read_text())


def test_check_judges_as_of_the_time_that_is_given(gateway: Run, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("identity,evtName,ts\n1,a,1700000000\n")
    given = ("check", "e.csv", "--contract", "clevertap-events")
    assert gateway(*given).returncode == 0
    early = gateway(*given, "--as-of", "2023-01-01")
    assert (early.returncode, "in_the_future" in early.stdout) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["check", "none.csv", "--contract", "clevertap-events"], 64, "none.csv"),
        (["check", "p.csv"], 64, "--contract"),
        (["check", "p.csv", "--contract", "clevertap-event"], 3, "did you mean 'clevertap-events'?"),
        (["contract", "show", "nothing"], 3, "known contracts"),
    ],
)
def test_wrong_usage_and_our_own_failures_have_exit_codes_of_their_own(
    gateway: Run, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "p.csv").write_text(PROFILES)
    done = gateway(*arguments)
    assert done.returncode == code
    assert said in done.stderr


def test_a_crash_of_ours_never_looks_like_rejected_rows(gateway: Run, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(PROFILES)
    broken = tmp_path / "modules"
    broken.mkdir()
    (broken / "langcodes.py").write_text("raise OSError('broken')")
    done = gateway("check", "p.csv", "--contract", "clevertap-profiles", PYTHONPATH=str(broken))
    assert (done.returncode, "OSError: broken" in done.stderr) == (3, True)


def test_a_contract_can_be_copied_changed_and_checked(gateway: Run, tmp_path: Path) -> None:
    text = gateway("contract", "show", "clevertap-events", "--toml").stdout
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('name = "clevertap-events"', 'name = "mine"', 1))
    assert "'mine' is a contract of 4 columns" in gateway("contract", "check", "mine.toml").stdout
    path.write_text(text.replace("further_columns", "further_colums"))
    done = gateway("contract", "check", "mine.toml")
    assert (done.returncode, "did you mean 'further_columns'?" in done.stderr) == (3, True)


@pytest.mark.parametrize("name", contracts.builtin_names())
def test_every_contract_is_listed_shown_in_words_and_printed_as_a_schema(gateway: Run, name: str) -> None:
    assert name in gateway("contract", "list").stdout
    words = gateway("contract", "show", name).stdout
    assert all(f"`{column.name}`" in words for column in contracts.load(name).columns)
    jsonschema.Draft202012Validator.check_schema(json.loads(gateway("contract", "schema", name).stdout))


def test_codes_lists_every_code_with_its_meaning_and_what_to_do(gateway: Run) -> None:
    listed = {entry["name"]: entry for entry in json.loads(gateway("codes", "--json").stdout)}
    assert listed.keys() == CODES.keys()
    assert all(entry["meaning"] and entry["hint"] for entry in listed.values())
    table = gateway("codes").stdout
    assert all(name in table for name in CODES)


def test_preview_shows_rows_as_understood_and_rejected_ones_as_they_came(gateway: Run, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(PROFILES + '2,"Bob",+49\n')
    shown = gateway("preview", "p.csv", "--contract", "clevertap-profiles").stdout
    assert "Phone     12" in shown
    assert '2,"Bob",+49' in shown
    assert "phone_not_digits" in shown
