"""Earlier jobs in the ledger: the one that had the bytes of a drop, the one it mends, and those of stored rows."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from gateway import clock
from gateway.ledger.connection import Ledger
from gateway.ledger.drops import DropRow

JOBS_AT_ONCE = 500


def original_of(ledger: Ledger, drop: DropRow, sha256: str, contract_sha256: str) -> str | None:
    """The id of the first job of the feed with the same bytes under the same contract, itself no repeat.

    One whose results are staged counts, as only their publication is left; one from before a reset does not, nor does
    a dry run.
    """
    found = ledger.row(
        """
        SELECT jobs.id FROM drops JOIN jobs ON drop_id = drops.id
        WHERE drops.tenant = ? AND drops.feed = ? AND sha256 = ? AND contract_sha256 = ?
          AND (status = 'completed' OR (status = 'pending_refresh' AND json_extract(outcome, '$.status') = 'completed'))
          AND duplicate_of IS NULL AND drops.id <> ? AND NOT drops.dry_run
          AND landed_at > coalesce((SELECT max(at) FROM resets WHERE resets.tenant = drops.tenant), '')
        ORDER BY +jobs.id LIMIT 1
        """,
        (drop.tenant, drop.feed, sha256, contract_sha256, drop.id),
    )
    return found["id"] if found else None


def newest_named(
    ledger: Ledger, tenant: str, feed: str, name: str, before: datetime, generation: int | None
) -> str | None:
    """The id of the feed's newest job that landed before, whose filename is `name` or `name` with an extension."""
    found = ledger.row(
        """
        SELECT jobs.id FROM jobs JOIN drops ON drops.id = drop_id
        WHERE jobs.tenant = ? AND jobs.feed = ? AND landed_at < ? AND coalesce(generation = ?, 1)
          AND (filename = ? OR (substr(filename, 1, ?) = ? AND instr(substr(filename, ?), '/') = 0))
        ORDER BY filename = ? DESC, generation DESC, jobs.id DESC LIMIT 1
        """,
        (
            *(tenant, feed, clock.text(before), generation),
            *(name, len(name) + 1, f"{name}.", len(name) + 1, name),
        ),
    )
    return found["id"] if found else None


def note_repair(ledger: Ledger, repaired: str, by: str | None) -> None:
    """Say in the repaired job who mended it, and how many of its rejected rows are in by now.

    Counted over all its repairs anew, so that a repair that is run again is not counted twice.
    """
    with ledger.transaction() as connection:
        connection.execute(
            """
            UPDATE jobs SET repaired_by = ?, repaired_rows = min(rejected_rows, (
                SELECT coalesce(sum(accepted_rows + merged_rows + duplicate_rows), 0)
                FROM jobs AS repair WHERE repair.repairs = jobs.id
            )) WHERE id = ?
            """,
            (by, repaired),
        )


def files_of(ledger: Ledger, job_ids: Collection[str]) -> dict[str, str]:
    """`<feed>/<file>` of each of the jobs that is there, by its id."""
    found: dict[str, str] = {}
    ids = sorted(job_ids)
    for at in range(0, len(ids), JOBS_AT_ONCE):
        some = ids[at : at + JOBS_AT_ONCE]
        marks = ", ".join("?" for _ in some)
        # Only marks are put in; every value is bound.
        rows = ledger.rows(f"SELECT id, feed, filename FROM jobs WHERE id IN ({marks})", some)  # noqa: S608
        found |= {row["id"]: f"{row['feed']}/{row['filename']}" for row in rows}
    return found
