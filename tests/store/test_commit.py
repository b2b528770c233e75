"""A commit is made once, however often it is tried and wherever it was cut off; what fails says what to do."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from gateway.errors import StoreContended, StoreUnreachable
from gateway.store import Contribution, TenantStore
from gateway.store.place import Place
from gateway.store.table import APPLICATION, Table
from tests.store.conftest import Event, Jobs, Row, Stored, contents

pytestmark = pytest.mark.timeout(60)
TABLES = ["attributes", "profiles", "companies", "events"]


class PowerCut(Exception):
    """The process ends here."""


def some_jobs(jobs: Jobs) -> list[Contribution]:
    acme = Row("acme", {"size": "5"}, namespace="company_id")
    return [
        jobs([Row("ann", {"Name": '"Ann"'}), Row("bob", {"x": "1"})], [Event("ann"), Event("zed")], companies=[acme]),
        jobs([Row("ann", {"Name": '"Anne"'}, 5)], [Event("ann", minutes=7), Event("ann")], unknown_identity="reject"),
    ]


def commits_of(store: TenantStore, sequence: int) -> dict[str, int]:
    """How many entries of each table's log carry the number."""
    found = {}
    for table in store.tables:
        folder = table.place.folder
        assert folder is not None
        lines = [line for path in (folder / "_delta_log").glob("*.json") for line in path.read_text().splitlines()]
        entries = [json.loads(line).get("txn", {}) for line in lines]
        versions = [one["version"] for one in entries if one.get("appId") == APPLICATION]
        found[table.shape.name] = len(set(versions) & {sequence})
        assert sum("commitInfo" in line for line in lines) == table.delta.version() + 1
    return found


@pytest.mark.parametrize("last", [None, *TABLES])
def test_a_commit_cut_off_after_any_table_and_repeated_is_made_once(
    new_store: Callable[[str], Stored], jobs: Jobs, monkeypatch: pytest.MonkeyPatch, last: str | None
) -> None:
    before, contributions = jobs([Row("bob", {"x": "0"}, -1)], [Event("bob")]), some_jobs(jobs)
    whole = new_store("whole")
    whole.commit(before)
    whole.commit(*contributions)

    cut = new_store("cut")
    cut.commit(before)
    real = Table.commit

    def commit(self: Table, *arguments: object) -> bool:
        if last is None:
            raise PowerCut
        done = real(self, *arguments)  # type: ignore[arg-type]  # Passed through as they came.
        if self.shape.name == last:
            raise PowerCut
        return done

    monkeypatch.setattr(Table, "commit", commit)
    with pytest.raises(PowerCut):
        cut.commit(*contributions)
    monkeypatch.undo()

    again = TenantStore(str(cut.store.place.url).removesuffix("/acme"), "acme")
    prepared = again.prepare(2, contributions)
    assert prepared.repeated == (last is not None)
    written = again.commit(prepared)
    assert written == TABLES[TABLES.index(last) + 1 :] if last else written == TABLES
    assert contents(again) == contents(whole.store)
    assert commits_of(again, 2) == dict.fromkeys(TABLES, 1)


def test_a_whole_commit_that_is_repeated_changes_nothing(stored: Stored, jobs: Jobs) -> None:
    contributions = some_jobs(jobs)
    stored.commit(*contributions)
    before = contents(stored.store)
    prepared = stored.store.prepare(1, contributions)
    assert prepared.repeated
    assert stored.store.commit(prepared) == []
    assert contents(stored.store) == before


def test_a_prepared_commit_that_is_tried_twice_is_made_once(stored: Stored, jobs: Jobs) -> None:
    prepared = stored.store.prepare(1, some_jobs(jobs))
    assert stored.store.commit(prepared) == TABLES
    assert stored.store.commit(prepared) == []
    assert commits_of(stored.store, 1) == dict.fromkeys(TABLES, 1)


def test_a_ledger_that_was_restored_can_go_on_after_the_last_number(stored: Stored, jobs: Jobs) -> None:
    assert stored.store.last_sequence == 0
    for contribution in some_jobs(jobs):
        stored.commit(contribution)
    assert TenantStore(str(stored.store.place.url).removesuffix("/acme"), "acme").last_sequence == 2


def test_what_somebody_else_wrote_in_between_is_not_lost(stored: Stored, jobs: Jobs) -> None:
    first, second = some_jobs(jobs)
    stored.commit(first)
    prepared = stored.store.prepare(2, [second])
    other = TenantStore(str(stored.store.place.url).removesuffix("/acme"), "acme")
    other.profiles.delta.alter.set_table_properties({"delta.appendOnly": "false"})
    with pytest.raises(StoreContended, match="One gateway writes to a store"):
        stored.store.commit(prepared)
    stored.store.commit(stored.store.prepare(2, [second]))
    assert stored.value("ann") == {"Name": '"Anne"'}


def test_a_store_that_cannot_be_written_says_so_and_is_written_later(tmp_path: Path, jobs: Jobs) -> None:
    in_the_way = tmp_path / "store"
    in_the_way.write_text("a file where the folder should be")
    contributions = some_jobs(jobs)
    with pytest.raises(StoreUnreachable, match=r"store\.url") as caught:
        Stored(TenantStore(str(in_the_way), "acme")).commit(*contributions)
    assert "what waits for it is kept" in caught.value.hint
    in_the_way.unlink()
    stored = Stored(TenantStore(str(in_the_way), "acme"))
    stored.commit(*contributions)
    assert stored.value("ann") == {"Name": '"Anne"'}


def test_a_file_that_has_gone_from_a_table_is_told_and_nothing_is_replaced(stored: Stored, jobs: Jobs) -> None:
    first, second = some_jobs(jobs)
    stored.commit(first)
    [path] = stored.store.profiles.files()["path"]
    folder = stored.store.profiles.place.folder
    assert folder is not None
    shutil.move(folder / path, folder / "elsewhere")
    with pytest.raises(StoreUnreachable, match="cannot be reached"):
        stored.store.prepare(2, [second])
    shutil.move(folder / "elsewhere", folder / path)
    stored.sequence = 1
    stored.commit(second)
    assert stored.value("ann") == {"Name": '"Anne"'}


@pytest.mark.parametrize("torn", ["", '{"add":{"path":"buck', "\0\0\0\0"])
def test_an_entry_of_the_log_that_a_power_cut_tore_is_made_again(stored: Stored, jobs: Jobs, torn: str) -> None:
    first, second = some_jobs(jobs)
    stored.commit(first)
    stored.commit(second)
    whole = contents(stored.store)
    for table in stored.store.tables:
        folder = table.place.folder
        assert folder is not None
        if table.has(2):
            newest = max((folder / "_delta_log").glob("*.json"))
            newest.write_text(torn)
    again = TenantStore(str(stored.store.place.url).removesuffix("/acme"), "acme")
    assert again.commit(again.prepare(2, [second])) == ["profiles", "events"]
    assert contents(again) == whole


def test_files_are_durable_before_the_log_names_them_and_the_log_before_the_commit_returns(
    stored: Stored, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    prepared = stored.store.prepare(1, some_jobs(jobs)[:1])
    before = set(synced)
    for name, change in prepared.changes.items():
        root = f"{stored.store.place.url}/{name}"
        for added in change.added:
            assert {f"{root}/{added.path}", os.path.dirname(f"{root}/{added.path}")} <= before
    synced.clear()
    stored.store.commit(prepared)
    for name in prepared.changes:
        log = f"{stored.store.place.url}/{name}/_delta_log"
        assert {f"{log}/{1:020d}.json", log} <= set(synced)


def test_the_address_of_a_store_may_be_a_file_url(tmp_path: Path, jobs: Jobs) -> None:
    stored = Stored(TenantStore((tmp_path / "a b").as_uri(), "acme"))
    stored.commit(*some_jobs(jobs))
    assert stored.value("ann") == {"Name": '"Anne"'}
    assert DeltaTable(str(tmp_path / "a b" / "acme" / "profiles")).version() == 1


def test_what_a_service_says_is_told_in_one_plain_line() -> None:
    place = Place("s3://bucket/store")
    with (
        pytest.raises(StoreUnreachable, match=r"^s3://bucket/store cannot be reached \(open\): no route to host\. See"),
        place.reached("open"),
    ):
        raise OSError("no route \x1b[31m↳\x1b[0m\n to host")


def test_a_login_in_the_address_is_not_told() -> None:
    assert str(Place("s3://user:secret@bucket/store", {"key": "secret"})) == "s3://bucket/store"
    assert "secret" not in repr(Place("s3://bucket", {"key": "secret"}))
