"""Where each record begins and ends: RFC 4180 framing of CSV and line framing of NDJSON, on arrays of bytes.

Polars pads short rows with nulls and fails the whole file on one bad record. So the framing is decided here, and
polars is only ever given records that are known to be whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from gateway.errors import DropRefused, UnclosedQuote
from gateway.pipeline.bits import outside
from gateway.pipeline.quotes import CR, LF, QUOTE, Offsets, sound_quotes
from gateway.pipeline.source import Octets, check_text

# What is noted of a block should fit into the processor's cache.
BLOCK_BYTES = 256 << 10
RECORD_BYTES_MAX = 16 << 20
# The lines of so few bytes are told apart sooner than arrays are made of the bytes.
PLAIN_BYTES_MAX = 4 << 10


@dataclass(frozen=True, slots=True)
class Records:
    """Records of a text, in order, as arrays of one length.

    start, end, stop (int64): the record is `octets[start:end]`, its line ending `octets[end:stop]`.
    line (int64): the physical line on which it begins, 1-based, the header included.
    fields (int64): how many fields it has; 1 for NDJSON.
    stray (bool): a quote stands where RFC 4180 section 2 allows none.
    """

    start: Offsets
    end: Offsets
    stop: Offsets
    line: Offsets
    fields: Offsets
    stray: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.start)

    def where(self, mask: NDArray[np.bool_] | slice) -> Records:
        """The records that the mask or slice selects."""
        return Records(*(getattr(self, name)[mask] for name in self.__slots__))

    @staticmethod
    def joined(parts: list[Records]) -> Records:
        if len(parts) == 1:
            return parts[0]
        return Records(*(np.concatenate([getattr(part, name) for part in parts]) for name in Records.__slots__))


def framed(octets: Octets, delimiter: int | None, chunk_bytes: int) -> Iterator[Records]:
    """All records of a text, blank ones too, in chunks of about `chunk_bytes`.

    `delimiter` is the byte between fields of a CSV; None frames plain lines.
    Raises DropRefused for a NUL byte and for bytes that are not UTF-8, UnclosedQuote for a quote that nothing closes.
    """
    parts: list[Records] = []
    size = 0
    for records in blocks(octets, delimiter):
        parts.append(records)
        size += int(records.stop[-1] - records.start[0])
        if size >= chunk_bytes:
            yield Records.joined(parts)
            parts, size = [], 0
    if parts:
        yield Records.joined(parts)


def blocks(octets: Octets, delimiter: int | None) -> Iterator[Records]:
    """The records of a text, in blocks of about BLOCK_BYTES that end where a record ends."""
    if 0 < len(octets) <= PLAIN_BYTES_MAX and (plain := plain_records(octets.tobytes(), delimiter)):
        check_text(octets, 0, 1)
        yield plain
        return
    at, line, width = 0, 1, BLOCK_BYTES
    while at < len(octets):
        stop = min(at + width, len(octets))
        final = stop == len(octets)
        # A CR at the end of a block may be half of a CRLF.
        block = octets[at : stop - 1] if not final and octets[stop - 1] == CR else octets[at:stop]
        records, breaks = frame(block, delimiter, final, at, line)
        if len(records) == 0:
            if width > RECORD_BYTES_MAX:
                refuse_endless(line, quoted=delimiter is not None and len(breaks) > 0)
            width *= 2
            continue
        done = int(records.stop[-1])
        check_text(block[:done], at, line)
        yield Records(
            records.start + at, records.end + at, records.stop + at, records.line, records.fields, records.stray
        )
        line += int(np.searchsorted(breaks, done))
        at, width = at + done, BLOCK_BYTES


def plain_records(text: bytes, delimiter: int | None) -> Records | None:
    """All records of a short text in which each line is one; None where a quote or a lone CR may have it otherwise."""
    if (delimiter is not None and b'"' in text) or text.count(b"\r") > text.count(b"\r\n"):
        return None
    lines = text.splitlines(keepends=True)
    stop = list(accumulate(map(len, lines)))
    content = [len(one.rstrip(b"\r\n")) for one in lines]
    start = [0, *stop[:-1]]
    end = [begin + length for begin, length in zip(start, content, strict=True)]
    fields = [1 if delimiter is None else 1 + one.count(delimiter) for one in lines]
    line = range(1, len(lines) + 1)
    stray = np.zeros(len(lines), dtype=np.bool_)
    return Records(offsets(start), offsets(end), offsets(stop), offsets(line), offsets(fields), stray)


def offsets(numbers: Sequence[int]) -> Offsets:
    return np.array(numbers, dtype=np.int64)


def frame(block: Octets, delimiter: int | None, final: bool, at: int, line: int) -> tuple[Records, Offsets]:
    """The whole records of one block, and the offsets of all its physical line breaks.

    `block` begins where a record begins, at the offset `at` and on `line`; what follows its last whole record is left
    for the next block.
    """
    breaks = line_breaks_in(block)
    if delimiter is None:
        stop = stops_of(breaks, block, final)
        fields = np.ones(len(stop), dtype=np.int64)
        return records_of(block, stop, breaks, line, fields, np.zeros(len(stop), dtype=np.bool_)), breaks
    found = outside(block, delimiter)
    if found is None or (final and found.is_open):
        return frame_with_strays(block, delimiter, final, at, line, breaks), breaks
    stop = stops_of(breaks[found.holds(breaks)], block, final)
    fields = 1 + np.diff(found.marks_before(stop), prepend=0)
    return records_of(block, stop, breaks, line, fields, np.zeros(len(stop), dtype=np.bool_)), breaks


def frame_with_strays(block: Octets, delimiter: int, final: bool, at: int, line: int, breaks: Offsets) -> Records:
    """As `frame`, for a block of CSV with a quote that stands where it should not, or that nothing closes."""
    all_quotes, marks = quotes_and_marks(block, delimiter)
    quotes, spans = sound_quotes(all_quotes, block, delimiter, breaks)
    if len(spans.begin):
        marks = np.flatnonzero(block == delimiter)
        marks = marks[np.searchsorted(quotes, marks) % 2 == 0]
    # A line break belongs to a value while a quote is open, and to the record in a span that is set aside.
    outer = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
    outer = outer[~spans.hold(outer)]
    stop = outer + 1
    if final and (len(stop) == 0 or stop[-1] < len(block)) and len(quotes) % 2:
        opened = line + int(np.searchsorted(breaks, quotes[-1]))
        whole = at + (int(stop[-1]) if len(stop) else 0)
        raise UnclosedQuote(f"line {opened}: a quote is opened and never closed", line=opened, whole=whole)
    stop = stops_of(outer, block, final)
    start = starts_of(stop)
    fields = 1 + np.searchsorted(marks, stop) - np.searchsorted(marks, start)
    return records_of(block, stop, breaks, line, fields, np.isin(start, spans.begin))


def stops_of(outer: Offsets, block: Octets, final: bool) -> Offsets:
    """Where records stop that end in these line breaks; the last one of a text needs none."""
    stop: Offsets = outer + 1
    return np.append(stop, len(block)) if final and (len(stop) == 0 or stop[-1] < len(block)) else stop


def starts_of(stop: Offsets) -> Offsets:
    return np.concatenate([[0], stop[:-1]]).astype(np.int64)[: len(stop)]


def records_of(
    block: Octets, stop: Offsets, breaks: Offsets, line: int, fields: Offsets, stray: NDArray[np.bool_]
) -> Records:
    start = starts_of(stop)
    lines = line + np.searchsorted(breaks, start)
    return Records(start, content_ends(block, start, stop), stop, lines, fields, stray)


def quotes_and_marks(block: Octets, delimiter: int) -> tuple[Offsets, Offsets]:
    """The offsets of all quotes, and of the delimiters outside of quotes where every quote counts."""
    found = np.flatnonzero((block == QUOTE) | (block == delimiter))
    is_quote = block[found] == QUOTE
    inside = np.logical_xor.accumulate(is_quote)
    return found[is_quote], found[~(is_quote | inside)]


def line_breaks_in(block: Octets) -> Offsets:
    r"""The offset of the last byte of each line ending: `\n`, `\r\n` or a lone `\r`."""
    feeds = np.flatnonzero(block == LF)
    returns = np.flatnonzero(block == CR)
    if len(returns) == 0:
        return feeds
    lone = returns[(returns + 1 == len(block)) | (block[np.minimum(returns + 1, len(block) - 1)] != LF)]
    return np.sort(np.concatenate([feeds, lone])) if len(lone) else feeds


def lacks_line_break(octets: Octets) -> bool:
    """True where the last line of a text has no line ending."""
    return len(octets) > 0 and octets[-1] not in (LF, CR)


def content_ends(block: Octets, start: Offsets, stop: Offsets) -> Offsets:
    """Where each record ends without its line ending."""
    last = block[stop - 1]
    end = np.where((last == LF) | (last == CR), stop - 1, stop)
    crlf = (last == LF) & (end > start) & (block[np.maximum(end - 1, 0)] == CR)
    content: Offsets = end - crlf
    return content


def refuse_endless(line: int, *, quoted: bool) -> None:
    what = "the quoted value" if quoted else "the line"
    code = "unterminated_quote" if quoted else "record_too_long"
    raise DropRefused(
        code,
        f"line {line}: {what} that begins in this record does not end within {RECORD_BYTES_MAX:,} bytes",
        line=line,
    )
