"""One sweep: originals, results, partial uploads and the ledger's old detail, each for as long as `[retention]` says.

The ledger decides about every file, and has the sums of what was removed. After a kill at any point the next sweep
goes on, and nothing that is under way has lost anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from gateway import clock
from gateway.config import Settings
from gateway.ledger import Ledger, retention
from gateway.retention.originals import sweep_originals
from gateway.retention.partials import sweep_partials
from gateway.retention.results import sweep_results
from gateway.retention.swept import Stopping, Swept, never

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Cuts:
    """What is older than this is swept; None: nothing ever is."""

    originals: datetime | None
    results: datetime | None
    partials: datetime | None
    history: datetime | None


def sweep(settings: Settings, ledger: Ledger, now: datetime, stopping: Stopping = never) -> dict[str, Swept]:
    """Remove what `[retention]` does not keep any longer; what that was, by kind. Ends early when it is to stop."""
    cuts = cuts_of(settings, now)
    done: dict[str, Swept] = {}
    if cuts.originals is not None:
        done["originals"] = sweep_originals(settings, ledger, cuts.originals, stopping)
    if cuts.results is not None:
        done["results"] = sweep_results(settings, ledger, cuts.results, stopping)
    if cuts.partials is not None:
        done["uploads"] = sweep_partials(settings, ledger, cuts.partials)
    if cuts.history is not None:
        forgotten = (retention.forget_transitions, retention.forget_uploads, retention.forget_audit)
        rows = sum(forget(ledger, cuts.history) for forget in forgotten)
        done["history"] = Swept(rows, 0)
    for what, swept in done.items():
        if swept.count:
            retention.note_sweep(ledger, what, swept.count, swept.bytes, clock.now())
            log.info("swept", what=what, count=swept.count, bytes=swept.bytes)
    return done


def cuts_of(settings: Settings, now: datetime) -> Cuts:
    kept = settings.gateway.retention
    # A file that was picked up is shown to its sender for a while, and read from the archive.
    grace = timedelta(seconds=settings.gateway.pickup.grace_seconds)

    def cut(age: timedelta) -> datetime | None:
        return now - age if age else None

    archive = timedelta(days=kept.archive_days)
    return Cuts(
        originals=cut(archive and max(archive, grace)),
        results=cut(timedelta(days=kept.outbox_days)),
        partials=cut(timedelta(hours=kept.partial_hours)),
        history=cut(timedelta(days=kept.ledger_days)),
    )
