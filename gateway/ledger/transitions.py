"""Transitions in the ledger: what happened to an upload, a drop or a job, when and why. Only ever appended to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway import clock
from gateway.ledger.connection import Ledger


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of `transitions`."""

    at: datetime
    kind: str
    old: str | None
    new: str
    reason: str | None


def history(ledger: Ledger, *subjects: str) -> list[Transition]:
    """What happened to the uploads, drops and jobs with these ids, oldest first."""
    marks = ", ".join("?" for _ in subjects)
    # Only question marks are put in; every value is bound.
    found = ledger.rows(
        f"SELECT at, kind, old, new, reason FROM transitions WHERE subject IN ({marks}) ORDER BY id",  # noqa: S608
        subjects,
    )
    return [Transition(clock.moment(row["at"]), *tuple(row)[1:]) for row in found]
