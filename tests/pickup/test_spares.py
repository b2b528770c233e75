"""Spare staging folders: a flood of drops makes and removes none, and nothing in one comes to another job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.pickup.claim import work_dir
from gateway.pickup.spares import Spares


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    for name in ("spare", "work/a", "work/b"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def staging(spool: Path, job: str, tries: int = 1) -> Path:
    return spool / "work" / job / "out" / str(tries)


def test_the_folder_of_a_job_that_has_ended_is_the_next_ones(spool: Path) -> None:
    spares = Spares(spool / "spare")
    spares.take(staging(spool, "a"))
    inode = staging(spool, "a").stat().st_ino
    spares.give(staging(spool, "a"))
    assert not staging(spool, "a").parent.exists()
    spares.take(staging(spool, "b"))
    assert staging(spool, "b").stat().st_ino == inode
    assert list((spool / "spare").iterdir()) == []


def test_what_is_left_in_a_folder_goes_with_it(spool: Path) -> None:
    spares = Spares(spool / "spare")
    spares.take(staging(spool, "a"))
    for name in ("store/told.json", "settled/errors.csv", "left.csv"):
        (staging(spool, "a") / name).parent.mkdir(exist_ok=True)
        (staging(spool, "a") / name).touch()
    spares.give(staging(spool, "a"))
    assert not staging(spool, "a").parent.exists()
    spares.take(staging(spool, "b"))
    assert sorted(path.name for path in staging(spool, "b").rglob("*")) == ["settled", "store"]


def test_a_folder_with_more_than_folders_of_files_is_removed(spool: Path) -> None:
    spares = Spares(spool / "spare")
    spares.take(staging(spool, "a"))
    (staging(spool, "a") / "pieces" / "deep").mkdir(parents=True)
    spares.give(staging(spool, "a"))
    assert not staging(spool, "a").parent.exists()
    assert list((spool / "spare").iterdir()) == []


def test_a_job_that_runs_again_finds_nothing_of_its_tries_before(spool: Path) -> None:
    spares = Spares(spool / "spare")
    for job in ("a", "b"):
        spares.take(staging(spool, job))
    spares.give(staging(spool, "a"))
    (staging(spool, "b") / "half.csv").touch()
    spares.take(staging(spool, "b", 2))
    assert list(staging(spool, "b").parent.iterdir()) == [staging(spool, "b", 2)]
    (staging(spool, "b", 2) / "half.csv").touch()
    spares.take(staging(spool, "b", 1))
    assert list(staging(spool, "b").parent.iterdir()) == [staging(spool, "b")]
    assert list(staging(spool, "b").iterdir()) == []


def test_the_next_process_takes_what_is_empty_and_removes_the_rest(spool: Path) -> None:
    for name in ("empty/1/store", "full/1/store", "other/2", "none"):
        (spool / "spare" / name).mkdir(parents=True)
    (spool / "spare" / "full" / "1" / "store" / "told.json").touch()
    spares = Spares(spool / "spare")
    spares.collect()
    assert [path.name for path in (spool / "spare").iterdir()] == ["empty"]
    spares.take(staging(spool, "a"))
    assert list((spool / "spare").iterdir()) == []


def test_drops_one_after_the_other_are_staged_in_one_folder(site: Any) -> None:
    with site.picking_up():
        for number in range(3):
            site.upload(f"{number}.csv", feed="repeats")
            site.ended(number + 1)
    assert len(list((site.settings.spool_dir / "spare").iterdir())) == 1
    assert not [job for job in site.jobs() if (work_dir(site.settings, job.id) / "out").exists()]
