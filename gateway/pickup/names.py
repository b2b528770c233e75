"""File names that clients use while a file is not finished: never picked up (DESIGN.md, invariant 4)."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache

from gateway.config import FeedSettings
from gateway.ledger.states import DRY_RUN_FOLDER

NAME_BYTES_MAX = 210
"""The longest name of a drop: its results and their hidden forms add up to 45 bytes, and a name may have 255."""
TEMPORARY_NAMES = ("*.filepart", "*.partial", "*.part", "*.tmp", ".in.*", ".*")


def is_temporary(name: str, feed: FeedSettings | None = None) -> bool:
    """Whether a path below `inbox/<feed>/` has a temporary name, in its last component or in a folder of it.

    `feed.temporary_names` are patterns as the shell has them (`*.uploading`); a plain `.suffix` means `*.suffix`.
    """
    is_one = temporary(feed.temporary_names if feed else ()).match
    return any(is_one(part) for part in name.lower().split("/"))


@lru_cache(maxsize=256)
def temporary(further: tuple[str, ...]) -> re.Pattern[str]:
    """What matches a temporary name in lower case. A walk asks it of each file that waits."""
    return re.compile("|".join(map(translate, (*TEMPORARY_NAMES, *map(as_pattern, further)))))


def is_dry_run(path: str) -> bool:
    """Whether a path below `inbox/<feed>/` is the folder whose files are tried and not stored, or in it."""
    return path.split("/", 1)[0].lower() == DRY_RUN_FOLDER


def as_pattern(name: str) -> str:
    lower = name.lower()
    return f"*{lower}" if lower.startswith(".") and not set(lower) & set("*?[") else lower
