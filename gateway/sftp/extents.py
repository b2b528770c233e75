"""Which bytes of a file have been written: what tells a whole upload from one with gaps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from gateway.errors import UploadRefused

EXTENTS_MAX = 10_000


class Extents:
    """A set of byte ranges, kept merged and in order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Raises UploadRefused when the ranges are too scattered to keep count of."""
        # Nearly every write goes on where the last one ended.
        if self._ends and start == self._ends[-1]:
            self._ends[-1] = end
        elif start < end:
            self._merge(start, end)

    def _merge(self, start: int, end: int) -> None:
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first == last and len(self._starts) >= EXTENTS_MAX:
            raise UploadRefused(
                f"the file is being written in more than {EXTENTS_MAX} separate pieces; write it in order"
            )
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def cut(self, size: int) -> None:
        """Forget what lies at `size` or behind it."""
        keep = bisect_left(self._starts, size)
        del self._starts[keep:], self._ends[keep:]
        if self._ends and self._ends[-1] > size:
            self._ends[-1] = size

    @property
    def start(self) -> int | None:
        """Where the first range begins; None when nothing was written."""
        return self._starts[0] if self._starts else None

    @property
    def end(self) -> int:
        return self._ends[-1] if self._ends else 0

    def prefix(self, base: int = 0) -> int:
        """The length of the gapless run from 0, when the first `base` bytes were there already."""
        reach = base
        for start, end in zip(self._starts, self._ends, strict=True):
            if start > reach:
                break
            reach = max(reach, end)
        return reach
