"""Durable files: what is synced together is so at the end, and not if anything went wrong before."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from gateway import durable


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what has been fsynced."""
    found: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        found.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    monkeypatch.setattr(os, "fsync", noted)
    return found


def write(path: Path) -> None:
    with path.open("w") as file:
        file.write(path.name)
        file.flush()
        durable.sync_opened(file.fileno())


def test_a_file_alone_is_durable_at_once(tmp_path: Path, synced: list[str]) -> None:
    write(tmp_path / "a")
    assert synced == ["a"]


def test_files_and_folders_that_are_synced_together_are_durable_when_all_are_written(
    tmp_path: Path, synced: list[str]
) -> None:
    with durable.together():
        for name in ("a", "b"):
            write(tmp_path / name)
        durable.sync_folder(tmp_path)
        assert synced == []
    assert synced == ["a", "b", tmp_path.name]


def test_of_very_many_files_no_more_are_open_than_a_process_may_have(tmp_path: Path, synced: list[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    names = [str(number) for number in range(2 * durable.WAITING_MAX + 1)]
    with durable.together():
        for name in names:
            write(tmp_path / name)
            assert len(os.listdir("/proc/self/fd")) <= before + durable.WAITING_MAX
    assert synced == names


def test_after_an_error_nothing_is_synced_and_no_file_stays_open(tmp_path: Path, synced: list[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with suppress(FileExistsError), durable.together():
        write(tmp_path / "a")
        tmp_path.mkdir()
    assert synced == []
    assert len(os.listdir("/proc/self/fd")) == before
    write(tmp_path / "b")
    assert synced == ["b"], "the next one is not waited with"


def test_an_error_of_the_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"), durable.together():
        write(tmp_path / "a")
