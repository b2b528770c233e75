"""What becomes of accepted rows in the store (RULES.md sections 3 and 4, U109 to U119), and what reports tell of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from gateway import contracts
from gateway.config import FeedSettings
from gateway.contracts.words import in_words
from tests.importing import Staged, Tenant
from tests.pipeline.conftest import AS_OF, Result
from tests.rules.conftest import USERPILOT, Record, ndjson, record

PEOPLE = "clevertap-profiles"
EVENTS = "clevertap-events"
JANE: Record = {"name": "John Doe", "email": "john@example.com"}


@pytest.fixture
def tenant(tmp_path: Path) -> Tenant:
    return Tenant(tmp_path)


@pytest.fixture
def identify(tenant: Tenant) -> Callable[..., Result]:
    """A file with identify records of one user, a day apart; `day` is that of the first."""

    def call(*metadata: Record, day: int = 1) -> Result:
        moments = [f"2024-07-{day + at:02}T00:00:00Z" for at in range(len(metadata))]
        records = [
            record("identify_user", metadata=each, inserted_at=moment)
            for each, moment in zip(metadata, moments, strict=True)
        ]
        return tenant.take(ndjson(*records), USERPILOT, name="identify.ndjson")

    return call


def unix(age: timedelta) -> int:
    return int((AS_OF - age).timestamp())


@pytest.mark.rule("C1", "C9")
def test_a_csv_creates_new_profiles_in_bulk(tenant: Tenant) -> None:
    body = "identity,Name,Phone\n" + "".join(f"id-{number},N{number},{number:08}\n" for number in range(3000))
    found = tenant.take(body, PEOPLE)
    assert found.report["store"]["created"] == 3000
    assert tenant.rows("profiles").height == 3000
    assert tenant.profile("id-1234") == {"Name": "N1234", "Phone": "00001234"}


@pytest.mark.rule("C2", "C3", "C10", "C11")
def test_known_profiles_are_updated_completed_and_keep_the_rest_and_the_report_says_so(tenant: Tenant) -> None:
    tenant.take("identity,Name,Age,City\nann,Ann,34,Cork\nbob,Bob,40,\n", PEOPLE)
    found = tenant.take("identity,Age,Team\nann,35,red\nbob,40,\n", PEOPLE)
    assert tenant.profile("ann") == {"Name": "Ann", "Age": 35, "City": "Cork", "Team": "red"}
    assert tenant.profile("bob") == {"Name": "Bob", "Age": 40}
    told = found.report["store"]
    assert (told["created"], told["updated"], told["unchanged"]) == (0, 1, 1)
    assert found.report["properties"] == {"created": ["Team"], "changed": ["Age"], "blanked": 0}
    page = found.files["page"].decode()
    assert "Properties that nobody had before:" in page
    assert "Properties that changed:" in page


@pytest.mark.rule("C2", "C3", "C9")
def test_several_rows_of_one_person_merge_in_the_file_as_they_would_in_the_store(
    tenant: Tenant, tmp_path: Path
) -> None:
    lines = ["ann,Ann,,1\n", "ann,,Cork,\n", "bob,Bob,,\n", "ann,Anna,,\n"]
    found = tenant.take("identity,Name,City,Age\n" + "".join(lines), PEOPLE)
    assert (found.report["accepted_rows"], found.report["merged_rows"]) == (2, 2)
    assert (found.report["store"]["created"], found.report["store"]["updated"]) == (2, 0)
    apart = Tenant(tmp_path / "apart")
    for line in lines:
        apart.take("identity,Name,City,Age\n" + line, PEOPLE)
    assert tenant.profile("ann") == apart.profile("ann") == {"Name": "Anna", "City": "Cork", "Age": 1}
    assert tenant.store.values() == apart.store.values()


@pytest.mark.rule("F6", "F7", "F15")
def test_events_that_come_with_their_profiles_are_of_people_who_are_known(tenant: Tenant) -> None:
    events = tenant.drop("identity,evtName,ts\nann,Bought,1700000000\nzed,Left,1700000001\n", EVENTS)
    people = tenant.drop("identity,Name\nann,Ann\n", PEOPLE)
    bought, _ = tenant.commit(events, people)
    assert bought is not None
    assert bought.codes == {"unknown_identity": 1}
    assert "the first is in row 2" in bought.problem("unknown_identity")["message"]
    assert bought.report["store"]["unknown_identities"] == 1
    assert [error["code"] for error in bought.errors] == ["unknown_identity"]
    after = tenant.take("identity,evtName,ts\nann,Left,1700000002\n", EVENTS)
    assert after.codes == {}


@pytest.mark.rule("F6", "F15", "B11", "B15")
@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({}, "an event of somebody unknown is taken, with a warning"),
        ({"unknown_identity": "reject"}, "an event of somebody unknown is rejected"),
        ({"unknown_identity": "hold", "hold_hours": 6}, "holds the file, for 6 h at most; then it is rejected"),
        (
            {"trigger_hours": 5, "activity_log_days": 7},
            "One of the last 5 h may trigger",
        ),
    ],
)
def test_the_contract_in_words_says_what_to_send_first_and_what_old_events_are_for(
    policy: dict[str, object], said: str
) -> None:
    for name in (EVENTS, "customerio-events", USERPILOT):
        words = in_words(contracts.load(name), FeedSettings.model_validate({"contract": name} | policy))
        assert "Send profiles before events" in words
        assert said in words
    people = in_words(contracts.load("customerio-people"), FeedSettings(contract="customerio-people"))
    assert "before events" not in people
    assert "the latest `_timestamp` stays" in people


@pytest.mark.rule("F24", "F25", "B9")
def test_an_event_is_stored_at_its_own_time_unless_that_is_beyond_what_the_tenant_keeps(tenant: Tenant) -> None:
    ages = [timedelta(days=400), timedelta(days=364), timedelta(days=3), timedelta(hours=-3)]
    lines = [f"ann,e{at},{unix(age)}\n" for at, age in enumerate(ages)]
    found = tenant.take("identity,evtName,ts\n" + "".join(lines), EVENTS, retention_days=365, as_of=AS_OF)
    assert found.codes == {"unknown_identity": 2, "beyond_retention": 1, "in_the_future": 1}
    assert [(event["name"], event["time"]) for event in tenant.events()] == [
        ("e1", AS_OF - ages[1]), ("e2", AS_OF - ages[2]),
    ]  # fmt: skip


@pytest.mark.rule("F17")
def test_events_older_than_what_the_feed_has_taken_are_accepted_and_counted(tenant: Tenant) -> None:
    def lines(*hours: int) -> str:
        return "identity,evtName,ts\n" + "".join(f"ann,e{hour},{unix(timedelta(hours=hour))}\n" for hour in hours)

    def late(*staged: Staged) -> list[int]:
        return [result.report["store"]["late_events"] for result in tenant.commit(*staged) if result]

    assert late(tenant.drop(lines(50, 40), EVENTS)) == [0]
    assert late(tenant.drop(lines(60, 45, 40, 30), EVENTS)) == [2], "40 is there already, and 30 is newer"
    assert late(tenant.drop(lines(35, 35, 30, 20), EVENTS, feed="another")) == [0], "each feed counts for itself"
    # Of two in one commit the earlier counts as taken before the later one.
    both = [tenant.drop(lines(25, 10), EVENTS), tenant.drop(lines(29, 12), EVENTS), tenant.drop(lines(31), EVENTS)]
    assert late(*both) == [0, 2, 1]
    assert late(tenant.drop(lines(21, 19), EVENTS, feed="another")) == [1]
    assert late(tenant.drop(lines(11), EVENTS)) == [1]
    found = tenant.take(lines(9, 70), EVENTS)
    assert "2 events were stored, 1 of them older than what this feed had sent before." in found.files["page"].decode()
    reopened = Tenant(tenant.folder, sequence=tenant.sequence, jobs=tenant.jobs)
    found = reopened.take(lines(71, 8), EVENTS)
    assert found.report["store"]["late_events"] == 1, "also in a process that has seen nothing"


@pytest.mark.rule("B11", "B12", "B14", "B15", "B16")
def test_old_events_are_stored_and_say_that_nothing_is_to_be_triggered_by_them(tenant: Tenant) -> None:
    ages = [timedelta(hours=1), timedelta(hours=73), timedelta(days=31)]
    tenant.take(
        ndjson(*({"id": "1", "name": f"e{at}", "timestamp": unix(age)} for at, age in enumerate(ages))),
        "customerio-events", name="old.ndjson", as_of=AS_OF,
    )  # fmt: skip
    assert [(one["name"], one["can_trigger"], one["in_activity_log"]) for one in tenant.events()] == [
        ("e2", False, False), ("e1", False, True), ("e0", True, True),
    ]  # fmt: skip


def segment(tenant: Tenant, days: int, now: datetime, plan: str) -> list[str]:
    """Who has bought in so many days and has that plan, as DuckDB finds it in the tables' files."""
    found = duckdb.execute(
        """
        SELECT DISTINCT identity FROM read_parquet($1) events JOIN read_parquet($2) profiles USING (namespace, identity)
        WHERE name = 'bought' AND events.time BETWEEN $3 AND $4 AND attributes['plan'].value = $5 ORDER BY 1
        """,
        [tenant.files("events"), tenant.files("profiles"), now - timedelta(days=days), now, f'"{plan}"'],
    )
    return [identity for (identity,) in found.fetchall()]


@pytest.mark.rule("B10", "B13", "B16", "B17")
def test_backdated_events_fill_segments_which_people_enter_and_leave(tenant: Tenant) -> None:
    people = "id,_timestamp,plan\n"
    tenant.take(people + f"1,{unix(timedelta(days=90))},pro\n2,{unix(timedelta(days=90))},pro\n", "customerio-people")

    def bought(who: str, age: timedelta) -> None:
        tenant.take(
            ndjson({"id": who, "name": "bought", "timestamp": unix(age)}), "customerio-events", name="b.ndjson",
            as_of=AS_OF,
        )  # fmt: skip

    bought("1", timedelta(days=40))
    assert segment(tenant, 30, AS_OF, "pro") == []
    assert segment(tenant, 60, AS_OF, "pro") == ["1"]
    bought("2", timedelta(days=10))
    assert segment(tenant, 30, AS_OF, "pro") == ["2"], "a backdated event lets them in"
    assert segment(tenant, 30, AS_OF + timedelta(days=21), "pro") == [], "and time takes them out"
    tenant.take(people + f"2,{unix(timedelta(days=1))},free\n", "customerio-people")
    assert segment(tenant, 30, AS_OF, "pro") == [], "as does another value"
    tenant.take(people + f"2,{unix(timedelta(days=5))},pro\n", "customerio-people")
    assert segment(tenant, 30, AS_OF, "pro") == [], "but no older one that comes late"


@pytest.mark.rule("U110", "U111", "U112", "U117", "U119")
@pytest.mark.parametrize("files", [1, 2])
def test_the_wrong_example_of_the_document_is_warned_of_and_loses_nothing(
    identify: Callable[..., Result], tenant: Tenant, files: int
) -> None:
    full, part = JANE, {"email": "john@example.com"}
    if files == 1:
        found = identify(full, part)
    else:
        assert "shrinking_properties" not in identify(full).codes
        found = identify(part, day=2)
    assert found.codes["shrinking_properties"] == 1
    told = found.problem("shrinking_properties")
    assert told["message"] == (
        f"1 record lacks or blanks properties that were set before; the first is row {1 if files == 2 else 2}: name"
    )
    assert "Send all properties with each record" in told["hint"]
    assert [(error["row"], error["level"], error["message"]) for error in found.errors] == [
        ("", "warning", told["message"]),
        ("1" if files == 2 else "2", "warning", "lacks or blanks what was set before: name"),
    ]
    assert "shrinking_properties" in found.files["page"].decode()
    assert tenant.profile("u1", "user_id") == full


@pytest.mark.rule("U109", "U113", "U114", "U116")
@pytest.mark.parametrize("files", [1, 3])
def test_the_good_sequence_of_the_document_builds_up_a_profile_without_a_warning(
    identify: Callable[..., Result], tenant: Tenant, files: int
) -> None:
    steps: list[Record] = [
        JANE | {"location": None, "job_title": None},
        JANE | {"location": "Dublin", "job_title": None},
        JANE | {"location": "Dublin", "job_title": "Architect"},
    ]
    found = [identify(*steps)] if files == 1 else [identify(step, day=day) for day, step in enumerate(steps, 1)]
    assert [result.codes for result in found] == [{}] * files
    assert tenant.profile("u1", "user_id") == JANE | {"location": "Dublin", "job_title": "Architect"}


@pytest.mark.rule("U115", "U118")
def test_a_later_null_blanks_is_counted_and_warned_of_and_the_latest_update_wins(
    identify: Callable[..., Result], tenant: Tenant
) -> None:
    identify(JANE, day=10)
    late = identify(JANE | {"name": "Old"}, day=2)
    assert tenant.profile("u1", "user_id") == JANE, "an older record that comes later changes nothing"
    assert (late.report["store"]["unchanged"], late.report["store"]["updated"]) == (1, 0)
    blanked = identify(JANE | {"name": None}, day=20)
    assert tenant.profile("u1", "user_id") == JANE | {"name": None}
    assert blanked.report["properties"] == {"created": [], "changed": ["name"], "blanked": 1}
    assert blanked.codes["shrinking_properties"] == 1
    identify(JANE, day=15)
    assert tenant.profile("u1", "user_id")["name"] is None, "what was blanked later stays blank"


@pytest.mark.rule("U110", "U118")
def test_companies_build_up_and_shrink_as_users_do(tenant: Tenant) -> None:
    records = [
        record("identify_company", metadata={"name": "Acme", "size": 5}),
        record("identify_company", metadata={"name": "Acme Inc"}, inserted_at="2024-07-29T00:00:00Z"),
    ]
    found = tenant.take(ndjson(*records), USERPILOT, name="companies.ndjson")
    assert found.codes == {"shrinking_properties": 1}
    assert found.problem("shrinking_properties")["message"].endswith("row 2: size")
    assert tenant.profile("c1", "company_id", "companies") == {"name": "Acme Inc", "size": 5}


@pytest.mark.rule("U109", "U110", "U113", "U114", "U117")
def test_the_contract_in_words_asks_for_all_properties_with_each_record() -> None:
    words = in_words(contracts.load(USERPILOT), FeedSettings(contract=USERPILOT))
    assert "Send all that you know with each of these records, and null for what you do not know yet" in words
    assert "a record with less than an earlier one gets a warning" in words


def test_a_mixed_file_knows_its_own_people_and_events_of_others_are_settled(tenant: Tenant) -> None:
    lines = [
        record("track", user_id="stranger", inserted_at="2024-07-03T00:00:00Z"),
        record("identify_user", user_id="u1", inserted_at="2024-07-02T00:00:00Z"),
        record("track", user_id="u1", inserted_at="2024-07-01T00:00:00Z"),
        record("identify_company", inserted_at="2024-07-05T00:00:00Z"),
        record("page_view", user_id="u1", inserted_at="2024-07-04T00:00:00Z"),
    ]
    body = ndjson(*lines)
    found = tenant.take(body, USERPILOT, name="mixed.ndjson", unknown_identity="reject")
    assert found.files["rejected"] == ndjson(lines[0])
    assert [row["inserted_at"][8:10] for row in found.accepted] == ["01", "02", "04", "05"]
    assert found.report["store"] | {"created": 2, "events": 2, "unknown_identities": 1} == found.report["store"]
    assert (found.report["accepted_rows"], found.report["rejected_rows"]) == (4, 1)
    assert [(error["row"], error["code"]) for error in found.errors] == [("1", "unknown_identity")]
    assert found.report["order"] == {
        "first": "2024-07-01T00:00:00.000000Z", "last": "2024-07-05T00:00:00.000000Z", "rows_moved": 3,
    }  # fmt: skip
    again = tenant.take(body, USERPILOT, name="again.ndjson", unknown_identity="reject")
    # Identify records come again as they were; the events are there already.
    assert [row["event_type"] for row in again.accepted] == ["identify_user", "identify_company"]
    assert (again.report["duplicate_rows"], again.report["store"]["unchanged"], again.report["store"]["events"]) == (
        2,
        2,
        0,
    )


@pytest.mark.parametrize("form", ["same", "csv", "parquet"])
def test_what_leaves_the_accepted_rows_leaves_them_in_every_format(tenant: Tenant, form: str) -> None:
    calls = [
        {"id": "1", "name": f"e{at}", "timestamp": unix(timedelta(hours=at)), "data": {"a": "x\ny"}} for at in range(5)
    ]
    tenant.take(ndjson(calls[1], calls[3]), "customerio-events", name="first.ndjson", as_of=AS_OF)
    found = tenant.take(ndjson(*calls), "customerio-events", name="all.ndjson", result_format=form, as_of=AS_OF)
    assert (found.report["accepted_rows"], found.report["duplicate_rows"]) == (3, 2)
    accepted = found.files["accepted"]
    rows = pl.read_parquet(io.BytesIO(accepted)).to_dicts() if form == "parquet" else found.accepted
    assert [row["name"] for row in rows] == ["e4", "e2", "e0"]
    assert found.report["order"]["first"] == f"{AS_OF - timedelta(hours=4):%Y-%m-%dT%H:%M:%S.%fZ}"
    assert [event["name"] for event in tenant.events()] == ["e4", "e3", "e2", "e1", "e0"]


def test_a_warning_of_the_store_stands_before_what_was_found_without_it(tenant: Tenant) -> None:
    body = "identity,evtName,ts\nzed,Bought,1700000000\n,Bought,1700000001\n"
    found = tenant.take(body, EVENTS, completion_proof=False)
    codes = ["unknown_identity", "no_completion_proof", "missing_identity"]
    assert (
        [error["code"] for error in found.errors] == [problem["code"] for problem in found.report["problems"]] == codes
    )
    # What was a note alone had no file; beside a warning it is listed.
    noted = tenant.take("identity,evtName,ts\nzed,Left,1700000000\n", EVENTS, completion_proof=False)
    assert [error["code"] for error in noted.errors] == codes[:2]
    assert "There are warnings below that are worth a look; drop.csv.errors.csv lists them." in (
        noted.files["page"].decode()
    )
