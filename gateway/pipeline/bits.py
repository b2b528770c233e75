"""The structure of a block of CSV as masks of one bit a byte: 64 bytes at once, where offsets would take 8 bytes each.

This is how simdjson finds its strings (Langdale and Lemire, "Parsing Gigabytes of JSON per Second", section 3.1). It
knows sound quotes only: a block in which one stands where RFC 4180 allows none is for `quotes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.pipeline.quotes import CR, LF, QUOTE, Offsets
from gateway.pipeline.source import Octets

Words = NDArray[np.uint64]

ONE, TOP, WORD_BITS = np.uint64(1), np.uint64(63), 6


@dataclass(frozen=True, slots=True)
class Outside:
    """What of a block stands outside of quotes.

    inside: the bytes within quotes, the opening one included. marks: the delimiters that are not. before: how many of
    those stand before each word. is_open: whether the last quote opens and is not closed.
    """

    inside: Words
    marks: Words
    before: Offsets
    is_open: bool

    def holds(self, offsets: Offsets) -> NDArray[np.bool_]:
        """Which of the offsets are outside of quotes."""
        within = self.inside[offsets >> WORD_BITS] >> (offsets & 63).astype(np.uint64) & ONE
        outer: NDArray[np.bool_] = within == 0
        return outer

    def marks_before(self, offsets: Offsets) -> Offsets:
        """How many delimiters outside of quotes stand before each of the offsets."""
        word = offsets >> WORD_BITS
        below = (ONE << (offsets & 63).astype(np.uint64)) - ONE
        count: Offsets = self.before[word] + np.bitwise_count(self.marks[word] & below)
        return count


def outside(block: Octets, delimiter: int) -> Outside | None:
    """None where a quote neither begins nor ends a field, nor is doubled inside one."""
    quotes, delimiters = bits(block == QUOTE), bits(block == delimiter)
    inside = parity(quotes)
    limits = delimiters | bits((block == LF) | (block == CR)) | quotes
    begins = shifted_up(limits)
    begins[0] |= ONE
    ends = shifted_down(limits)
    last = len(block) - 1
    ends[last >> WORD_BITS] |= ONE << np.uint64(last & 63)
    if ((quotes & inside & ~begins) | (quotes & ~inside & ~ends)).any():
        return None
    marks = delimiters & ~inside
    counted = np.cumsum(np.bitwise_count(marks), dtype=np.int64)
    return Outside(inside, marks, np.concatenate([[0], counted[:-1]]), bool(inside[-1] >> TOP))


def bits(mask: NDArray[np.bool_]) -> Words:
    """The mask as words, with at least one bit to spare behind it."""
    words = np.zeros((len(mask) >> WORD_BITS) + 1, dtype="<u8")
    packed = np.packbits(mask, bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def parity(words: Words) -> Words:
    """Each bit: whether the bits up to it, itself included, are odd in number."""
    odd = words.copy()
    for distance in (1, 2, 4, 8, 16, 32):
        odd ^= odd << np.uint64(distance)
    carried = np.bitwise_xor.accumulate(odd >> TOP)
    odd[1:] ^= np.uint64(0) - carried[:-1]
    return odd


def shifted_up(words: Words) -> Words:
    """Each bit: the one before it."""
    shifted = words << ONE
    shifted[1:] |= words[:-1] >> TOP
    return shifted


def shifted_down(words: Words) -> Words:
    """Each bit: the one behind it."""
    shifted = words >> ONE
    shifted[:-1] |= words[1:] << TOP
    return shifted
