"""Files that local programs put into an inbox: finished when they rest over two scans and nobody writes to them."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway.config import FeedSettings
from gateway.ledger import Ledger, drops, landings
from gateway.ledger.drops import Name
from gateway.ledger.landings import Landing
from gateway.pickup.folder import parent_of
from gateway.pickup.holding import holding
from gateway.pickup.names import NAME_BYTES_MAX
from gateway.pickup.proofs import kind_of
from gateway.pickup.settled import look

log = structlog.get_logger()

F_SETSIG = 10
BETWEEN_SCANS_SECONDS_MIN = 0.05
LANDINGS_MAX = 25
"""Files that land in one transaction: few enough that nobody waits long for one of their names."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a file was when it was first seen like this. mtime is left out, as it lies."""

    inode: int
    bytes: int
    ctime_ns: int
    since: datetime

    def shows(self, found: os.stat_result) -> bool:
        return (self.inode, self.bytes, self.ctime_ns) == (found.st_ino, found.st_size, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Finished:
    """A file that nobody writes to any more."""

    name: Name
    policy: FeedSettings
    root: Path
    sight: Sight


class LocalFiles:
    """The files without a drop that the last walk saw; a walk calls begin_walk, consider…, end_walk.

    `on_many` is called while the walk goes on, whenever LANDINGS_MAX have landed.
    """

    def __init__(self, ledger: Ledger, on_many: Callable[[], None]) -> None:
        self._ledger = ledger
        self._on_many = on_many
        self.landing_seconds = 0.0
        """What the landings of this walk took, and `on_many`."""
        self._seen: dict[Name, Sight] = {}
        self._before: dict[Name, Sight] = {}
        self._finished: list[Finished] = []
        self._complained: set[Name] = set()

    def begin_walk(self, now: datetime, settle_seconds: float) -> None:
        self._now = now
        self._rest = timedelta(seconds=max(settle_seconds, BETWEEN_SCANS_SECONDS_MIN))
        self._before, self._seen, self._finished = self._seen, {}, []
        self.landing_seconds = 0.0

    def consider(self, name: Name, policy: FeedSettings, root: Path, found: os.stat_result) -> None:
        """A file of which the ledger knows no drop: one more look at it, and it lands when it is finished."""
        if not is_text(name[2]):
            self._complain(name, "its name is not UTF-8")
            return
        if len(name[2].rsplit("/", 1)[-1].encode()) > NAME_BYTES_MAX:
            self._complain(name, f"its name has more than {NAME_BYTES_MAX} bytes")
            return
        sight = self._before.get(name)
        # One of the future is from before the clock was set back.
        if sight is None or not sight.shows(found) or sight.since > self._now:
            sight = Sight(found.st_ino, found.st_size, found.st_ctime_ns, self._now)
        if self._now - sight.since < self._rest or not self._is_at_rest(name, root):
            self._seen[name] = sight
            return
        self._finished.append(Finished(name, policy, root, sight))
        if len(self._finished) >= LANDINGS_MAX:
            began = time.monotonic()
            self._land_finished()
            self._on_many()
            self.landing_seconds += time.monotonic() - began

    def end_walk(self) -> datetime | None:
        """When the next of the files that were seen may be finished."""
        self._land_finished()
        return min((max(sight.since, self._now) + self._rest for sight in self._seen.values()), default=None)

    def _is_at_rest(self, name: Name, root: Path) -> bool:
        try:
            return nobody_writes(root, name[2])
        except FileNotFoundError:
            return False
        except OSError as error:
            self._complain(name, str(error))
            return False

    def _complain(self, name: Name, reason: str) -> None:
        """Once for each name: it stands there until somebody acts."""
        if name not in self._complained:
            self._complained.add(name)
            log.warning("local file is not picked up", tenant=name[0], feed=name[1], path=ascii(name[2]), reason=reason)

    def _land_finished(self) -> None:
        finished, self._finished = self._finished, []
        if finished:
            with holding(*(file.name for file in finished)), self._ledger.transaction():
                for file in finished:
                    # The walk saw it a while ago, and it may have been moved away since.
                    found = look(file.root, file.name[2])
                    if found is not None and file.sight.shows(found):
                        self._land(file.name, file.policy, file.sight)

    def _land(self, name: Name, policy: FeedSettings, sight: Sight) -> None:
        before = drops.newest(self._ledger, *name)
        if (
            before is not None
            and before.inode == sight.inode
            and (before.in_inbox or before.state in ("claimed", "held") or before.leaving)
        ):
            return  # It landed over SFTP, or is being taken out, while the walk looked.
        tenant, feed, path = name
        landing = Landing(
            *(tenant, feed, path, sight.bytes, sight.inode),
            landed_at=sight.since,
            settles_at=self._now,
            kind=kind_of(path, policy),
        )
        landings.record_behind(self._ledger, before, landing, supersedes=policy.on_overwrite == "replace")


def is_text(path: str) -> bool:
    """Whether the path is valid Unicode; a file name may be any bytes, the ledger holds text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def nobody_writes(root: Path, path: str) -> bool:
    """Whether a read lease is granted: it is not while any process has the file open for writing.

    Where leases are not to be had (NFS, another owner), resting over two scans must do. Raises OSError when the
    file cannot be opened.
    """
    with parent_of(root, path) as (folder, name):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        # A writer that opens the file now breaks the lease with a signal; SIGIO, the default, would end the process.
        fcntl.fcntl(descriptor, F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EBUSY)
    finally:
        os.close(descriptor)
    return True
