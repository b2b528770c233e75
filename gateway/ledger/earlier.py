"""Earlier jobs in the ledger that a drop goes back to: the one that had its bytes, and the one whose rows it mends."""

from __future__ import annotations

from datetime import datetime

from gateway import clock
from gateway.ledger.connection import Ledger
from gateway.ledger.drops import DropRow


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
