"""What a job leaves is durable before anybody is told of it: each file, and its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.importing import Tenant

pytestmark = pytest.mark.timeout(60)
ROWS = "identity,Name,Age\nann,Ann,30\nbob,Bob,old\ncyd,Cyd,40,5\n"
EVENTS = "identity,evtName,ts\n" + "".join(f"{name},bought,1709251200\n" for name in ("ann", "zed"))


@pytest.fixture
def undurable(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[str]]:
    """What of a folder is not as it was when it was fsynced last: size and time of change, or a folder's names."""
    synced: dict[str, object] = {}
    fsync = os.fsync

    def state(path: Path) -> object:
        found = path.stat()
        return sorted(os.listdir(path)) if path.is_dir() else (found.st_size, found.st_mtime_ns)

    def noted(file: int) -> None:
        fsync(file)
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        synced[str(path)] = state(path)

    def of(folder: Path) -> list[str]:
        paths = [folder, *folder.rglob("*")]
        return [str(path.relative_to(folder)) for path in paths if synced.get(str(path)) != state(path)]

    monkeypatch.setattr(os, "fsync", noted)
    return of


@pytest.mark.parametrize("for_store", [True, False], ids=["with a store", "without"])
def test_all_that_the_pipeline_leaves_is_durable_when_it_returns(
    tmp_path: Path, undurable: Callable[[Path], list[str]], for_store: bool
) -> None:
    staged = Tenant(tmp_path).drop(ROWS, "clevertap-profiles", for_store=for_store)
    assert len(list(staged.staging.rglob("*"))) >= 5
    assert undurable(staged.staging) == []


def test_all_that_the_store_decided_is_durable_when_it_is_told(
    tmp_path: Path, undurable: Callable[[Path], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = Tenant(tmp_path)
    people = tenant.drop(ROWS, "clevertap-profiles")
    tenant.commit(people)
    assert undurable(people.staging) == []
    events = tenant.drop(EVENTS, "clevertap-events", name="bought.csv", unknown_identity="reject")
    assert undurable(events.staging) == []
    tenant.commit(events)
    assert {path.name for path in (events.staging / "settled").iterdir()} >= {"errors.csv", "report.json"}
    assert undurable(events.staging) == []
