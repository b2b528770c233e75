"""What the clients upload: files whose every row carries a mark, which tells the file and the row that it came from.

The same seed makes the same files, so that nothing of them is kept but their digests.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from dataclasses import dataclass

MARK = re.compile(rb"\bm(\d+x\d+)x(\d+)\b")
FEEDS = {"people": "clevertap-profiles", "events": "userpilot-import"}
SUFFIXES = ("csv", "csv", "csv", "ndjson", "ndjson", "ndjson", "csv.gz", "ndjson.gz")
ROWS = ((3, 60), (3, 60), (3, 60), (3, 60), (60, 800), (60, 800), (60, 800), (5_000, 15_000))
"""Least and most rows: most files are small, some have a few MB."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file. `key` is in the mark of each of its rows; `refused` says that no row of it can be accepted."""

    key: str
    feed: str
    suffix: str
    rows: int
    broken_rows: int
    refused: bool
    bytes: int
    sha256: str

    @property
    def is_large(self) -> bool:
        return self.rows >= ROWS[-1][0]


def make(key: str, seed: str, *, large: bool = False, suffix: str | None = None) -> tuple[Content, bytes]:
    """The file of that key, and its bytes; a `suffix` that is given says what it must be."""
    pick = random.Random(f"{seed} {key}")
    suffix = suffix or pick.choice(SUFFIXES)
    pick = random.Random(f"{seed} {key} {suffix}")
    feed = "people" if suffix.startswith("csv") else "events"
    size = pick.choice(ROWS)
    rows = pick.randint(*(ROWS[-1] if large else size))
    bad_share = pick.choice((0, 0, 0.02, 0.3))
    bad = [pick.random() < bad_share for _ in range(rows)]
    refused = feed == "people" and pick.random() < 0.04
    data = (people if feed == "people" else events)(key, bad, pick)
    if refused:
        data = data.replace(b"identity", b"Identity", 1)
    if suffix.endswith(".gz"):
        data = gzip.compress(data, 1, mtime=0)
    digest = hashlib.sha256(data).hexdigest()
    return Content(key, feed, suffix, rows, sum(bad), refused, len(data), digest), data


def people(key: str, bad: list[bool], pick: random.Random) -> bytes:
    """Profiles; a bad one has letters in its phone number."""
    lines = ["identity,Name,Age,Phone,Plan"]
    for number, is_bad in enumerate(bad):
        phone = "call me" if is_bad else pick.randint(10**8, 10**9)
        # Quoted: a cut inside the last field is seen then, which otherwise looks like a shorter value.
        plan = f'"{pick.getrandbits(256):064x}"'
        lines.append(f"m{key}x{number},Name {pick.randint(0, 9999)},{pick.randint(0, 99)},{phone},{plan}")
    return ("\n".join(lines) + "\n").encode()


def events(key: str, bad: list[bool], pick: random.Random) -> bytes:
    """Tracked events, in no order; a bad one has a negative screen, or is no JSON."""
    lines = []
    for number, is_bad in enumerate(bad):
        day, hour, minute = pick.randint(1, 28), pick.randint(0, 23), pick.randint(0, 59)
        row = {
            "event_type": "track",
            "event_name": pick.choice(("opened", "bought")),
            "source": "backend-http",
            "user_id": f"m{key}x{number}",
            "inserted_at": f"2024-05-{day:02}T{hour:02}:{minute:02}:00",
            "screen_width": -1 if is_bad else pick.randint(300, 3000),
            "metadata": {"note": f"{pick.getrandbits(256):064x}"},
        }
        line = json.dumps(row)
        lines.append(line[:-9] if is_bad and number % 2 else line)
    return ("\n".join(lines) + "\n").encode()


def marks(data: bytes) -> list[tuple[str, int]]:
    """Key and row of every mark in a result file."""
    return [(key.decode(), int(row)) for key, row in MARK.findall(data)]
