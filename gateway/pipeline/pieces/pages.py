"""The pages of the file that a job reads: those behind it count as its memory until it lets them go."""

from __future__ import annotations

import mmap

import numpy as np

from gateway.pipeline.source import Octets


def let_go(octets: Octets, stop: int) -> None:
    """Give back the pages before `stop`. Who looks at them again gets them from the file."""
    base: object = octets
    while isinstance(base, np.ndarray):
        base = base.base
    length = stop - stop % mmap.PAGESIZE
    if isinstance(base, mmap.mmap) and length:
        base.madvise(mmap.MADV_DONTNEED, 0, length)
