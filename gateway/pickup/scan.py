"""The scan: decides which files are finished, and starts a job for each drop that has settled.

It does not trust events. Start-up, a missed event and a live event share this one path.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import structlog

from gateway import clock
from gateway.config import FeedSettings, LiveSettings, Settings
from gateway.ledger import Ledger, drops, jobs
from gateway.ledger.drops import DropRow, Name, WaitingFile
from gateway.pickup.claim import take_file
from gateway.pickup.folder import inbox, parent_of
from gateway.pickup.holding import holding
from gateway.pickup.local import LocalFiles
from gateway.pickup.names import is_temporary

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 5.0
CLAIMS_MAX = 50
"""Drops that are claimed in one transaction: few enough that a landing never waits long for a name."""


class Scan:
    """What stands in the inboxes, compared with the ledger. Used by one thread; `claim_now` by any."""

    def __init__(self, live: LiveSettings, ledger: Ledger) -> None:
        self._live = live
        self._ledger = ledger
        self._local = LocalFiles(ledger)

    def claim_settled(self) -> int:
        """Claim every drop that has settled; how many jobs that made. Looks at no folder."""
        claimed = 0
        while ready := drops.settled(self._ledger, clock.now(), CLAIMS_MAX):
            claimed += self._claim(ready)
        return claimed

    def claim_now(self, drop_id: str) -> None:
        """Claim one drop if it has settled, so that its name is free when this returns."""
        drop = drops.get(self._ledger, drop_id)
        if drop.state in ("landed", "queued") and drop.settles_at <= clock.now():
            self._claim([drop])

    def walk(self) -> datetime | None:
        """Look into every inbox. When to look again because a local file may be finished then; None for no hurry."""
        settings = self._live.current
        self._local.begin_walk(clock.now(), settings.gateway.pickup.settle_seconds)
        for tenant, configured in settings.tenants.items():
            for feed, policy in configured.feeds.items():
                self._walk_feed(settings, tenant, feed, policy)
        return self._local.end_walk()

    def _walk_feed(self, settings: Settings, tenant: str, feed: str, policy: FeedSettings) -> None:
        root = inbox(settings, tenant, feed)
        expected = drops.waiting(self._ledger, tenant, feed)
        for path, found in files_below(root):
            if is_temporary(path, policy):
                continue
            file = expected.pop(path, None)
            if file is not None and (file.inode, file.bytes) == (found.st_ino, found.st_size):
                continue
            if file is not None:
                self._look_again(settings, (tenant, feed, path), file)
            self._local.consider((tenant, feed, path), root, found)
        for path, file in expected.items():
            self._look_again(settings, (tenant, feed, path), file)

    def _look_again(self, settings: Settings, name: Name, file: WaitingFile) -> None:
        """A landing or a claim may have been under way when the walk saw the folder; under the name, none is."""
        with holding(name):
            drop = drops.get(self._ledger, file.drop_id)
            if drop.state == "landed" and drop.name == name:
                give_up_if_missing(settings, self._ledger, drop)

    def _claim(self, ready: list[DropRow]) -> int:
        """One transaction for all: queued, job made, claimed. Then their files are taken."""
        settings = self._live.current
        with holding(*(drop.name for drop in ready)):
            with self._ledger.transaction():
                claimed = [drop for drop in ready if claim_one(settings, self._ledger, drop)]
            for drop in claimed:
                try:
                    take_file(settings, drops.get(self._ledger, drop.id))
                except OSError as error:
                    # It stands in the inbox and is known as claimed; its job takes it when it begins.
                    log.warning("claimed file could not be taken yet", drop=drop.id, error=str(error))
        return len(claimed)


def claim_one(settings: Settings, ledger: Ledger, drop: DropRow) -> bool:
    """Give a settled drop its job, unless it was touched since it was read. The caller holds its name."""
    now = clock.now()
    if drops.get(ledger, drop.id) != drop:
        return False
    if drop.state == "landed":
        try:
            if give_up_if_missing(settings, ledger, drop):
                return False
        except OSError as error:
            # Later, so that it does not keep the drops behind it from their claim.
            log.warning("landed file cannot be looked at yet", drop=drop.id, error=str(error))
            drops.restart_settling(ledger, drop.id, now, LOOK_AGAIN_SECONDS)
            return False
        drops.queue(ledger, drop.id)
        jobs.create(ledger, drop, uploader(settings, drop), now)
    drops.claim(ledger, drop.id, now)
    return True


def give_up_if_missing(settings: Settings, ledger: Ledger, drop: DropRow) -> bool:
    """Whether the file of a landed drop is gone or another; if so, the drop ends."""
    found = look(inbox(settings, drop.tenant, drop.feed), drop.path)
    if found is None:
        drops.vanish(ledger, drop.id, "the file is no longer in the inbox")
    elif (found.st_ino, found.st_size) != (drop.inode, drop.bytes):
        drops.supersede(ledger, drop.id, "a local program put another file in its place")
    else:
        return False
    return True


def uploader(settings: Settings, drop: DropRow) -> str | None:
    """The email of who uploaded (C19), or the username when the account is gone by now."""
    found = settings.user(drop.username) if drop.username else None
    return found[1].email if found else drop.username


def look(root: Path, path: str) -> os.stat_result | None:
    """The regular file at `path` below `root`, no link followed; None when there is none."""
    try:
        with parent_of(root, path) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    return found if stat.S_ISREG(found.st_mode) else None


def files_below(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The regular files below an inbox, with their paths relative to it. Links are not followed."""
    folders = deque([""])
    while folders:
        folder = folders.popleft()
        try:
            with os.scandir(root / folder) as found:
                entries = list(found)
        except (FileNotFoundError, NotADirectoryError):
            continue  # Removed while the walk was under way.
        for entry in entries:
            path = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{path}/")
            elif entry.is_file(follow_symlinks=False) and (status := status_of(entry)):
                yield path, status


def status_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
