"""What a copy of the ledger needs: the drops, uploads and results whose files must be copied with it."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.ledger.connection import Ledger
from gateway.ledger.drops import SELECT, DropRow, drop_row
from gateway.ledger.jobs import JobRow, job_row
from gateway.ledger.uploads import UploadRow, get

PORTION = 500


def unfinished(ledger: Ledger) -> list[DropRow]:
    """The drops whose files may be moved at any moment."""
    found = ledger.rows(
        f"{SELECT} WHERE state IN ('landed', 'settling', 'queued', 'held') "
        "UNION ALL "
        f"{SELECT} WHERE status IN ('queued', 'validating', 'processing', 'pending_refresh') AND state = 'claimed' "
        f"UNION ALL {SELECT} WHERE leaving = 'archive'"
    )
    return [drop_row(row) for row in found]


def kept(ledger: Ledger) -> Iterator[list[DropRow]]:
    """The drops whose files were not swept yet, in portions."""
    last = ""
    while found := ledger.rows(
        f"{SELECT} WHERE drops.id > ? AND purged_at IS NULL ORDER BY drops.id LIMIT ?", (last, PORTION)
    ):
        yield [drop_row(row) for row in found]
        last = found[-1]["id"]


def with_results(ledger: Ledger) -> Iterator[list[JobRow]]:
    """The jobs that have ended and whose results may be in the outbox, in portions."""
    last = ""
    while found := ledger.rows(
        "SELECT * FROM jobs WHERE id > ? AND status IN ('completed', 'failed') AND outbox_swept_at IS NULL "
        "AND outcome IS NOT NULL ORDER BY id LIMIT ?",
        (last, PORTION),
    ):
        yield [job_row(row) for row in found]
        last = found[-1]["id"]


def without_drop(ledger: Ledger) -> list[UploadRow]:
    """The closed uploads that may stand in an inbox under a temporary name: the newest of each name."""
    found = ledger.rows(
        "SELECT id FROM uploads AS this WHERE state = 'closed' "
        "AND NOT EXISTS (SELECT 1 FROM drops WHERE upload_id = this.id) "
        "AND NOT EXISTS (SELECT 1 FROM uploads AS newer WHERE newer.tenant = this.tenant AND newer.feed = this.feed "
        "AND newer.path = this.path AND newer.state = 'closed' AND newer.id > this.id)"
    )
    return [get(ledger, row["id"]) for row in found]


def incomplete(ledger: Ledger) -> list[UploadRow]:
    """The uploads that broke off and can be gone on with."""
    found = ledger.rows("SELECT id FROM uploads WHERE state IN ('open', 'incomplete') AND ended_at IS NOT NULL")
    return [get(ledger, row["id"]) for row in found]


def was_closed(ledger: Ledger, upload: UploadRow) -> bool:
    """Whether an open upload was closed before: all its bytes are there, and on their way to another name."""
    found = ledger.row("SELECT old FROM transitions WHERE subject = ? ORDER BY id DESC LIMIT 1", (upload.id,))
    return found is not None and found["old"] == "closed"
