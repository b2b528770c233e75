"""Programs on the gateway's own machine fill an inbox: each file is taken when it is finished, and whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.outcomes import Reference, outcomes
from tests.faults.partner import MORE, PEOPLE
from tests.faults.site import Site
from tests.waiting import until

HALF = len(PEOPLE) // 2


@pytest.fixture
def filled(shared_site: Site) -> Site:
    until(shared_site.inbox.is_dir)
    return shared_site


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    path.write_bytes(PEOPLE)
    return path


def pass_over(site: Site, name: str) -> None:
    """Wait until the scan has surely looked at the inbox more than once: another file has come and gone."""
    site.put_locally(name, b"identity,Name\n%s,Name\n" % name.encode())
    until(lambda: [job for job in site.jobs_of(name) if job["status"] == "completed"], site.log)


def jobs_of_size(site: Site, size: int) -> list[dict[str, Any]]:
    return [job for job in site.jobs_of("a.csv") if job["file_size"] == size]


def data(site: Site) -> list[dict[str, bytes]]:
    return [dict(outcome.data) for outcome in outcomes(site).values()]


def expected(undisturbed: Reference) -> list[dict[str, bytes]]:
    return [dict(outcome.data) for outcome in undisturbed("put").values()]


@pytest.mark.parametrize("program", ["cp", "mv"])
def test_a_file_that_a_program_puts_there_is_processed_once(
    filled: Site, source: Path, undisturbed: Reference, program: str
) -> None:
    subprocess.run([program, source, filled.inbox / "a.csv"], check=True)
    (job,) = filled.ended()
    assert data(filled) == expected(undisturbed)
    assert job["generation"] == 1


def test_a_file_that_is_moved_from_another_file_system_is_processed_once(filled: Site, undisturbed: Reference) -> None:
    places = [place for place in (Path("/dev/shm"), Path("/run"), Path.home()) if os.access(place, os.W_OK)]
    device = filled.inbox.stat().st_dev
    elsewhere = next(place for place in places if place.stat().st_dev != device) / f"gateway-test-{os.getpid()}.csv"
    elsewhere.write_bytes(PEOPLE)
    subprocess.run(["mv", elsewhere, filled.inbox / "a.csv"], check=True)
    filled.ended()
    assert data(filled) == expected(undisturbed)


def test_a_copy_that_pauses_is_taken_when_its_writer_is_done(filled: Site, undisturbed: Reference) -> None:
    wanted = expected(undisturbed)
    with (filled.inbox / "a.csv").open("wb") as file:
        file.write(PEOPLE[:HALF])
        file.flush()
        pass_over(filled, "first.csv")
        pass_over(filled, "second.csv")
        assert filled.jobs_of("a.csv") == []
        file.write(PEOPLE[HALF:])
    filled.ended(3)
    assert wanted[0] in data(filled)
    assert len(filled.jobs_of("a.csv")) == 1


def test_an_editor_that_writes_anew_and_renames_makes_one_whole_drop_of_each_save(filled: Site) -> None:
    """`sed -i`, and most editors: a hidden file beside it takes the name."""
    for content in (MORE, PEOPLE):
        (filled.inbox / ".a.csv.swp").write_bytes(content)
        pass_over(filled, f"while-{len(content)}.csv")
        assert jobs_of_size(filled, len(content)) == []
        (filled.inbox / ".a.csv.swp").rename(filled.inbox / "a.csv")
        until(partial(jobs_of_size, filled, len(content)), filled.log)
    filled.ended(4)
    assert [(job["generation"], job["file_size"]) for job in filled.jobs_of("a.csv")] == [
        (1, len(MORE)),
        (2, len(PEOPLE)),
    ]
    assert len(outcomes(filled)) == 4


def test_an_editor_that_keeps_a_backup_leaves_the_last_save(filled: Site, undisturbed: Reference) -> None:
    """As vim with `backup`: the old file is renamed away, the new one written under the name."""
    wanted = expected(undisturbed)
    feed_file, backup = filled.inbox / "a.csv", filled.inbox / "a.csv~"
    with feed_file.open("wb") as file:
        file.write(MORE)
        file.flush()
        feed_file.rename(backup)
        with feed_file.open("wb") as again:
            again.write(PEOPLE)
        file.flush()
        backup.unlink()
    filled.ended()
    assert data(filled) == wanted


def test_a_file_that_is_rewritten_in_place_is_taken_as_it_was_left(filled: Site, undisturbed: Reference) -> None:
    wanted = expected(undisturbed)
    with (filled.inbox / "a.csv").open("w+b") as file:
        file.write(MORE)
        file.flush()
        pass_over(filled, "first.csv")
        file.seek(0)
        file.truncate()
        file.write(PEOPLE)
    filled.ended(2)
    assert wanted[0] in data(filled)
    assert len(filled.jobs_of("a.csv")) == 1


def test_a_whole_folder_that_is_copied_is_processed_file_by_file(filled: Site, tmp_path: Path) -> None:
    folder = tmp_path / "2026"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.csv").write_bytes(b"identity,Name\nuser-%d,Name\n" % number)
    shutil.copytree(folder, filled.inbox / "2026")
    jobs = filled.ended(20)
    assert sorted(job["path"] for job in jobs) == sorted(f"2026/{number}.csv" for number in range(20))
    assert {job["accepted_rows"] for job in jobs} == {1}
