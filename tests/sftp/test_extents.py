"""Extents against the plainest model of them: a set of byte numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UploadRefused
from gateway.sftp.extents import EXTENTS_MAX, Extents

RANGE = st.tuples(st.integers(0, 40), st.integers(0, 10))
STEP = st.one_of(RANGE, st.integers(0, 50))


@given(st.lists(STEP), st.integers(0, 20))
def test_extents_know_what_was_written_and_where_the_first_gap_is(
    steps: list[tuple[int, int] | int], base: int
) -> None:
    extents, written = Extents(), set[int]()
    for step in steps:
        if isinstance(step, int):
            extents.cut(step)
            written = {byte for byte in written if byte < step}
        else:
            start, length = step
            extents.add(start, start + length)
            written |= set(range(start, start + length))
    present = written | set(range(base))
    assert extents.prefix(base) == next(byte for byte in range(200) if byte not in present)
    assert extents.start == min(written, default=None)
    assert extents.end == max(written, default=-1) + 1


def test_a_file_in_too_many_pieces_is_refused() -> None:
    extents = Extents()
    for piece in range(EXTENTS_MAX):
        extents.add(piece * 2, piece * 2 + 1)
    with pytest.raises(UploadRefused, match="write it in order"):
        extents.add(EXTENTS_MAX * 2, EXTENTS_MAX * 2 + 1)
    extents.add(1, 2)
    assert extents.prefix() == 3
