"""The contract language, as a tenant writes it: every kind of rule, and every mistake told with file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway import contracts
from gateway.config import FeedSettings
from gateway.contracts import Contract
from gateway.contracts.words import in_words
from gateway.errors import ContractError
from tests.pipeline.conftest import Result, run_pipeline

HEAD = """
name = "orders"
title = "Orders"
kind = "events"
formats = ["csv", "ndjson"]
identity = ["customer"]
further_columns = "keep"

[time]
column = "at"
default_as_of = true

[[columns]]
name = "customer"

[[columns]]
name = "at"
type = "iso_time"
"""


def contract(rules: str = "", head: str = HEAD) -> Contract:
    return contracts.parse(head + rules, "contracts/orders.toml")


def check(folder: Path, rules: str, *rows: str, **policy: Any) -> Result:
    """The rows under a header of customer and value, checked by HEAD and the rules."""
    body = "\n".join(["customer,value", *rows]) + "\n"
    return run_pipeline(folder, body.encode(), contract(rules), **policy)


def value(**keys: str) -> str:
    return "[[columns]]\nname = 'value'\n" + "".join(f"{key} = {text}\n" for key, text in keys.items())


@pytest.mark.parametrize(
    ("rule", "good", "bad", "code", "message"),
    [
        ({"type": "'integer'"}, "7", "7.5", "not_integer", 'expected a whole number, found "7.5"'),
        ({"type": "'number'"}, "1e5", "1,5", "not_number", 'expected a number, found "1;5"'),
        ({"type": "'boolean'"}, "true", "yes", "not_boolean", 'expected true or false, found "yes"'),
        ({"type": "'digits'"}, "0012", "x", "not_digits", "expected digits"),
        ({"type": "'number'", "min": "1", "max": "5"}, "5", "5.1", "out_of_range", 'expected 1 to 5, found "5.1"'),
        ({"type": "'integer'", "min": "-5"}, "-5", "-6", "out_of_range", 'expected -5 or more, found "-6"'),
        ({"type": "'integer'", "max": "5"}, "5", "6", "out_of_range", 'expected 5 at most, found "6"'),
        ({"allowed": "['a', 'b']"}, "a", "c", "not_allowed", 'expected one of a, b; found "c"'),
        ({"pattern": "'^[A-Z]{3}$'"}, "ABC", "abc", "pattern_mismatch", 'expected a match of ^[A-Z]{3}$, found "abc"'),
        ({"length_min": "2"}, "ab", "a", "too_short", 'expected 2 characters or more, found "a"'),
        ({"length_max": "2"}, "äö", "abc", "too_long", 'expected 2 characters at most, found "abc"'),
        ({"placeholders": "['none']"}, "x", "NONE", "placeholder_identity", '"NONE" is a placeholder'),
        ({"required": "true"}, "x", "", "missing_required", "value: required, but blank"),
        ({"type": "'country'", "code": "'not_allowed'"}, "DE", "XX", "not_allowed", "expected an ISO 3166-1"),
    ],
)
def test_each_rule_takes_what_fits_and_says_what_it_expected(
    tmp_path: Path, rule: dict[str, str], good: str, bad: str, code: str, message: str
) -> None:
    quoted = '"1,5"' if bad == "1,5" else bad
    result = check(tmp_path, value(**rule), f"1,{good}", f"2,{quoted}")
    assert [row["customer"] for row in result.accepted] == ["1"]
    problem = result.problem(code)
    assert (problem["row"], problem["line"], problem["column"]) == (2, 3, "value")
    assert message.replace("1;5", "1,5") in problem["message"]


def test_a_value_that_may_be_dropped_is_dropped_with_a_warning_and_its_row_is_kept(tmp_path: Path) -> None:
    result = check(tmp_path, value(type="'integer'", on_invalid="'drop_value'", hint="'Ask us.'"), "1,x")
    assert result.accepted == [{"customer": "1", "value": "", "at": result.accepted[0]["at"]}]
    problem = result.problem("not_integer")
    assert (problem["level"], problem["hint"]) == ("warning", "Ask us.")


def test_a_default_stands_in_for_a_blank_and_warns_only_where_it_should(tmp_path: Path) -> None:
    assert check(tmp_path, value(default="'none'"), "1,").accepted[0]["value"] == "none"
    warned = check(tmp_path, value(default="'none'", default_warns="true"), "1,")
    assert (warned.accepted[0]["value"], warned.codes) == ("none", {"defaulted": 1})
    strict = check(tmp_path, value(default="'none'", default_warns="true"), "1,", strict=True)
    assert (strict.report["rejected_rows"], strict.codes) == (1, {"missing_required": 1})


def test_conditions_ask_for_columns_only_where_they_hold(tmp_path: Path) -> None:
    rules = value() + "[[requirements]]\nwhen = { value = ['vip', 'gold'] }\ncolumns = ['customer']\n"
    result = check(tmp_path, rules, ",vip", ",basic")
    assert [row["value"] for row in result.accepted] == ["basic"]
    assert result.problem("missing_required")["message"] == "customer: required when value is vip or gold, but blank"


def test_one_of_asks_for_one_and_keep_ignores_the_others(tmp_path: Path) -> None:
    rules = (
        value()
        + "[[one_of]]\ncolumns = ['customer', 'value']\n[[keep]]\nwhen = { value = ['x'] }\ncolumns = ['value']\n"
    )
    result = check(tmp_path, rules, ",", "1,x", "1,y")
    assert [(row["customer"], row["value"]) for row in result.accepted] == [("", "x"), ("1", "y")]
    assert result.codes == {"missing_identity": 1}


def test_unique_columns_replace_the_comparison_of_whole_rows_and_repeats_can_be_allowed(tmp_path: Path) -> None:
    rows = ("1,a", "1,b", "1,b")
    head = HEAD.replace("[time]", "unique = ['customer']\n\n[time]")
    body = "\n".join(["customer,value", *rows]).encode()
    by_customer = run_pipeline(tmp_path, body, contract(value(), head))
    assert by_customer.report["duplicate_rows"] == 2
    assert check(tmp_path, value(), *rows).report["duplicate_rows"] == 1
    head = HEAD.replace("[time]", "allow_repeats = true\n\n[time]")
    repeats = run_pipeline(tmp_path, body, contract(value(), head))
    assert (repeats.report["duplicate_rows"], repeats.report["accepted_rows"]) == (0, 3)


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("colums = 1\n" + HEAD, "colums: unknown key; did you mean 'columns'?"),
        (HEAD + "[[columns]]\nname = 'b'\ntype = 'integr'\n", "columns.2.type: expected"),
        (HEAD + "[[columns]]\nname = 'b'\npattern = '('\n", "columns.2.pattern: not a regular expression"),
        (HEAD + "[[columns]]\nname = 'b'\npattern = '(?=a)'\n", "columns.2.pattern: not a regular expression"),
        (
            HEAD + "[[columns]]\nname = 'b'\ncode = 'bad_emal'\n",
            "no problem code 'bad_emal'; did you mean 'bad_email'?",
        ),
        (HEAD + "[[columns]]\nname = 'at'\n", "columns: 'at' is declared twice"),
        (HEAD + "[[one_of]]\ncolumns = ['custmer', 'at']\n", "no column named 'custmer'; did you mean 'customer'?"),
        (HEAD.replace('column = "at"', 'column = "att"'), "time.column: no column named 'att'; did you mean 'at'?"),
        (HEAD.replace('"events"', '"event"'), "kind: expected"),
        ("x = [", "contracts/orders.toml: "),
    ],
)
def test_a_mistake_is_told_with_its_file_its_key_and_what_was_likely_meant(rules: str, told: str) -> None:
    with pytest.raises(ContractError) as caught:
        contracts.parse(rules, "contracts/orders.toml")
    assert str(caught.value).startswith("contracts/orders.toml: ")
    assert told in str(caught.value)


def test_a_contract_of_a_tenant_goes_before_a_built_in_one_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    path = tmp_path / "contracts" / "clevertap-events.toml"
    path.write_text(HEAD.replace('"orders"', '"clevertap-events"', 1))
    assert contracts.load("clevertap-events", tmp_path).title == "Orders"
    assert contracts.load("clevertap-profiles", tmp_path).title == "CleverTap profiles"
    path.write_text(HEAD)
    with pytest.raises(ContractError, match="name: expected 'clevertap-events'"):
        contracts.load("clevertap-events", tmp_path)


MIXED = """
name = "mixed"
title = "Mixed"
kind = "mixed"
formats = ["csv"]
identity = ["user"]
[[columns]]
name = "user"
[[columns]]
name = "kind"
[[columns]]
name = "about"
type = "object"
"""
IDENTIFY = "[[identify]]\nwhen = {kind = ['user']}\nidentity = 'user'\nattributes = 'about'\n"


@pytest.mark.parametrize(
    ("head", "rules", "message"),
    [
        (HEAD, "[event]\nname = 'what'\n", "event: no column named 'what'"),
        (HEAD, "[event]\nproperties = 'at'\n", "event.properties: 'at' must be a column of type \"object\""),
        (HEAD.replace('"events"', '"profiles"'), "[event]\nname = 'at'\n", "event: the rows of a contract of kind"),
        (HEAD, IDENTIFY.replace("user", "customer").replace("kind", "at").replace("about", "at"), 'of kind "mixed"'),
        (MIXED, IDENTIFY.replace("'about'", "'kind'"), "identify.attributes: 'kind' must be a column of type"),
        (MIXED, IDENTIFY.replace("identity = 'user'", "identity = 'kind'"), "identify.identity: 'kind' is none of"),
        (MIXED, IDENTIFY + "columns = ['plan']\n", "identify: no column named 'plan'"),
    ],
)
def test_what_a_row_becomes_is_said_of_columns_that_there_are(head: str, rules: str, message: str) -> None:
    with pytest.raises(ContractError, match="orders") as refused:
        contract(rules, head)
    assert message in str(refused.value)


def test_a_contract_says_in_words_what_its_rows_become() -> None:
    def words(found: Contract) -> str:
        return in_words(found, FeedSettings(contract=found.name))

    assert "an event of whom `identity` or `objectId` names, named by `evtName`." in words(
        contracts.load("clevertap-events")
    )
    assert "updates the profile of whom `id` or `email` names" in words(contracts.load("customerio-people"))
    assert (
        "When `event_type` is `identify_user`: the members of `metadata`, and `company_id`, update the one that "
        "`user_id` names." in words(contracts.load("userpilot-import"))
    )
    assert "named by `event_name`, else `event_type`." in words(contracts.load("userpilot-import"))
    assert "A row is an event of whom `customer` names, named `orders`." in words(contract())
