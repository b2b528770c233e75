"""The paths that clients send, and the folders behind them, opened component by component and never through a link."""

from __future__ import annotations

import os
import posixpath
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EISDIR, ENOENT
from pathlib import Path

from gateway.config import Settings
from gateway.errors import UploadRefused
from gateway.pickup.folder import AREAS, FOLDER, make_dry_run, make_durably, parent_of
from gateway.pickup.names import is_dry_run

NAME_BYTES_MAX = 255
# The kernel takes paths of 4,096 bytes, and the scan must be able to name what is stored: half of that is the client's.
PATH_BYTES_MAX = 2048
FOLDERS_MAX = 16
TOO_DEEP = f"{{}}: folders in a feed may be {FOLDERS_MAX} deep; use fewer"


@dataclass(frozen=True, slots=True)
class Place:
    """What a client's path means: `/`, `/<area>`, `/<area>/<feed>`, or something below that.

    `path` is below the feed's folder with `/` between folders; empty parts stand for "not that deep".
    """

    area: str = ""
    feed: str = ""
    path: str = ""

    def __str__(self) -> str:
        return "/" + "/".join(part for part in (self.area, self.feed, self.path) if part)


def place_of(raw: bytes) -> Place:
    """The place of a client's path; `.` and `..` are resolved by text alone, and `..` never leaves the root.

    Raises UploadRefused for a name that cannot be, FileNotFoundError for an area that there is not.
    """
    path = normal(raw)
    parts = [part for part in path.split("/") if part]
    if not parts:
        return Place()
    if parts[0] not in AREAS:
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), path)
    if len(parts) > 2 + FOLDERS_MAX + 1:
        raise UploadRefused(TOO_DEEP.format(path))
    return Place(parts[0], parts[1] if len(parts) > 1 else "", "/".join(parts[2:]))


def normal(raw: bytes) -> str:
    """The absolute path as text, without `.` and `..`. Raises UploadRefused for a name that cannot be."""
    if len(raw) > PATH_BYTES_MAX:
        raise UploadRefused(f"a path may have {PATH_BYTES_MAX} bytes, this one has {len(raw)}; use a shorter one")
    try:
        path = posixpath.normpath("/" + raw.decode()).replace("//", "/")
    except UnicodeDecodeError:
        raise UploadRefused("the name is not UTF-8; send names in UTF-8") from None
    for part in path.split("/"):
        if len(part.encode()) > NAME_BYTES_MAX:
            raise UploadRefused(f"a name may have {NAME_BYTES_MAX} bytes; use a shorter one")
        if any(unicodedata.category(character) == "Cc" for character in part):
            raise UploadRefused(f"{path!r}: the name has a control character; leave it out")
    return path


def feed_root(settings: Settings, tenant: str, area: str, feed: str) -> Path:
    """The folder of a feed in an area; made, durably, when it is missing."""
    root = settings.tenant_dir(tenant) / area / feed
    make_durably(root)
    return root


def inbox_of(settings: Settings, tenant: str, place: Place) -> Path:
    """The folder of the feed in which a place of the inbox is; the one for dry runs is there whenever it is named."""
    root = feed_root(settings, tenant, "inbox", place.feed)
    if is_dry_run(place.path):
        make_dry_run(root)
    return root


@contextmanager
def folder_of(root: Path, path: str) -> Iterator[int]:
    """The open folder `path` below `root`; `root` itself where `path` is empty. Raises OSError."""
    if not path:
        descriptor = os.open(root, FOLDER)
    else:
        with parent_of(root, path) as (parent, name):
            descriptor = os.open(name, FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def stat_below(root: Path, path: str) -> os.stat_result:
    """The status of a regular file or folder; FileNotFoundError for anything else, links too."""
    if not path:
        with folder_of(root, "") as descriptor:
            return os.fstat(descriptor)
    with parent_of(root, path) as (parent, name):
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not is_shown(found.st_mode):
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), path)
    return found


def open_below(root: Path, path: str) -> int:
    """A regular file below `root`, open for reading. Raises OSError."""
    with parent_of(root, path) as (parent, name):
        # Without NONBLOCK the open of a pipe, which a local program may have put there, would wait for ever.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        code = EISDIR if stat.S_ISDIR(mode) else ENOENT
        raise OSError(code, os.strerror(code), path)
    return descriptor


def list_below(root: Path, path: str) -> dict[str, os.stat_result]:
    """The regular files and folders of a folder, by name."""
    found = {}
    with folder_of(root, path) as descriptor, os.scandir(descriptor) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # It was removed or claimed while the folder was read.
            if is_shown(status.st_mode):
                found[entry.name] = status
    return found


def is_shown(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
