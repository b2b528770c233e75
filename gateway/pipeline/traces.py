"""What the bytes of a chunk can hold at all: a quick look that saves slower ones."""

from __future__ import annotations

import numpy as np

SPREADSHEET_ERRORS = ("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!")
# UTF-8 that was read as Latin-1 or Windows-1252 and written as UTF-8 again.
MOJIBAKE = ("Ã", "Â", "â€")
NUL_ESCAPE = "\\u0000"


def traces(text: bytes) -> frozenset[str]:
    """Which kinds of damage a piece of a file can have at all, and whether it has a backslash.

    Most have none, and cost no more than this look.
    """
    # The looks for one byte are far quicker than those for several, and mostly all that is needed.
    found = set()
    if b"#" in text and any(error.encode() in text for error in SPREADSHEET_ERRORS):
        found.add("spreadsheet_error")
    if not text.isascii() and any(mark.encode() in text for mark in MOJIBAKE):
        found.add("mojibake")
    if b"\\" in text:
        found.add("backslash")
        if NUL_ESCAPE.encode() in text:
            found.add("nul_escape")
    return frozenset(found)


def can_hold_escaped(text: bytes, delimiter: str) -> bool:
    """Whether a value of a CSV can hold what JSON escapes: quotes, backslashes and control characters.

    Without quotes the ends of lines and the delimiters are in no value.
    """
    if b'"' in text or b"\\" in text:
        return True
    between = sum(text.count(one) for one in {b"\n", b"\r", delimiter.encode()} if one < b" ")
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) < ord(" "))) > between
