"""What goes into the pipeline and what comes out: a drop, and the outcome of its job or a suspicion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from gateway import clock
from gateway.config import FeedSettings
from gateway.contracts import Contract

OnCutOff = Literal["hold", "refuse", "process", "proven"]


@dataclass(frozen=True, slots=True)
class Drop:
    """One file that has landed and all that its job must know; nothing else decides what the job does.

    `path` is where the bytes are; `name` is the path below `inbox/<feed>/`, with `/` between folders.
    `as_of` is when the drop landed, and every rule's "now". `on_cut_off` says what becomes of a drop that looks cut
    off: it comes back as a Suspect, is refused whole, or is processed as far as it is whole. In one that is `proven` to
    have arrived whole, a last record that is cut is a bad row like any other, and all else refuses it.
    `disk_free_min` is how many bytes of the disk stay free when it is expanded, or read by pieces, which is the way of
    a text of more than `whole_bytes_max`. `for_store`: what it brings to the store is left in the staging folder.
    Nothing of a `dry_run` is stored: its report says what would come of it; `seen_before` is the job that had its
    bytes, which is no reason not to process it. `leaves_accepted`: whether the accepted rows are left as a file.
    """

    job_id: str
    tenant: str
    feed: str
    name: str
    generation: int
    path: Path
    sha256: str
    as_of: datetime
    uploaded_by: str | None
    contract: Contract
    policy: FeedSettings
    timezone: str = "UTC"
    retention_days: int | None = None
    duplicate_of: str | None = None
    repairs: str | None = None
    client_mtime: datetime | None = None
    completion_proof: bool = True
    on_cut_off: OnCutOff = "refuse"
    disk_free_min: int = 0
    whole_bytes_max: int = 1 << 30
    for_store: bool = False
    dry_run: bool = False
    seen_before: str | None = None
    leaves_accepted: bool = True


@dataclass(frozen=True, slots=True)
class Suspect:
    """A drop that looks cut off and was not processed: where it ends in `message`, what to do about it in `hint`.

    `line` is the physical line of the cut, where it can be told.
    """

    message: str
    hint: str
    line: int | None


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that is written, fsynced and waits in the staging folder.

    `name` is its path below `outbox/<feed>/`; `staged` its name in the staging folder.
    """

    name: str
    staged: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows. Read = accepted + merged + duplicate + rejected + withheld; blank lines are apart."""

    total: int = 0
    accepted: int = 0
    merged: int = 0
    duplicate: int = 0
    rejected: int = 0
    withheld: int = 0
    blank: int = 0

    @property
    def add_up(self) -> bool:
        return self.total == self.accepted + self.merged + self.duplicate + self.rejected + self.withheld


@dataclass(frozen=True, slots=True)
class Contributed:
    """What a job left below `store/` in its staging folder, and how the store shall take it.

    profiles, companies, events: how many rows, each in a file of that name; there is no file where there is none.
    first_event: the time of the oldest event. accumulating: its profile rows are identify records (U109 to U119).
    The others are the contract's and the feed's policies.
    """

    profiles: int = 0
    companies: int = 0
    events: int = 0
    first_event: datetime | None = None
    accumulating: bool = False
    allow_repeats: bool = False
    unknown_identity: Literal["accept", "reject", "hold"] = "accept"
    hold_hours: float = 0

    @property
    def rows(self) -> int:
        return self.profiles + self.companies + self.events

    @property
    def can_be_rejected(self) -> bool:
        """Whether the store may reject rows of it: events of those whom it does not know."""
        return self.events > 0 and self.unknown_identity != "accept"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pipeline run returns. `files` are in the order of their publication: the report is last.

    `contributed` is None for a job that brings nothing to a store: it failed, repeats another one, or there is none.
    `columns` are those of the header (`has_header`), else the names in NDJSON records that the contract does not have.
    """

    job_id: str
    status: Literal["completed", "failed"]
    start_time: datetime
    end_time: datetime
    counts: Counts
    files: tuple[StagedFile, ...]
    contract: str
    contract_sha256: str
    problems_by_code: Mapping[str, int] = field(default_factory=dict)
    reason_for_failure: tuple[str, ...] = ()
    duplicate_of: str | None = None
    repairs: str | None = None
    contributed: Contributed | None = None
    columns: tuple[str, ...] = ()
    has_header: bool = False

    @property
    def elapsed_time(self) -> float:
        """Seconds."""
        return (self.end_time - self.start_time).total_seconds()

    def to_json(self) -> str:
        """The outcome as the ledger keeps it while it waits to be published."""
        plain = plain_of(self) | {
            "start_time": clock.text(self.start_time),
            "end_time": clock.text(self.end_time),
            "counts": plain_of(self.counts),
            "files": [plain_of(file) for file in self.files],
            "problems_by_code": dict(self.problems_by_code),
            "contributed": None,
        }
        if self.contributed:
            first = self.contributed.first_event
            plain["contributed"] = plain_of(self.contributed) | {"first_event": clock.text(first) if first else None}
        return json.dumps(plain)

    @staticmethod
    def from_json(text: str) -> Outcome:
        """The inverse of `to_json`."""
        plain = json.loads(text)
        return Outcome(
            **plain
            | {
                "start_time": clock.moment(plain["start_time"]),
                "end_time": clock.moment(plain["end_time"]),
                "counts": Counts(**plain["counts"]),
                "files": tuple(StagedFile(**file) for file in plain["files"]),
                "reason_for_failure": tuple(plain["reason_for_failure"]),
                "contributed": contributed_from(plain.get("contributed")),
                "columns": tuple(plain["columns"]),
            }
        )


def plain_of(one: Outcome | Counts | StagedFile | Contributed) -> dict[str, Any]:
    """Its fields by name. Not `asdict`, which copies all that is in them: that took a tenth of a small job's ledger."""
    return {name: getattr(one, name) for name in type(one).__slots__}


def contributed_from(plain: Mapping[str, Any] | None) -> Contributed | None:
    """As an outcome's JSON has it."""
    if plain is None:
        return None
    first = plain["first_event"]
    return Contributed(**{**plain, "first_event": clock.moment(first) if first else None})
