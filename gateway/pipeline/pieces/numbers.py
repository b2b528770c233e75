"""One number for each good row, in the order of the file, on the disk: 50 million of them are 400 MB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

PART_ROWS = 1 << 20

Number = TypeVar("Number", np.int64, np.uint64)


class Numbers(Generic[Number]):
    """A file of numbers of one type; it is written once, and then read in parts."""

    def __init__(self, path: Path, dtype: type[Number]) -> None:
        self._path = path
        self._dtype: np.dtype[Number] = np.dtype(dtype)
        self._count = 0
        path.touch()

    def __len__(self) -> int:
        return self._count

    def add(self, numbers: NDArray[Number]) -> None:
        with self._path.open("ab") as file:
            file.write(np.ascontiguousarray(numbers, dtype=self._dtype).data)
        self._count += len(numbers)

    def parts(self) -> Iterator[NDArray[Number]]:
        with self._path.open("rb") as file:
            while len(part := np.fromfile(file, dtype=self._dtype, count=PART_ROWS)):
                yield part
