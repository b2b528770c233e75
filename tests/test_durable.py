"""A file appears complete or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway import durable


def test_a_file_is_written_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    durable.write(tmp_path / "file", b"one", 0o600)
    durable.write(tmp_path / "file", b"two", 0o640)
    assert (tmp_path / "file").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_is_there_can_be_kept(tmp_path: Path) -> None:
    durable.write(tmp_path / "file", b"one", replace=False)
    with pytest.raises(FileExistsError):
        durable.write(tmp_path / "file", b"two", replace=False)
    assert (tmp_path / "file").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        durable.write(tmp_path / "file", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
