"""The quotes of a CSV: which of them open and close fields as RFC 4180 has it, and which records hold others.

A file of nothing but stray quotes must not take longer than any other: quotes are looked at in windows, and each
window is about as long as what is found in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.pipeline.source import Octets

LF, CR, QUOTE = 10, 13, 34
WINDOW_QUOTES = 64

Offsets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spans:
    """Parts of a text that are set aside, in order and apart from each other: from `begin` up to `until`."""

    begin: Offsets
    until: Offsets

    def hold(self, offsets: Offsets) -> NDArray[np.bool_]:
        """Which of the offsets lie in one."""
        if len(self.begin) == 0:
            return np.zeros(len(offsets), dtype=np.bool_)
        at = np.searchsorted(self.begin, offsets, side="right") - 1
        inside: NDArray[np.bool_] = (at >= 0) & (offsets < self.until[np.maximum(at, 0)])
        return inside


def sound_quotes(quotes: Offsets, block: Octets, delimiter: int, breaks: Offsets) -> tuple[Offsets, Spans]:
    """The quotes that open and close fields as RFC 4180 has it, and the spans of the records whose quotes do not.

    A record with a stray quote is set aside up to the end of the physical line on which the quote that
    misleads stands, so that the rows behind it are read as if it were not there.
    """
    sound: list[Offsets] = []
    begins: list[int] = []
    untils: list[int] = []
    floor = 0
    while len(quotes):
        wrong = first_stray(quotes, block, delimiter)
        if wrong is None:
            sound.append(quotes)
            break
        # A closing quote that is followed by text accuses the quote that opened.
        wrong -= wrong % 2
        before = quotes[:wrong]
        outer = breaks[np.searchsorted(breaks, floor) : np.searchsorted(breaks, quotes[wrong])]
        outer = outer[np.searchsorted(before, outer) % 2 == 0]
        begin = int(outer[-1]) + 1 if len(outer) else floor
        following = int(np.searchsorted(breaks, quotes[wrong]))
        end = int(breaks[following]) if following < len(breaks) else len(block)
        sound.append(before[: np.searchsorted(before, begin)])
        begins.append(begin)
        untils.append(end)
        quotes = quotes[np.searchsorted(quotes, end, side="right") :]
        floor = end + 1
    kept = np.concatenate(sound) if sound else np.empty(0, dtype=np.int64)
    return kept, Spans(np.array(begins, dtype=np.int64), np.array(untils, dtype=np.int64))


def first_stray(quotes: Offsets, block: Octets, delimiter: int) -> int | None:
    """The index of the first quote that neither begins nor ends a field nor is doubled inside one."""
    done, width = 0, WINDOW_QUOTES
    while True:
        # The first two and the last two are only there for the sake of those beside them.
        begin, end = max(done - 2, 0), done + width + 2
        stray = stray_in(quotes[begin:end], block, delimiter, first=begin == 0)
        final = end >= len(quotes)
        if stray is not None and (final or begin + stray < done + width):
            return begin + stray
        if final:
            return None
        done, width = done + width, width * 4


def stray_in(quotes: Offsets, block: Octets, delimiter: int, *, first: bool) -> int | None:
    """As `first_stray`, for a window that begins with an opening quote; `first` where none is before it."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = block[np.maximum(opening - 1, 0)]
    fine = (opening == 0) | (before == delimiter) | (before == LF) | (before == CR)
    fine[1:] |= opening[1:] - 1 == closing[: len(opening) - 1]
    # The first of a later window was found to be fine in the one before.
    fine[0] |= not first
    after = block[np.minimum(closing + 1, len(block) - 1)]
    done = (closing + 1 == len(block)) | (after == delimiter) | (after == LF) | (after == CR)
    paired = min(len(closing), len(opening) - 1)
    done[:paired] |= closing[:paired] + 1 == opening[1 : paired + 1]
    candidates = [2 * int(np.argmin(fine))] if not fine.all() else []
    candidates += [2 * int(np.argmin(done)) + 1] if not done.all() else []
    return min(candidates, default=None)
