"""The storekeeper's own process: what it is asked and answers, and how it resolves and makes commits.

It keeps the tables of the tenants open, so that a small commit is quick. polars and deltalake are loaded here only.
"""

from __future__ import annotations

import gc
import signal
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gateway import clock
from gateway.engine import (
    GARBAGE_OBJECTS,
    OOM_SCORE,
    READY,
    Crash,
    end_with_parent,
    where_it_was_raised,
)
from gateway.errors import StoreError
from gateway.pipeline.drop import Drop, Outcome

if TYPE_CHECKING:
    from gateway.store import Contribution, Facts, Prepared

SETTLED_AT_ONCE_MAX = 16
STORE = "store"
"""The folder below a job's staging with what it brings to the store."""


@dataclass(frozen=True, slots=True)
class StagedJob:
    """A job that can go into the store: where its results are staged, and the policies that it is resolved by."""

    job: str
    feed: str
    as_of: datetime
    staging: Path
    unknown_identity: Literal["accept", "reject", "hold"] = "accept"
    allow_repeats: bool = False
    accumulating: bool = False

    def to_plain(self) -> dict[str, Any]:
        """As the ledger keeps it with the commit."""
        plain = {name: getattr(self, name) for name in ("job", "feed", "unknown_identity", "allow_repeats")}
        return plain | {
            "as_of": clock.text(self.as_of), "staging": str(self.staging), "accumulating": self.accumulating,
        }  # fmt: skip

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> StagedJob:
        """The inverse of `to_plain`."""
        return StagedJob(**{**plain, "as_of": clock.moment(plain["as_of"]), "staging": Path(plain["staging"])})


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of one tenant, under its number, of these jobs in their order."""

    tenant: str
    sequence: int
    jobs: tuple[StagedJob, ...]


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask for a commit to be resolved; the outcomes are of its jobs, by id.

    `drops` are of those jobs whose events are rejected where they are of somebody unknown.
    """

    commit: Commit
    outcomes: Mapping[str, Outcome]
    drops: Mapping[str, Drop]


@dataclass(frozen=True, slots=True)
class Make:
    """Ask for a resolved commit to be made."""

    commit: Commit


@dataclass(frozen=True, slots=True)
class Tend:
    """Ask for the upkeep that a tenant's store needs, if it needs any."""

    tenant: str


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Ask what would come of a dry run, whose results are in `staging`; or that its report says that nobody could."""

    drop: Drop
    staging: Path
    outcome: Outcome
    without_store: bool = False


@dataclass(frozen=True, slots=True)
class Resolved:
    """Of each job its outcome as the store has decided it; `held` are those that must wait for profiles.

    One whose outcome is failed is no part of the commit. `created` counts the profiles and companies that are new.
    `taken`: the store has a commit of that number already, and this one is the last that it has; nothing is decided.
    """

    outcomes: Mapping[str, Outcome]
    held: frozenset[str]
    created: int
    taken: int | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """The commit is in the store, durable."""


@dataclass(frozen=True, slots=True)
class Tended:
    """What was due has been done."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The outcome of a dry run, its report finished."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The store could not be used; in words."""

    message: str
    hint: str


Question = Resolve | Make | Tend | Rehearse
Answer = Resolved | Made | Tended | Rehearsed | Unavailable | Crash


def keep(pipe: Connection, url: str, options: dict[str, str]) -> None:
    """The main function of the process: questions come in by the pipe, answers go out."""
    # As in a worker: the gateway drains, and ends this process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    threading.Thread(target=end_with_parent, name="parent-watch", daemon=True).start()
    gc.disable()
    with tempfile.TemporaryDirectory() as folder:
        warm_up(folder)
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)
    gc.enable()
    stores = Stores(url, options)
    pipe.send(READY)
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        pipe.send(answer_of(stores, question))


def answer_of(stores: Stores, question: Question) -> Answer:
    """What the store says. Of what is raised in our own code only the place goes out: it may quote rows."""
    try:
        if isinstance(question, Resolve):
            return stores.resolve(question)
        if isinstance(question, Rehearse):
            return stores.rehearse(question)
        return stores.make(question.commit) if isinstance(question, Make) else stores.tend(question.tenant)
    except StoreError as error:
        return Unavailable(str(error).removesuffix(error.hint).rstrip(), error.hint)
    except Exception as error:  # A bug of ours, which must not end the process.
        return Crash(where_it_was_raised(error))


def warm_up(folder: str) -> None:
    """Load and compile everything: the first commit should find it so."""
    from gateway.pipeline import settle
    from gateway.store import TenantStore

    settle.warm_up()
    store = TenantStore(folder, "warm")
    store.commit(store.prepare(1, []))


class Stores:
    """The tenants' stores in this process, and the commit that is prepared."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        from gateway.store.opened import OpenStores
        from gateway.store.optimize import Schedule

        self._open = OpenStores(url, options)
        self._prepared: tuple[Commit, Prepared] | None = None
        self._threads = ThreadPoolExecutor(SETTLED_AT_ONCE_MAX, "settling")
        self._upkeep = Schedule()

    def resolve(self, question: Resolve) -> Resolved:
        """Decide the outcomes, and leave the reports of the jobs finished in their staging."""
        commit, store = question.commit, self._open.of(question.commit.tenant)
        self._prepared = None
        prepared = store.prepare(commit.sequence, [limited(one, question) for one in contributions(commit)])
        if prepared.repeated:
            return Resolved({}, frozenset(), 0, taken=store.last_sequence)
        held = frozenset(job for job, facts in prepared.facts.items() if facts.held)
        going = replace(commit, jobs=tuple(job for job in commit.jobs if prepared.facts[job.job].goes))
        decided = [job for job in commit.jobs if job.job not in held]
        outcomes = self._settled(question, prepared.facts, decided)
        self._prepared = going, prepared
        return Resolved(outcomes, held, sum(prepared.facts[job.job].created for job in going.jobs))

    def _settled(
        self, question: Resolve, facts: Mapping[str, Facts], decided: Sequence[StagedJob]
    ) -> dict[str, Outcome]:
        """The outcomes of these jobs, their reports durable."""
        from gateway.pipeline import settle

        def settled(one: StagedJob) -> Outcome:
            return settle.settled(one.staging, question.outcomes[one.job], facts[one.job], question.drops.get(one.job))

        # Files with rows are written anew beside the others; with a report threads would only be in each other's way.
        short = [one for one in decided if not settle.rewrites(facts[one.job])]
        long = [one for one in decided if settle.rewrites(facts[one.job])]
        beside = self._threads.map(settled, long)
        found = zip([*short, *long], chain(map(settled, short), beside), strict=True)
        outcomes = {one.job: outcome for one, outcome in found}
        # The disk does for many at once what it does for one. A report takes far longer to write beside that.
        list(self._threads.map(settle.make_durable, (one.staging for one in decided)))
        return outcomes

    def make(self, commit: Commit) -> Made:
        store = self._open.of(commit.tenant)
        before, self._prepared = self._prepared, None
        if before is not None and before[0] == commit:
            prepared = before[1]
        else:
            prepared = store.prepare(commit.sequence, contributions(commit))
        store.commit(prepared)
        return Made()

    def tend(self, tenant: str) -> Tended:
        self._upkeep.keep_up(self._open.of(tenant), clock.now())
        return Tended()

    def rehearse(self, question: Rehearse) -> Rehearsed:
        """Finish the report of a dry run with what the store would make of it; a prepared commit stays prepared."""
        from gateway.pipeline.rehearsal import rehearsed

        drop = question.drop
        store = None if question.without_store else self._open.of(drop.tenant)
        return Rehearsed(rehearsed(drop, question.staging, question.outcome, store))


def contributions(commit: Commit) -> list[Contribution]:
    """The jobs as the store takes them, in their order."""
    from gateway.store import Contribution

    return [
        Contribution(
            one.job, one.feed, one.as_of, one.staging / STORE, one.unknown_identity, one.allow_repeats,
            one.accumulating,
        )
        for one in commit.jobs
    ]  # fmt: skip


def limited(one: Contribution, question: Resolve) -> Contribution:
    """The job with how many more rows may be bad before its feed takes none of them."""
    from gateway.pipeline.result_form import errors_max

    if (drop := question.drops.get(one.job)) is None:
        return one
    counts = question.outcomes[one.job].counts
    return replace(one, rejections_max=errors_max(drop, counts.total) - counts.rejected)


def jobs_of(plain: Sequence[Mapping[str, Any]]) -> tuple[StagedJob, ...]:
    """The jobs of a commit as the ledger keeps them."""
    return tuple(map(StagedJob.from_plain, plain))
