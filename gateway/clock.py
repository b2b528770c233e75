"""Times as the ledger and the reports write them: UTC, ISO 8601, microseconds, `Z`."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


def text(moment: datetime) -> str:
    """`2026-01-31T09:30:00.000000Z`; of equal width, so that text order is time order."""
    # Not strftime and strptime: they take ten times as long, and a job has fifty of these.
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{moment.isoformat(timespec='microseconds')[:26]}Z"


def moment(text: str) -> datetime:
    """The inverse of `text`."""
    return datetime.fromisoformat(text)
