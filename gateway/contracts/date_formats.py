"""The date formats that a header can declare, as data: what they read and write is in times.py."""

from __future__ import annotations

import re
from dataclasses import dataclass

MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"


@dataclass(frozen=True, slots=True)
class DateFormat:
    """A format that a header `name<format>` can declare (C34 to C38); `shape` is a pattern of its date part."""

    name: str
    strptime: str
    shape: str


_DATES = (
    ("dd/MM/yyyy", "%d/%m/%Y", r"[0-9][0-9]/[0-9][0-9]/[0-9]{4}"),
    ("MM/dd/yyyy", "%m/%d/%Y", r"[0-9][0-9]/[0-9][0-9]/[0-9]{4}"),
    ("yyyy/dd/MM", "%Y/%d/%m", r"[0-9]{4}/[0-9][0-9]/[0-9][0-9]"),
    ("yyyy/MM/dd", "%Y/%m/%d", r"[0-9]{4}/[0-9][0-9]/[0-9][0-9]"),
    ("dd MMM yyyy", "%d %b %Y", r"[0-9][0-9] (?:" + MONTHS.replace(" ", "|") + r") [0-9]{4}"),
)
DATE_FORMATS = {f"{name} HH:mm:ss": DateFormat(f"{name} HH:mm:ss", strptime, shape) for name, strptime, shape in _DATES}
# Each format beside the one that reads many of its dates as other days.
TWIN_FORMATS = {
    f"{one} HH:mm:ss": f"{other} HH:mm:ss"
    for pair in (("dd/MM/yyyy", "MM/dd/yyyy"), ("yyyy/dd/MM", "yyyy/MM/dd"))
    for one, other in (pair, pair[::-1])
}
UNIX_NAMES = frozenset({"Unix", "Unix time"})
DATE_HEADER = re.compile(r"^(?P<name>.*?) ?<(?P<format>[^<>]*)>$", re.DOTALL)
