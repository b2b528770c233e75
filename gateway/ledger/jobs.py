"""Jobs in the ledger: the passage of each drop, from queued to completed or failed."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import drops, earlier
from gateway.ledger.connection import Ledger, find_one, new_id, tenants_of
from gateway.ledger.drops import DropRow

TIMES = ("status_since", "not_before", "uploaded_on", "start_time", "end_time", "outbox_swept_at")
IN_WORK = ("validating", "processing")
ENDED = ("completed", "failed")
SMALL_BYTES = 64 * 1024
"""Files of no more than that may be begun together."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One row of `jobs`. Times are aware, in UTC; `filename` is below `inbox/<feed>/`; `elapsed_time` is in seconds.

    `outcome` is what the pipeline returned, as JSON, from pending_refresh on; `commit_sequence` the tenant's commit
    that takes, or took, what it brings into the store.
    """

    id: str
    drop_id: str
    tenant: str
    feed: str
    name: str
    filename: str
    status: str
    status_since: datetime
    tries: int
    not_before: datetime | None
    uploaded_on: datetime
    uploaded_by: str | None
    start_time: datetime | None
    end_time: datetime | None
    elapsed_time: float | None
    file_size: int
    contract: str | None
    contract_sha256: str | None
    total_rows: int
    accepted_rows: int
    merged_rows: int
    duplicate_rows: int
    rejected_rows: int
    withheld_rows: int
    blank_rows: int
    problems_by_code: Mapping[str, int]
    reason_for_failure: tuple[str, ...]
    duplicate_of: str | None
    repairs: str | None
    repaired_by: str | None
    repaired_rows: int
    outcome: str | None
    outbox_swept_at: datetime | None
    commit_sequence: int | None
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON: times as the ledger writes them, and without the staged outcome."""
        left_out = ("id", "outcome")
        plain = {name: drops.sql(value) for name, value in asdict(self).items() if name not in left_out}
        return {"job_id": self.id, "links": f"/v1/imports/jobs/{self.id}"} | plain


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended; the columns that its outcome fills."""

    status: Literal["completed", "failed"]
    start_time: datetime
    end_time: datetime
    elapsed_time: float
    contract: str
    contract_sha256: str
    total_rows: int = 0
    accepted_rows: int = 0
    merged_rows: int = 0
    duplicate_rows: int = 0
    rejected_rows: int = 0
    withheld_rows: int = 0
    blank_rows: int = 0
    problems_by_code: Mapping[str, int] = field(default_factory=dict)
    reason_for_failure: tuple[str, ...] = ()
    duplicate_of: str | None = None
    repairs: str | None = None


DropEnd = Literal["done", "duplicate", "quarantined"]


def create(ledger: Ledger, drop: DropRow, uploaded_by: str | None, now: datetime) -> str:
    """The queued job of a drop that has settled; its id. A drop that was replaced while it was held has one already."""
    columns = {
        "name": drop.path.rsplit("/", 1)[-1],
        "filename": drop.path,
        "feed": drop.feed,
        "uploaded_on": clock.text(drop.landed_at),
        "uploaded_by": uploaded_by,
        "file_size": drop.bytes,
    }
    with ledger.transaction() as connection:
        if drop.job_id is not None:
            assignments = ", ".join(f"{column} = ?" for column in columns)
            # Only our own names of columns are put together; every value is bound.
            connection.execute(f"UPDATE jobs SET {assignments} WHERE id = ?", (*columns.values(), drop.job_id))  # noqa: S608
            ledger.note_transition("job", drop.job_id, "queued", "queued", "its drop was replaced")
            return drop.job_id
        job_id = new_id()
        columns |= {"id": job_id, "drop_id": drop.id, "tenant": drop.tenant}
        columns |= {"status": "queued", "status_since": clock.text(now)}
        names, marks = ", ".join(columns), ", ".join("?" for _ in columns)
        # Only our own names of columns are put together; every value is bound.
        connection.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608
        ledger.note_transition("job", job_id, None, "queued")
        return job_id


def is_unbegun(ledger: Ledger, job_id: str) -> bool:
    """Whether it waits in the queue and nothing has ever come of it."""
    job = get(ledger, job_id)
    return job.status == "queued" and job.end_time is None


def end_unbegun(ledger: Ledger, job_id: str, reason: str, now: datetime) -> None:
    """Its drop was withdrawn or superseded before it began: it ends without a report, and has accepted nothing."""
    move(
        ledger,
        job_id,
        ("queued",),
        "failed",
        now,
        reason,
        end_time=now,
        reason_for_failure=json.dumps([reason]),
    )


def waiting_tenants(ledger: Ledger) -> list[str]:
    """The tenants who have a queued job, whether it can begin or not."""
    return tenants_of(ledger, "jobs INDEXED BY jobs_queued", "status = 'queued'")


def begin_next(
    ledger: Ledger, now: datetime, tenant: str | None = None, *, most: int = 1, workers: int = 1
) -> list[JobRow]:
    """Begin the oldest queued jobs, of one tenant or of all: queued → validating, one more try each.

    One job, or up to `most` small ones that were not tried before, of which each of so many workers gets its part.
    Generations of one name go in order: a job waits while an earlier generation is unfinished.
    """
    # Should a power cut undo it, the jobs are queued again, which they may be as long as nothing of them is staged.
    with ledger.transaction(lazily=True):
        of_tenant = "jobs.tenant = :tenant AND" if tenant is not None else ""
        found = ledger.rows(
            # Only a condition of our own is put in; every value is bound.
            f"""
            SELECT jobs.* FROM jobs INDEXED BY jobs_queued JOIN drops ON drops.id = drop_id
            WHERE {of_tenant} status = 'queued' AND state = 'claimed'
              -- A pause that began in the future is from before the clock was set back.
              AND (not_before IS NULL OR not_before <= :now OR status_since > :now)
              AND NOT EXISTS (
                SELECT 1 FROM drops AS earlier
                WHERE earlier.tenant = drops.tenant AND earlier.feed = drops.feed AND earlier.path = drops.path
                  AND earlier.generation < drops.generation AND earlier.state IN ('queued', 'claimed', 'held'))
            ORDER BY jobs.id LIMIT :limit
            """,  # noqa: S608
            {"tenant": tenant, "now": clock.text(now), "limit": most * workers},
        )
        part = found[: min(-(-len(found) // workers), most)]
        together = list(itertools.takewhile(is_short, part)) or part[:1]
        return [begin(ledger, job_row(row), now) for row in together]


def is_short(row: sqlite3.Row) -> bool:
    """Whether a queued job is likely to take no longer than a moment."""
    return int(row["file_size"]) <= SMALL_BYTES and not row["tries"]


def begin(ledger: Ledger, job: JobRow, now: datetime) -> JobRow:
    tries = job.tries + 1
    move(ledger, job.id, ("queued",), "validating", now, tries=tries, start_time=now, not_before=None)
    return replace(job, status="validating", status_since=now, tries=tries, start_time=now, not_before=None)


def begin_processing(ledger: Ledger, job_id: str, now: datetime) -> None:
    """Its rows are validated."""
    move(ledger, job_id, ("validating",), "processing", now)


def stage(
    ledger: Ledger,
    job_id: str,
    outcome: str,
    now: datetime,
    *,
    processing: datetime | None = None,
    contract_sha256: str | None = None,
    duplicate_of: str | None = None,
) -> None:
    """Its results are staged and durable; `outcome` is the JSON that publishing needs.

    `processing`: when its rows were validated, if that is not noted yet.
    """
    with ledger.transaction():
        if processing is None:
            note(ledger, job_id, IN_WORK, "pending_refresh", now)
        else:
            note(ledger, job_id, ("validating",), "processing", processing)
            ledger.note_transition("job", job_id, "processing", "pending_refresh", at=now)
        known = {"contract_sha256": contract_sha256, "duplicate_of": duplicate_of}
        change(ledger, job_id, status="pending_refresh", status_since=now, outcome=outcome, **known)


def note_rehearsed(ledger: Ledger, job_id: str, outcome: str) -> None:
    """What the outcome of a dry run is now that the store was asked; from here on only publication is left."""
    with ledger.transaction() as connection:
        connection.execute(
            "UPDATE jobs SET outcome = ? WHERE id = ? AND status = 'pending_refresh' AND dry_run", (outcome, job_id)
        )


def finish(ledger: Ledger, job_id: str, ending: Ending, now: datetime, drop_end: DropEnd = "done") -> None:
    """Its results are in the outbox: the job has ended, and so has its drop."""
    columns = {field.name: getattr(ending, field.name) for field in fields(ending)}
    status = columns.pop("status")
    columns["problems_by_code"] = json.dumps(columns["problems_by_code"], sort_keys=True)
    columns["reason_for_failure"] = json.dumps(columns["reason_for_failure"])
    with ledger.transaction():
        reason = "; ".join(ending.reason_for_failure) or None
        move(ledger, job_id, ("pending_refresh",), status, now, reason, **columns)
        drops.finish(ledger, drop_of(ledger, job_id), drop_end, reason)
        if ending.repairs and ending.status == "completed":
            earlier.note_repair(ledger, ending.repairs, get(ledger, job_id).uploaded_by)


def try_again(ledger: Ledger, job_id: str, reason: str, now: datetime, pause: timedelta | None = None) -> None:
    """It was interrupted, or its staged results are gone: back to the queue. The try that was interrupted counts."""
    not_before = now + pause if pause else None
    move(ledger, job_id, (*IN_WORK, "pending_refresh"), "queued", now, reason, not_before=not_before)


def is_pause_over(ledger: Ledger, now: datetime) -> bool:
    """Whether a job has waited for long enough to be tried again."""
    found = ledger.row(
        "SELECT 1 FROM jobs WHERE not_before IS NOT NULL AND (not_before <= :now OR status_since > :now) LIMIT 1",
        {"now": clock.text(now)},
    )
    return found is not None


def return_to_queue(ledger: Ledger, job_id: str, reason: str, now: datetime) -> None:
    """The job was cut short by no fault of its drop: back to the queue, and the try does not count."""
    with ledger.transaction():
        move(
            ledger,
            job_id,
            (*IN_WORK, "pending_refresh"),
            "queued",
            now,
            reason,
            tries=max(get(ledger, job_id).tries - 1, 0),
        )


def requeue(ledger: Ledger, job_id: str, now: datetime) -> None:
    """An ended job runs again on its archived bytes, under the same id. LedgerError when it has not ended."""
    with ledger.transaction():
        move(
            ledger,
            job_id,
            ENDED,
            "queued",
            now,
            "requeued by an operator",
            tries=0,
            outbox_swept_at=None,
            commit_sequence=None,
        )
        drops.reopen(ledger, get(ledger, job_id).drop_id, "its job was requeued")


def get(ledger: Ledger, job_id: str) -> JobRow:
    """The job with this id, or LedgerError."""
    found = ledger.row("SELECT * FROM jobs WHERE id = ?", (job_id,))
    if found is None:
        raise LedgerError(f"the ledger has no job {job_id}")
    return job_row(found)


def drop_of(ledger: Ledger, job_id: str) -> str:
    """The id of its drop."""
    found = ledger.row("SELECT drop_id FROM jobs WHERE id = ?", (job_id,))
    if found is None:
        raise LedgerError(f"the ledger has no job {job_id}")
    return str(found["drop_id"])


def find(ledger: Ledger, prefix: str) -> JobRow:
    """The one job whose id begins with `prefix`, or LedgerError that says whether none or several do."""
    return job_row(find_one(ledger, "job", "SELECT * FROM jobs WHERE {}", "id", prefix))


def select(
    ledger: Ledger,
    *,
    tenant: str | None = None,
    feed: str | None = None,
    status: str | None = None,
    limit: int | None = None,
) -> list[JobRow]:
    """The jobs that match all filters, newest first."""
    filters = {"tenant": tenant, "feed": feed, "status": status}
    given = {column: value for column, value in filters.items() if value is not None}
    where = " AND ".join(f"{column} = ?" for column in given) or "1"
    # Only our own names of columns are put together; every value is bound.
    found = ledger.rows(
        f"SELECT * FROM jobs WHERE {where} ORDER BY id DESC LIMIT ?",  # noqa: S608
        (*given.values(), -1 if limit is None else limit),
    )
    return [job_row(row) for row in found]


def begun(ledger: Ledger) -> list[JobRow]:
    """The jobs that a worker or the publishing has in hand, or had when the gateway was killed; oldest first."""
    found = ledger.rows(
        "SELECT jobs.* FROM jobs JOIN drops ON drops.id = drop_id "
        "WHERE status IN ('validating', 'processing', 'pending_refresh') AND state = 'claimed' ORDER BY jobs.id"
    )
    return [job_row(row) for row in found]


def move(
    ledger: Ledger,
    job_id: str,
    old: Sequence[str],
    new: str,
    now: datetime,
    reason: str | None = None,
    **columns: Any,
) -> None:
    """One transition, guarded by the old status; LedgerError when the job is in another."""
    with ledger.transaction():
        note(ledger, job_id, old, new, now, reason)
        change(ledger, job_id, status=new, status_since=now, **columns)


def note(ledger: Ledger, job_id: str, old: Sequence[str], new: str, now: datetime, reason: str | None = None) -> None:
    """The transition alone; belongs before the change of the row. LedgerError as in `move`."""
    if not ledger.note_move("job", job_id, old, new, reason, now):
        found = ledger.row("SELECT status FROM jobs WHERE id = ?", (job_id,))
        raise LedgerError(f"job {job_id} is {found['status'] if found else 'unknown'}, not {' or '.join(old)}")


def change(ledger: Ledger, job_id: str, **columns: Any) -> None:
    assignments = ", ".join(f"{column} = ?" for column in columns)
    with ledger.transaction() as connection:
        # Only our own names of columns are put together; every value is bound.
        connection.execute(
            f"UPDATE jobs SET {assignments} WHERE id = ?",  # noqa: S608
            (*map(drops.sql, columns.values()), job_id),
        )


def job_row(row: sqlite3.Row) -> JobRow:
    plain = dict(row)
    for column in TIMES:
        if plain[column] is not None:
            plain[column] = clock.moment(plain[column])
    return JobRow(
        **plain
        | drops.flags(plain, "dry_run")
        | {
            "problems_by_code": json.loads(plain["problems_by_code"]),
            "reason_for_failure": tuple(json.loads(plain["reason_for_failure"])),
        }
    )
