"""The passage of one job: take the bytes, run the pipeline, commit its outcome; then it is published and ends.

Every step can be repeated: after a kill at any point the job starts over, or publishes what is already staged.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway import clock
from gateway.config import FeedSettings, Settings
from gateway.engine import LASTS, Engine, EngineStopped, PipelineCrashed
from gateway.errors import DropRefused, WorkerDied
from gateway.ledger import Ledger, commits, drops, holds, jobs
from gateway.ledger.drops import DropRow
from gateway.ledger.jobs import JobRow
from gateway.pickup import waiting
from gateway.pickup.claim import original_path, take_file, work_dir
from gateway.pickup.describe import describe, digest
from gateway.pickup.holding import holding
from gateway.pickup.publication import OUR_FAULT, Decided
from gateway.pickup.sequence import goes_before, hold_behind
from gateway.pickup.spares import Spares
from gateway.pipeline.drop import Drop, Outcome, Suspect

log = structlog.get_logger()

OUR_FAULT_HINT = (
    "This is on our side; nothing is wrong with your file as far as we know. We run it again once it is mended."
)


@dataclass(slots=True)
class Unwritten:
    """What is known of a job and not in the ledger yet: of one of a few moments it is written with the outcome."""

    sha256: str = ""
    processing: datetime | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """One begun job on its way. `settings` are those of the moment it began."""

    settings: Settings
    ledger: Ledger
    engine: Engine
    spares: Spares
    job: JobRow
    patient: bool = False
    """Whether it is for the worker that gets what the others leave."""
    on_judged: Callable[[bool], None] = lambda refused: None
    """Hears that its worker is free, and whether the file was refused."""
    unwritten: Unwritten = field(default_factory=Unwritten)

    def run(self) -> Decided | None:
        """From validating to what can be published now; None when it must wait, or went back to the queue."""
        drop_row = drops.get(self.ledger, self.job.drop_id)
        if self.job.status == "pending_refresh":
            return self.in_order(drop_row, Outcome.from_json(str(self.job.outcome)))
        with holding(drop_row.name):
            here = take_file(self.settings, drop_row)
        sha256 = digest(original_path(self.settings, self.job.id)) if here else ""
        self.unwritten.sha256 = sha256
        # Of two drops with the same bytes the second must see how the first ended.
        with holding(("same bytes", drop_row.tenant, drop_row.feed, sha256)):
            described = describe(self.settings, self.ledger, self.job, drop_row, sha256)
            failure = described.failure if here else "the file was removed or changed before it could be read"
            outcome = self.process(described.drop, failure, refusal(drop_row, sha256))
            if isinstance(outcome, Suspect):
                self.hold(drop_row, outcome, described.drop.policy)
                return None
            if outcome is not None:
                self.commit(outcome)
        return self.in_order(drop_row, outcome) if outcome is not None else None

    def process(self, drop: Drop, failure: str | None, refused: DropRefused | None) -> Outcome | Suspect | None:
        """The outcome; None when the job went back to the queue."""
        staging = self.empty_staging()
        if failure:
            return self.fail(drop, staging, failure)
        if refused is not None:
            return refuse(drop, staging, refused)
        if self.job.tries > self.settings.gateway.pickup.tries_max:
            return self.fail(drop, staging, f"the gateway was ended {self.job.tries - 1} times while it read the file")
        try:
            outcome = self.engine.run(drop, staging, self.note_progress, patient=self.patient)
            self.on_judged(isinstance(outcome, Outcome) and outcome.status == "failed")
            return outcome
        except EngineStopped:
            jobs.return_to_queue(self.ledger, self.job.id, "the gateway stops", clock.now())
        except DropRefused as over:
            # It would take as much the next time: it is not tried again.
            log.warning("job took too much", job=self.job.id, tenant=drop.tenant, feed=drop.feed, reason=over.message)
            return refuse(drop, self.empty_staging(), over)
        except (WorkerDied, PipelineCrashed) as error:
            log.error("job was cut short", job=self.job.id, tries=self.job.tries, error=str(error))
            if self.job.tries >= self.settings.gateway.pickup.tries_max:
                return self.fail(drop, self.empty_staging(), f"processing was cut short {self.job.tries} times")
            # On a full disk the ledger needs the space that the try has taken.
            shutil.rmtree(self.staging, ignore_errors=True)
            jobs.try_again(self.ledger, self.job.id, str(error), clock.now(), self.pause())
        return None

    def pause(self) -> timedelta:
        """What was in the way, a full disk for example, may be gone by then."""
        return timedelta(seconds=self.settings.gateway.pickup.retry_seconds * self.job.tries)

    def hold(self, row: DropRow, suspect: Suspect, policy: FeedSettings) -> None:
        """Not yet: it looks cut off, and the partner may still send the rest."""
        now = clock.now()
        until = now + timedelta(hours=policy.suspect_hours)
        with self.ledger.transaction():
            self.write_progress()
            holds.hold_suspect(self.ledger, row, suspect.message, until, now)
        log.warning("drop is held: it looks cut off", drop=row.id, tenant=row.tenant, feed=row.feed, file=row.path)

    def fail(self, drop: Drop, staging: Path, message: str) -> Outcome:
        """The outcome of a job that the gateway itself could not do: with a report that says so."""
        log.error("job failed on our side", job=self.job.id, tenant=drop.tenant, feed=drop.feed, reason=message)
        return refuse(drop, staging, DropRefused(OUR_FAULT, message, hint=OUR_FAULT_HINT))

    def note_progress(self, word: str) -> None:
        if word == "processing":
            self.unwritten.processing = clock.now()
        elif word == LASTS and self.unwritten != Unwritten():
            self.write_progress()

    def write_progress(self) -> None:
        with self.ledger.transaction():
            if self.unwritten.sha256:
                drops.set_sha256(self.ledger, self.job.drop_id, self.unwritten.sha256)
            if self.unwritten.processing:
                jobs.begin_processing(self.ledger, self.job.id, self.unwritten.processing)
        self.unwritten.sha256, self.unwritten.processing = "", None

    def commit(self, outcome: Outcome) -> None:
        """From here on the results are decided, and only their publication is left."""
        if self.job.outcome is not None:
            retract(Outcome.from_json(self.job.outcome), self.outbox)
        with self.ledger.transaction():
            self.write_progress()
            jobs.stage(self.ledger, self.job.id, outcome.to_json(), clock.now())

    def in_order(self, drop: DropRow, outcome: Outcome) -> Decided | None:
        """For publication, unless profiles go before these events and nobody has released them from that.

        A dry run waits for nobody.
        """
        released = drop.held_for == "profiles" and drop.decided is not None
        waits = outcome.counts.accepted and not drop.dry_run
        if waits and not released and not self.is_in_the_store():
            profiles = goes_before(self.settings, self.ledger, drop)
            if profiles is not None:
                hold_behind(self.ledger, drops.get(self.ledger, drop.id), profiles)
                return None
        return Decided(self.settings, self.job, drop, outcome, self.staging)

    def is_in_the_store(self) -> bool:
        """Whether its commit is decided: to wait any longer would be for nothing."""
        was_taken = self.job.commit_sequence is not None
        return was_taken and commits.state_of(self.ledger, self.job.id) in ("resolved", "committed")

    @property
    def outbox(self) -> Path:
        return self.settings.tenant_dir(self.job.tenant) / "outbox" / self.job.feed

    @property
    def staging(self) -> Path:
        """Of this try only: a worker that outlives its gateway for a moment writes into another folder."""
        return work_dir(self.settings, self.job.id) / "out" / str(self.job.tries)

    def empty_staging(self) -> Path:
        self.spares.take(self.staging)
        return self.staging


def refuse(drop: Drop, staging: Path, refused: DropRefused) -> Outcome:
    """The outcome of a drop that is turned away without a worker."""
    # Few drops end so, and the report brings polars into this process: the gateway starts without it.
    from gateway.pipeline.process import fail

    return fail(drop, staging, code=refused.code, message=refused.message, hint=refused.hint)


def refusal(row: DropRow, sha256: str) -> DropRefused | None:
    """Why a drop is turned away before it is read: its proof did not come, or speaks against it."""
    if row.decided == "refuse" and row.held_for != "suspect":
        return DropRefused(
            "proof_missing",
            f"nothing showed in time that the file is whole: {row.path} was held since nothing came to prove it",
            hint=waiting.hint(row),
        )
    if row.expected_sha256 and row.expected_sha256 != sha256:
        return DropRefused(
            "checksum_mismatch",
            f"{row.path}.sha256 says {row.expected_sha256}, and the file that arrived has {sha256}",
            hint="The file changed on its way, or the checksum is of another one. Upload both again.",
        )
    return None


def retract(outcome: Outcome, outbox: Path) -> None:
    """Take back what an earlier run of a requeued job published, the report first; the new run replaces it."""
    for file in reversed(outcome.files):
        (outbox / file.name).unlink(missing_ok=True)
