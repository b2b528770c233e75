"""The history of a feed's columns: when a name came, and when the header of its files did not have it any more.

Records of an NDJSON leave out what they have no value for, so of them only new names are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from gateway import clock
from gateway.ledger.connection import Ledger


class FeedColumns:
    """What is known of each feed, so that a file like the one before costs nothing. For one thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[tuple[str, str], frozenset[str]] = {}

    def note(
        self, tenant: str, feed: str, job_id: str, names: Sequence[str], now: datetime, *, is_header: bool
    ) -> None:
        """Write down what is new with this job. Part of a transaction; when that fails, `forget`."""
        known, named = self._of(tenant, feed), frozenset(names)
        gone = known - named if is_header else frozenset()
        if named <= known and not gone:
            return
        self._write(tenant, feed, job_id, "added", sorted(named - known), now)
        self._write(tenant, feed, job_id, "removed", sorted(gone), now)
        self._known[tenant, feed] = (known | named) - gone

    def forget(self) -> None:
        """What was written last may not be in the ledger."""
        self._known.clear()

    def _of(self, tenant: str, feed: str) -> frozenset[str]:
        if (tenant, feed) not in self._known:
            found = self._ledger.rows("SELECT name FROM feed_columns WHERE tenant = ? AND feed = ?", (tenant, feed))
            self._known[tenant, feed] = frozenset(row["name"] for row in found)
        return self._known[tenant, feed]

    def _write(self, tenant: str, feed: str, job_id: str, change: str, names: Iterable[str], now: datetime) -> None:
        with self._ledger.transaction() as connection:
            connection.executemany(
                "INSERT INTO column_changes (tenant, feed, name, job_id, change, at) VALUES (?, ?, ?, ?, ?, ?)",
                [(tenant, feed, name, job_id, change, clock.text(now)) for name in names],
            )
