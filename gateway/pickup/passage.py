"""The passage of one job: its bytes are taken, a worker judges them, its outcome is committed and then published.

Every step can be repeated: after a kill at any point the job starts over, or publishes what is already staged.
"""

from __future__ import annotations

import shutil
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway import clock
from gateway.config import Settings
from gateway.engine import LASTS, Answer, EngineStopped, PipelineCrashed, Task
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
class Back:
    """The job goes back to the queue; whether this try counts, and after which pause."""

    reason: str
    counts: bool = False
    pause: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Not yet: it looks cut off, and the partner may still send the rest."""

    reason: str
    until: datetime


Result = Outcome | Hold | Back


@dataclass(frozen=True, slots=True)
class Passage:
    """One begun job on its way. `settings` are those of the moment it began."""

    settings: Settings
    ledger: Ledger
    spares: Spares
    job: JobRow
    row: DropRow
    unwritten: Unwritten = field(default_factory=Unwritten)

    def take(self) -> bool:
        """Take the bytes, and look what they are; False when they are not there any more."""
        with holding(self.row.name):
            here = take_file(self.settings, self.row)
        self.unwritten.sha256 = digest(original_path(self.settings, self.job.id)) if here else ""
        return here

    @property
    def same_bytes(self) -> Hashable:
        """To be held: of two drops with the same bytes the second must see how the first ended."""
        return "same bytes", self.row.tenant, self.row.feed, self.unwritten.sha256

    def begin(self, *, here: bool) -> Task | Outcome:
        """What a worker is to do; the outcome, where that is clear without one. Call it holding `same_bytes`."""
        sha256 = self.unwritten.sha256
        described = describe(self.settings, self.ledger, self.job, self.row, sha256)
        failure = described.failure if here else "the file was removed or changed before it could be read"
        self.spares.take(self.staging)
        if failure:
            return self.fail(described.drop, failure)
        if refused := refusal(self.row, sha256):
            return refuse(described.drop, self.staging, refused)
        if self.job.tries > self.settings.gateway.pickup.tries_max:
            message = f"the gateway was ended {self.job.tries - 1} times while it read the file"
            return self.fail(described.drop, message)
        return Task(described.drop, self.staging, self.note_progress)

    def result(self, drop: Drop, answer: Answer) -> Result:
        """What becomes of the job by the answer of its worker; without one it is for the next batch."""
        if answer is None:
            return Back("its worker did not come to it")
        if isinstance(answer, EngineStopped):
            return Back("the gateway stops")
        if isinstance(answer, DropRefused):
            # It would take as much the next time: it is not tried again.
            log.warning("job took too much", job=self.job.id, tenant=drop.tenant, feed=drop.feed, reason=answer.message)
            self.spares.take(self.staging)
            return refuse(drop, self.staging, answer)
        if isinstance(answer, WorkerDied | PipelineCrashed):
            log.error("job was cut short", job=self.job.id, tries=self.job.tries, error=str(answer))
            if self.job.tries >= self.settings.gateway.pickup.tries_max:
                self.spares.take(self.staging)
                return self.fail(drop, f"processing was cut short {self.job.tries} times")
            # On a full disk the ledger needs the space that the try has taken.
            shutil.rmtree(self.staging, ignore_errors=True)
            return Back(str(answer), counts=True, pause=self.pause())
        if isinstance(answer, Suspect):
            row = self.row
            log.warning("drop is held: it looks cut off", drop=row.id, tenant=row.tenant, feed=row.feed, file=row.path)
            return Hold(answer.message, clock.now() + timedelta(hours=drop.policy.suspect_hours))
        return answer

    def pause(self) -> timedelta:
        """What was in the way, a full disk for example, may be gone by then."""
        return timedelta(seconds=self.settings.gateway.pickup.retry_seconds * self.job.tries)

    def fail(self, drop: Drop, message: str) -> Outcome:
        """The outcome of a job that the gateway itself could not do: with a report that says so."""
        log.error("job failed on our side", job=self.job.id, tenant=drop.tenant, feed=drop.feed, reason=message)
        return refuse(drop, self.staging, DropRefused(OUR_FAULT, message, hint=OUR_FAULT_HINT))

    def note_progress(self, word: str) -> None:
        if word == "processing":
            self.unwritten.processing = clock.now()
        elif word == LASTS and self.unwritten != Unwritten():
            self.write_progress()

    def write_progress(self) -> None:
        with self.ledger.transaction():
            self.write_digest()
            if self.unwritten.processing:
                jobs.begin_processing(self.ledger, self.job.id, self.unwritten.processing)
                self.unwritten.processing = None

    def write_digest(self) -> None:
        if self.unwritten.sha256:
            drops.set_sha256(self.ledger, self.job.drop_id, self.unwritten.sha256)
            self.unwritten.sha256 = ""

    def write(self, result: Result) -> None:
        """Note what becomes of the job. Belongs into one transaction with the others of its batch."""
        now = clock.now()
        with self.ledger.transaction():
            if isinstance(result, Back):
                self.put_back(result, now)
                return
            if isinstance(result, Hold):
                self.write_progress()
                holds.hold_suspect(self.ledger, self.row, result.reason, result.until, now)
                return
            self.write_digest()
            jobs.stage(
                self.ledger, self.job.id, result.to_json(), now, processing=self.unwritten.processing,
                contract_sha256=result.contract_sha256, duplicate_of=result.duplicate_of,
            )  # fmt: skip

    def put_back(self, back: Back, now: datetime) -> None:
        if back.counts:
            jobs.try_again(self.ledger, self.job.id, back.reason, now, back.pause)
        else:
            jobs.return_to_queue(self.ledger, self.job.id, back.reason, now)

    def retract(self) -> None:
        """Take back what an earlier run of a requeued job published, the report first; the new run replaces it."""
        if self.job.outcome is not None:
            for file in reversed(Outcome.from_json(self.job.outcome).files):
                (self.outbox / file.name).unlink(missing_ok=True)

    def in_order(self, outcome: Outcome) -> Decided | None:
        """For publication, unless profiles go before these events and nobody has released them from that.

        A dry run waits for nobody.
        """
        drop = self.row
        released = drop.held_for == "profiles" and drop.decided is not None
        waits = outcome.counts.accepted and not drop.dry_run
        if waits and not released and not self.is_in_the_store():
            profiles = goes_before(self.settings, self.ledger, drop)
            if profiles is not None:
                hold_behind(self.ledger, drops.get(self.ledger, drop.id), profiles)
                return None
        return Decided(self.settings, self.job, drop, outcome, self.staging)

    def staged_before(self) -> Outcome | None:
        """The outcome of a job that was decided by an earlier process, or waited for others."""
        return Outcome.from_json(str(self.job.outcome)) if self.job.status == "pending_refresh" else None

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
