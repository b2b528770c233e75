"""New names of a client: what would mislead a person, or collide with names of our own, is refused."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from gateway.config import FeedSettings
from gateway.errors import UploadRefused
from gateway.pickup.names import NAME_BYTES_MAX, is_temporary
from gateway.sftp.paths import FOLDERS_MAX, TOO_DEEP, Place, folder_of

# What results are called; `*.rejected.*` may be dropped, as it comes back mended.
RESERVED = re.compile(r".+\.(report\.json|report\.html|status\.json|errors\.csv|accepted\.(csv|ndjson|parquet))")
# They turn the direction of the text round, or cannot be seen: `exe.csv` can look like `vsc.exe`.
MISLEADING = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def refuse_bad_name(place: Place, policy: FeedSettings) -> None:
    """Raises UploadRefused for a name that no new file or folder may have."""
    name = place.path.rsplit("/", 1)[-1]
    if found := MISLEADING.search(name):
        raise UploadRefused(f"{place}: the name has the invisible character U+{ord(found[0]):04X}; leave it out")
    if name != name.strip():
        raise UploadRefused(f"{place}: the name begins or ends with a space; leave it out")
    if RESERVED.fullmatch(twin_form(name)):
        raise UploadRefused(f"{place}: the gateway's own results are called like this; give the file another name")
    if len(name.encode()) > NAME_BYTES_MAX and not is_temporary(name, policy):
        raise UploadRefused(
            f"{place}: the name has {len(name.encode())} bytes; {NAME_BYTES_MAX} are left for it beside what "
            "results add to it; use a shorter one"
        )


def refuse_too_deep(folder: Place) -> None:
    """Raises UploadRefused for a folder that would have no room for a file."""
    if folder.path.count("/") >= FOLDERS_MAX:
        raise UploadRefused(TOO_DEEP.format(folder))


def refuse_twin(root: Path, place: Place, under_way: Iterable[str], old: Place | None = None) -> None:
    """Raises UploadRefused when a name in the folder differs in case or in Unicode's normal form only.

    `under_way` are paths in the feed that are not in the folder itself yet, `old` is the one that is about to go.
    """
    path, _, name = place.path.rpartition("/")
    with folder_of(root, path) as folder:
        standing = os.listdir(folder)
    others = {
        *standing,
        *(last for parent, _, last in (other.rpartition("/") for other in under_way) if parent == path),
    }
    if old is not None and (old.feed, old.path.rpartition("/")[0]) == (place.feed, path):
        others.discard(old.path.rpartition("/")[2])
    for other in sorted(others - {name}):
        if twin_form(other) == twin_form(name):
            raise UploadRefused(
                f"{place}: '{other}' is there already and differs in case or in the form of its letters only; "
                "use that name, or another one"
            )


def twin_form(name: str) -> str:
    """What two names have in common that a person, or another system, takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())
