"""The rehearsal of a dry run: its results are finished with what the store would make of them, and nothing is stored.

The store is read as it is in that moment, and not written to. What is finished goes to `<staging>/settled/`, as that of
a real job does: so it can be done again after a kill.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.pipeline import dry_run
from gateway.pipeline.drop import Contributed, Drop, Outcome
from gateway.pipeline.result_form import errors_max
from gateway.pipeline.settle import FOLDER, SETTLED, Settling, empty_folder, make_durable

if TYPE_CHECKING:
    from gateway.store import Contribution, Facts, TenantStore


def rehearsed(drop: Drop, staging: Path, outcome: Outcome, store: TenantStore | None) -> Outcome:
    """The outcome of a dry run, which brings nothing to the store any more. Can be repeated.

    Without a `store` it could not be reached, and the report says so. Raises StoreError.
    """
    from gateway.store import Facts

    brought = outcome.contributed or Contributed()
    told = dry_run.unasked(drop, outcome, "unreachable")
    facts = None
    if store is not None:
        facts, waits_for = asked(store, contribution(drop, staging, outcome), staging)
        told = dry_run.asked_about(drop, brought, facts, waits_for)
    empty_folder(staging / SETTLED)
    rejecting = drop if brought.unknown_identity == "reject" else None
    settling = Settling(staging, outcome, facts or Facts(drop.job_id), rejecting)
    settling.content["rehearsal"] = told
    done = settling.settled() if facts is not None else settling.reported()
    make_durable(staging)
    return replace(done, contributed=None)


def asked(store: TenantStore, brought: Contribution, scratch: Path) -> tuple[Facts, int]:
    """What the store would make of the job, and for how many identities it would wait first."""
    facts = prepared(store, brought, scratch)
    if not facts.held:
        return facts, 0
    # A dry run waits for nobody: what would come of it if all were taken is told beside.
    return prepared(store, replace(brought, unknown_identity="accept"), scratch), facts.unknown_identities


def prepared(store: TenantStore, brought: Contribution, scratch: Path) -> Facts:
    store.refresh()
    after = store.last_sequence + 1
    return store.prepare(after, [brought], scratch=scratch, write=False).facts[brought.job]


def contribution(drop: Drop, staging: Path, outcome: Outcome) -> Contribution:
    """The job as the store takes it."""
    from gateway.store import Contribution

    brought, counts = outcome.contributed or Contributed(), outcome.counts
    may_fail = brought.unknown_identity == "reject"
    return Contribution(
        drop.job_id, drop.feed, drop.as_of, staging / FOLDER, brought.unknown_identity, brought.allow_repeats,
        brought.accumulating, errors_max(drop, counts.total) - counts.rejected if may_fail else None,
    )  # fmt: skip
