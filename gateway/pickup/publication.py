"""Publication: decided results appear in the outboxes and their jobs end, together with all others that wait for it.

One thread does it, while the slots are at the next jobs. Of a flood of small drops many end in one transaction, and
their outbox is made durable once for all. Can be repeated after a kill at any point.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway import clock
from gateway.config import Settings
from gateway.ledger import Ledger, jobs
from gateway.ledger.columns import FeedColumns
from gateway.ledger.drops import DropRow
from gateway.ledger.jobs import Ending, JobRow
from gateway.pickup import waiting
from gateway.pickup.spares import Spares
from gateway.pipeline.drop import Outcome
from gateway.pipeline.publish import Publication, publish_all

log = structlog.get_logger()

OUR_FAULT = "gateway_failure"
SPACING_SECONDS = 0.05
"""From one publication to the next: of a flood many jobs are published together, and who comes alone need not wait."""
TOGETHER_MAX = 25
"""Jobs that end in one transaction: few enough that no other writer waits long for the ledger."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A job whose outcome is committed and whose results are in the folder `staging`."""

    settings: Settings
    job: JobRow
    drop: DropRow
    outcome: Outcome
    staging: Path

    @property
    def outbox(self) -> Path:
        return self.settings.tenant_dir(self.job.tenant) / "outbox" / self.job.feed

    @property
    def status_path(self) -> Path:
        """What was shown of its drop if it was held."""
        drop = self.drop
        return waiting.status_path_of(self.settings, drop.tenant, drop.feed, drop.path, drop.generation)


class Publisher:
    """The thread that publishes; `on_end` hears of the jobs that it is done with, for better or worse."""

    def __init__(self, ledger: Ledger, spares: Spares, on_end: Callable[[list[JobRow]], None]) -> None:
        self._ledger = ledger
        self._spares = spares
        self._on_end = on_end
        self._waiting: queue.SimpleQueue[Decided | None] = queue.SimpleQueue()
        self._columns = FeedColumns(ledger)
        self._thread = threading.Thread(target=self._publish_on, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self, decided: Decided) -> None:
        """From any thread; returns at once."""
        self._waiting.put(decided)

    def stop(self) -> None:
        """Return when all that was taken is published, or left for the next start."""
        self._waiting.put(None)
        self._thread.join()

    def _publish_on(self) -> None:
        spaced_until = 0.0
        while first := self._waiting.get():
            taken = self._gathered(first, spaced_until)
            self._publish(taken)
            spaced_until = time.monotonic() + SPACING_SECONDS
            self._on_end([decided.job for decided in taken])

    def _gathered(self, first: Decided, until: float) -> list[Decided]:
        """With those that have come too, or come until then."""
        taken = [first]
        while len(taken) < TOGETHER_MAX:
            try:
                another = self._waiting.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                break
            if another is None:
                self._waiting.put(None)
                break
            taken.append(another)
        return taken

    def _publish(self, taken: list[Decided]) -> None:
        try:
            errors = publish_all([Publication(one.outcome, one.staging, one.outbox) for one in taken])
        except Exception:  # Whatever it is, the thread is needed by the jobs that come.
            log.exception("the passage broke off; it is taken up again", jobs=[decided.job.id for decided in taken])
            return
        shown = [one for one, error in zip(taken, errors, strict=True) if error is None]
        if shown:
            self._finish(shown)
        for one, error in zip(taken, errors, strict=True):
            if error is not None:
                self._give_up(one, error)

    def _give_up(self, one: Decided, error: OSError) -> None:
        """One whose results did not appear; one whose results are gone runs again."""
        if not isinstance(error, FileNotFoundError):
            log.error("the passage broke off; it is taken up again", job=one.job.id, error=repr(error))
            return
        # After a kill in the middle, and the partner has removed what was published already: make it anew.
        log.warning("staged results are gone", job=one.job.id, file=error.filename)
        try:
            jobs.try_again(self._ledger, one.job.id, "its staged results were gone", clock.now())
        except Exception:  # Whatever it is, it concerns this job only.
            log.exception("the passage broke off; it is taken up again", job=one.job.id)

    def _finish(self, shown: list[Decided]) -> None:
        """Together, or one by one when there is something wrong with one of them."""
        try:
            finish(self._ledger, shown, self._columns, self._spares)
        except Exception as error:
            self._columns.forget()
            if len(shown) == 1:
                # Whatever it is, it concerns this job only.
                log.exception("the passage broke off; it is taken up again", job=shown[0].job.id)
                return
            log.warning("jobs end one by one", count=len(shown), error=type(error).__name__)
            for decided in shown:
                self._finish([decided])


def finish(ledger: Ledger, shown: Sequence[Decided], columns: FeedColumns, spares: Spares) -> None:
    """What is left of their staging is cleared away, and the jobs end in one transaction.

    In this order: once a job has ended it can be requeued, and the next run stages in the same folder.
    """
    for one in shown:
        waiting.remove(one.status_path)
        spares.give(one.staging)
    with ledger.transaction():
        for one in shown:
            jobs.finish(ledger, one.job.id, ending(one.outcome), clock.now(), drop_end(one.outcome))
            note_columns(columns, one)
    for one in shown:
        tell(one)


def note_columns(columns: FeedColumns, one: Decided) -> None:
    """What a file has that its feed's files had not, or has not any more. One that is only tried tells nothing."""
    job, outcome = one.job, one.outcome
    if outcome.status == "completed" and outcome.columns and not one.drop.dry_run:
        columns.note(job.tenant, job.feed, job.id, outcome.columns, clock.now(), is_header=outcome.has_header)


def tell(one: Decided) -> None:
    job, outcome = one.job, one.outcome
    known = {"job": job.id, "tenant": job.tenant, "feed": job.feed, "file": job.filename}
    if drop_end(outcome) == "quarantined":
        log.error("drop is quarantined", reason="; ".join(outcome.reason_for_failure), **known)
    log.info(
        "job ended",
        status=outcome.status,
        rows=outcome.counts.total,
        rejected=outcome.counts.rejected,
        seconds=round(outcome.elapsed_time, 3),
        **known,
    )


def drop_end(outcome: Outcome) -> jobs.DropEnd:
    """How the drop of a job ends."""
    if OUR_FAULT in outcome.problems_by_code:
        return "quarantined"
    return "duplicate" if outcome.duplicate_of else "done"


def ending(outcome: Outcome) -> Ending:
    """The outcome as the ledger's columns."""
    counts = outcome.counts
    return Ending(
        status=outcome.status,
        start_time=outcome.start_time,
        end_time=outcome.end_time,
        elapsed_time=outcome.elapsed_time,
        contract=outcome.contract,
        contract_sha256=outcome.contract_sha256,
        total_rows=counts.total,
        accepted_rows=counts.accepted,
        merged_rows=counts.merged,
        duplicate_rows=counts.duplicate,
        rejected_rows=counts.rejected,
        withheld_rows=counts.withheld,
        blank_rows=counts.blank,
        problems_by_code=dict(outcome.problems_by_code),
        reason_for_failure=outcome.reason_for_failure,
        duplicate_of=outcome.duplicate_of,
        repairs=outcome.repairs,
    )
