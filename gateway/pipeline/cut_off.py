"""Suspicion: the signs that a text was cut off, and what becomes of a drop that shows one.

A missing final line break is no sign by itself. It is one together with a last record that does not parse.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.contracts import Contract
from gateway.errors import CutOff, UnclosedQuote
from gateway.pipeline.drop import Drop
from gateway.pipeline.header import Header
from gateway.pipeline.json_text import Number
from gateway.pipeline.problems import Problems
from gateway.pipeline.records import RECORD_BYTES_MAX, Records, lacks_line_break
from gateway.pipeline.source import Octets, Source, line_at


def tell(cut: CutOff, drop: Drop, problems: Problems) -> None:
    """Warn of the cut in a drop that is to be processed as far as it is whole; raises it for any other.

    In a drop that is proven to have arrived whole, a short last record speaks for itself.
    """
    if drop.on_cut_off == "proven":
        return
    if drop.on_cut_off != "process":
        raise cut
    problems.add_of_file(cut.code, cut.message, line=cut.line, level="warning")


@contextmanager
def open_quote_is_a_sign(source: Source) -> Iterator[None]:
    """A quote that nothing closes is the sign of a cut where the text ends without a line break."""
    try:
        yield
    except UnclosedQuote as quote:
        if source.cut is None and not lacks_line_break(source.octets):
            raise
        message = f"{quote.message}, and the file ends within it"
        raise CutOff(message, line=quote.line, whole=quote.whole) from quote


def cut_of_line(octets: Octets) -> CutOff | None:
    """The cut of an NDJSON whose last line has no line break and is not JSON."""
    if not lacks_line_break(octets):
        return None
    tail = octets[-RECORD_BYTES_MAX:].tobytes()
    text = tail[max(tail.rfind(b"\n"), tail.rfind(b"\r")) + 1 :]
    why = why_not_json(text)
    if not why:
        return None
    line = line_at(octets, len(octets))
    return CutOff(f"line {line}: the last record is cut off: {why}", line=line)


def why_not_json(text: bytes) -> str:
    """Where a line breaks off. What is no text, blank, or wrong in another way, is not judged here."""
    try:
        line = text.decode()
        if line.strip() and "\0" not in line:
            json.loads(line, parse_int=Number)
    except json.JSONDecodeError as error:
        return f"{error.msg.lower()} at character {error.pos + 1}"
    except (UnicodeDecodeError, RecursionError):
        pass
    return ""


def cut_of_record(source: Source, records: Records, width: int) -> CutOff | None:
    """The cut of a CSV whose last record has no line break and too few of `width` fields; None before that record.

    Raises CutOff for one that has all its fields where more bytes are known to follow: its last value may go on there.
    """
    if len(records) == 0 or records.end[-1] < len(source.octets):
        return None
    line, fields = int(records.line[-1]), int(records.fields[-1])
    if fields < width:
        return CutOff(
            f"line {line}: the last record is cut off: {fields} fields where the header has {width}", line=line
        )
    if source.cut:
        raise CutOff(f"line {line}: the last record is cut off", line=line, whole=int(records.start[-1]))
    return None


def cut_of_header(header: Header, octets: Octets, contract: Contract) -> CutOff | None:
    """The cut of a CSV that is a header without a line break, and whose last name looks like half of one."""
    if not header.raw or header.stop < len(octets) or not lacks_line_break(octets):
        return None
    name, known = header.names[-1], contract.by_name
    ignored = name in header.ignored
    half = name not in known and any(column.startswith(name) for column in known if column not in header.names)
    if not ignored and not half:
        return None
    line = line_at(octets, len(octets))
    return CutOff(f"line {line}: the header is cut off: the contract has no '{name}'", line=line)
