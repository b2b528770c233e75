"""Originals: the archived files of drops that have ended, each in its folder below `spool/work/`."""

from __future__ import annotations

import os
from datetime import datetime

from gateway import clock
from gateway.config import Settings
from gateway.ledger import Ledger, retention
from gateway.pickup.claim import archived_path, work_dir
from gateway.retention.swept import Stopping, Swept, never

PORTION = 100


def sweep_originals(settings: Settings, ledger: Ledger, before: datetime, stopping: Stopping = never) -> Swept:
    """Remove the files of drops that ended before that time.

    The ledger says first that a file goes, and only then it goes: a job is requeued or its file removed, never both.
    """
    swept = Swept()
    while not stopping() and (found := retention.archived(ledger, before, PORTION)):
        with ledger.transaction():
            purged = [drop for drop in found if retention.purge(ledger, drop, clock.now())]
        for drop in purged:
            swept.remove_folder(archived_path(settings, drop).parent)
    return swept


def finish_purges(settings: Settings, ledger: Ledger) -> Swept:
    """At start: remove the files that a killed sweep had only said it would remove."""
    swept = Swept()
    with os.scandir(settings.spool_dir / "work") as found:
        names = [entry.name for entry in found]
    for name in names:
        if retention.is_purged(ledger, name):
            swept.remove_folder(work_dir(settings, name))
    return swept
