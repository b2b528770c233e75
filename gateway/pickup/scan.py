"""The scan: decides which files are finished, and starts a job for each drop that has settled.

It does not trust events. Start-up, a missed event and a live event share this one path.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway import clock
from gateway.config import FeedSettings, LiveSettings, Settings
from gateway.ledger import Ledger, drops, holds
from gateway.ledger.drops import DropRow, Name, WaitingFile
from gateway.pickup.claim import take_file, take_leaving
from gateway.pickup.folder import inbox
from gateway.pickup.holding import holding
from gateway.pickup.local import LocalFiles
from gateway.pickup.names import is_temporary
from gateway.pickup.proofs import names_with_proof
from gateway.pickup.settled import LOOK_AGAIN_SECONDS, Taken, give_up_if_missing, policy_of, settle

log = structlog.get_logger()

CLAIMS_MAX = 25
"""Drops that are claimed in one transaction: few enough that a landing never waits long for a name."""
CLAIMING_SECONDS = 0.5
CLOCK_STEP_SECONDS = 60.0
"""A clock that is set back by less makes drops settle so much later, and is not worth a thought."""


class Scan:
    """What stands in the inboxes, compared with the ledger. Used by one thread; `claim_now` by any.

    `on_claim` hears of jobs that were made while a walk goes on.
    """

    def __init__(self, live: LiveSettings, ledger: Ledger, on_claim: Callable[[], None] = lambda: None) -> None:
        self._live = live
        self._ledger = ledger
        self._on_claim = on_claim
        self._local = LocalFiles(ledger, self._claim_some)

    def claim_settled(self) -> int:
        """Claim or hold the drops that have settled; how many jobs that made. Looks at no folder.

        After a while it returns although there are more: a flood must not keep the scan from what else it does.
        """
        claimed = 0
        ends = time.monotonic() + CLAIMING_SECONDS
        while ready := drops.settled(self._ledger, clock.now(), self._latest(), CLAIMS_MAX):
            claimed += self._settle(ready)
            if time.monotonic() > ends:
                break
        return claimed

    def _claim_some(self) -> None:
        """Of a flood of local files the first are claimed while the last are not seen yet: workers wait for them."""
        ready = drops.settled(self._ledger, clock.now(), self._latest(), CLAIMS_MAX)
        if ready and self._settle(ready):
            self._on_claim()

    @property
    def landing_seconds(self) -> float:
        """What of the last walk went into a flood of local files: not into looking, which is done again each time."""
        return self._local.landing_seconds

    def claim_now(self, drop_id: str) -> None:
        """Claim one drop if it has settled, so that its name is free when this returns."""
        drop = drops.get(self._ledger, drop_id)
        if drop.state in drops.UNSETTLED and not clock.now() < drop.settles_at <= self._latest():
            self._settle([drop])

    def _latest(self) -> datetime:
        """No drop settles later than this, unless it is from before the clock was set back."""
        seconds = max(self._live.current.gateway.pickup.settle_seconds, LOOK_AGAIN_SECONDS)
        return clock.now() + timedelta(seconds=seconds + CLOCK_STEP_SECONDS)

    def end_holds(self) -> None:
        """Refuse, process or give up what was held for as long as its feed allows."""
        settings = self._live.current
        for drop in holds.overdue(self._ledger, clock.now()):
            with holding(drop.name), self._ledger.transaction():
                if drops.get(self._ledger, drop.id) == drop:
                    end_hold(self._ledger, drop, policy_of(settings, drop))

    def empty_names(self) -> None:
        """Take the files of drops that have ended out of the inbox, where a kill or an operator has left them."""
        for drop in drops.leaving(self._ledger):
            with holding(drop.name):
                self._take(take_leaving, drops.get(self._ledger, drop.id))

    def walk(self) -> datetime | None:
        """Look into every inbox. When to look again because a local file may be finished then; None for no hurry."""
        settings = self._live.current
        self._local.begin_walk(clock.now(), settings.gateway.pickup.settle_seconds)
        try:
            for tenant, configured in settings.tenants.items():
                for feed, policy in configured.feeds.items():
                    self._walk_feed(settings, tenant, feed, policy)
        finally:
            # What has been found finished lands, also where a folder of another feed cannot be read.
            again = self._local.end_walk()
        return again

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
            self._local.consider((tenant, feed, path), policy, root, found)
        for path, file in expected.items():
            self._look_again(settings, (tenant, feed, path), file)

    def _look_again(self, settings: Settings, name: Name, file: WaitingFile) -> None:
        """A landing or a claim may have been under way when the walk saw the folder; under the name, none is."""
        with holding(name):
            drop = drops.get(self._ledger, file.drop_id)
            if drop.state in (*drops.UNSETTLED, "held") and drop.in_inbox and drop.name == name:
                give_up_if_missing(settings, self._ledger, drop)

    def _settle(self, ready: list[DropRow]) -> int:
        """One transaction for all; then the files of those that were claimed are taken."""
        settings, taken = self._live.current, Taken()
        with holding(*(name for drop in ready for name in names_with_proof(drop))):
            with self._ledger.transaction():
                for drop in ready:
                    settle(settings, self._ledger, drop, taken)
            for drop in taken.claimed:
                self._take(take_claimed, drop)
            for drop_id in taken.proofs:
                self._take(take_leaving, drops.get(self._ledger, drop_id))
        return len(taken.claimed)

    def _take(self, take: Callable[[Settings, Ledger, DropRow], None], drop: DropRow) -> None:
        try:
            take(self._live.current, self._ledger, drop)
        except OSError as error:
            # It stands in the inbox, and the ledger knows that: its job, or the next scan, takes it.
            log.warning("file could not be taken out of the inbox yet", drop=drop.id, error=str(error))


def take_claimed(settings: Settings, ledger: Ledger, drop: DropRow) -> None:
    take_file(settings, drop)


def end_hold(ledger: Ledger, drop: DropRow, policy: FeedSettings | None) -> None:
    """The time of a hold is over."""
    now = clock.now()
    if drop.held_for == "profiles":
        return  # Its results are staged: who publishes them ends the hold.
    if drop.held_for == "file":
        holds.withdraw(ledger, drop, "the file that it is for did not come in time", "archive", now)
    elif drop.held_for == "suspect":
        holds.decide(ledger, drop, policy.on_suspect if policy else "refuse", "nobody released it in time", now)
    else:
        holds.decide(ledger, drop, "refuse", "nothing showed in time that it is whole", now)


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
        except OSError as error:  # Too deep, or not ours to read: the others must not wait for it.
            log.warning("folder is left out of the walk", error=error.strerror)
            continue
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
