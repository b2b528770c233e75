"""Times as the ledger and the reports write them: UTC, ISO 8601, microseconds, `Z`."""

from __future__ import annotations

from datetime import UTC, datetime

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


def text(moment: datetime) -> str:
    """`2026-01-31T09:30:00.000000Z`; of equal width, so that text order is time order."""
    return moment.astimezone(UTC).strftime(TIME_FORMAT)


def moment(text: str) -> datetime:
    """The inverse of `text`."""
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
