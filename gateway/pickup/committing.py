"""Committing: what staged jobs bring goes into the store before their results are published.

One thread does it, by the storekeeper. All jobs of a tenant that may go are committed together, a bounded number; then
it is the next tenant's turn. A store that cannot be reached keeps its jobs staged, and is tried again after a pause.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway import clock
from gateway.engine import PipelineCrashed
from gateway.errors import StoreError, WorkerDied
from gateway.ledger import Ledger, commits, jobs
from gateway.ledger.commits import CommitRow
from gateway.ledger.jobs import JobRow
from gateway.locks import writing
from gateway.pickup.describe import describe
from gateway.pickup.publication import Decided
from gateway.pickup.sequence import hold_for_people
from gateway.pipeline.drop import Contributed, Drop
from gateway.storekeeper import Storekeeper
from gateway.storekeeping import Commit, Resolved, StagedJob, jobs_of

log = structlog.get_logger()

TOGETHER_MAX = 400
"""Jobs of one commit; and, but for a single job that has more, their rows."""
ROWS_TOGETHER_MAX = 1_000_000
GATHER_SECONDS = 0.3
GATHER_TIMES, GATHER_SECONDS_MAX = 3, 10.0
"""So long decided jobs wait for others of their tenant that are coming: a commit costs as much as twenty jobs, and in
a large store, of which it rewrites what it touches, more. So at least three times as long as the last one took."""
PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 60.0
"""The pause after a failure doubles up to this."""


class Committer:
    """Takes decided jobs, and hands them on to `publish` when what they bring is in the store.

    `let_go` hears of the jobs that it gives up, because they wait or are to be taken up anew; `are_coming` says whether
    more jobs of a tenant are about to be decided. Without a storekeeper everything is published at once.
    """

    def __init__(
        self,
        ledger: Ledger,
        data_dir: Path,
        keeper: Storekeeper | None,
        publish: Callable[[Decided], None],
        let_go: Callable[[list[JobRow]], None],
        are_coming: Callable[[str], bool],
    ) -> None:
        self._ledger = ledger
        self._data_dir = data_dir
        self._keeper = keeper
        self._publish = publish
        self._let_go = let_go
        self._are_coming = are_coming
        self._news = threading.Condition()
        self._waiting: defaultdict[str, list[Decided]] = defaultdict(list)
        self._line: deque[str] = deque()
        self._gathering: dict[str, float] = {}
        """Until when the jobs of a tenant wait for more of them."""
        self._took: dict[str, float] = {}
        """The seconds of a tenant's last commit."""
        self._paused_until: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._stopping = False
        self._thread = threading.Thread(target=self._commit_on, name="committer", daemon=True)

    def start(self) -> None:
        """Begin; commits that an earlier process left go first."""
        if self._keeper is None:
            return
        self._keeper.launch()
        for commit in commits.unfinished(self._ledger):
            self._line_up(commit.tenant)
        self._thread.start()

    def take(self, decided: Decided) -> None:
        """From any thread; returns at once."""
        if not brings(decided) or self._is_in(decided):
            self._publish(decided)
            return
        if self._keeper is None:
            self._run_again(decided)
            return
        with self._news:
            waiting = self._waiting[decided.job.tenant]
            if not waiting:
                self._gather(decided.job.tenant)
            waiting.append(decided)
        self._line_up(decided.job.tenant)

    def stop(self, seconds: float) -> None:
        """Return when all is committed that can be, or that time is over: the rest stays staged for the next start."""
        if self._keeper is None or not self._thread.is_alive():
            return
        with self._news:
            self._stopping = True
            self._news.notify_all()
        self._thread.join(seconds)
        self._keeper.stop()
        self._thread.join()

    @property
    def _living(self) -> Storekeeper:
        if self._keeper is None:
            raise LookupError("there is no store; all jobs are published at once")
        return self._keeper

    def _is_in(self, decided: Decided) -> bool:
        """Whether the store has what it brings: it was committed before a kill, or is only published anew."""
        was_taken = decided.job.commit_sequence is not None
        return was_taken and commits.state_of(self._ledger, decided.job.id) == "committed"

    def _run_again(self, decided: Decided) -> None:
        """It was staged for a store that is switched off since; its report would be the store's."""
        reason = "what it brings to the store is not wanted any more"
        jobs.return_to_queue(self._ledger, decided.job.id, reason, clock.now())
        self._let_go([decided.job])

    def _line_up(self, tenant: str) -> None:
        with self._news:
            if tenant not in self._line:
                self._line.append(tenant)
            self._news.notify_all()

    def _next(self) -> str | None:
        """The tenant whose turn it is; None when there is none and the gateway stops."""
        with self._news:
            while True:
                now = time.monotonic()
                begins = {tenant: self._begins_at(tenant) for tenant in self._line}
                for tenant, begin in begins.items():
                    if begin <= now:
                        self._line.remove(tenant)
                        return tenant
                if self._stopping:
                    return None
                self._news.wait(min(begins.values()) - now if begins else None)

    def _gather(self, tenant: str) -> None:
        seconds = max(GATHER_SECONDS, min(GATHER_TIMES * self._took.get(tenant, 0.0), GATHER_SECONDS_MAX))
        self._gathering[tenant] = time.monotonic() + seconds

    def _begins_at(self, tenant: str) -> float:
        """When the next commit of a tenant may begin."""
        pause = self._paused_until.get(tenant, 0.0)
        is_enough = len(self._waiting[tenant]) >= TOGETHER_MAX
        if self._stopping or is_enough or not self._waiting[tenant] or not self._are_coming(tenant):
            return pause
        return max(pause, self._gathering.get(tenant, 0.0))

    def _commit_on(self) -> None:
        while (tenant := self._next()) is not None:
            try:
                # Upkeep, reset and backup by a command wait meanwhile, and are waited for.
                with writing(self._data_dir, tenant):
                    began = time.monotonic()
                    self._commit_of(tenant)
                    self._took[tenant] = time.monotonic() - began
                    self._failures.pop(tenant, None)
                    self._tend(tenant)
            except Exception as error:  # Whatever it is, the thread is needed by the other tenants.
                self._fail(tenant, error)
            with self._news:
                if self._waiting[tenant]:
                    self._gather(tenant)
                    self._line_up(tenant)

    def _tend(self, tenant: str) -> None:
        """Upkeep that does not come about costs no job anything: it is due again after the next commit."""
        try:
            self._living.tend(tenant)
        except (StoreError, WorkerDied, PipelineCrashed) as error:
            log.warning("the store could not be tended", tenant=tenant, error=str(error))

    def _commit_of(self, tenant: str) -> None:
        """One commit: the one that was resolved before a kill, else of the jobs that wait."""
        commit = commits.unfinished_of(self._ledger, tenant)
        if commit is not None and commit.state == "resolved":
            self._finish(commit)
            return
        for one in self._take_out(tenant, {one.job.id for one in list(self._waiting[tenant]) if self._is_in(one)}):
            self._publish(one)
        with self._news:
            going = chosen(self._waiting[tenant], alone=self._failures[tenant] > 1)
        if not going:
            if commit is not None:
                commits.abandon(self._ledger, commit, "none of its jobs waits any more")
            return
        staged = [staged_job(one) for one in going]
        commit = commits.begin(self._ledger, tenant, [one.to_plain() for one in staged], clock.now())
        self._decide(*self._resolved(commit, going), going)

    def _resolved(self, commit: CommitRow, going: Sequence[Decided]) -> tuple[CommitRow, Resolved]:
        """The outcomes, and the commit, under a later number where the store has had this one."""
        asked, rejecting = (
            as_asked(commit),
            {plain["job"] for plain in commit.jobs if plain["unknown_identity"] == "reject"},
        )
        drops = {one.job.id: described(one, self._ledger) for one in going if one.job.id in rejecting}
        resolved = self._living.resolve(asked, {one.job.id: one.outcome for one in going}, drops)
        if resolved.taken is None:
            return commit, resolved
        log.warning("the store has later commits than the ledger", tenant=commit.tenant, sequence=resolved.taken)
        return self._resolved(commits.renumber(self._ledger, commit, resolved.taken + 1), going)

    def _decide(self, commit: CommitRow, resolved: Resolved, going: Sequence[Decided]) -> None:
        """From here on the outcomes are as the store has decided them; only the commit and publication are left."""
        failed = {job_id for job_id, outcome in resolved.outcomes.items() if outcome.status == "failed"}
        stay = tuple(plain for plain in commit.jobs if plain["job"] not in resolved.held | failed)
        outcomes = {job_id: outcome.to_json() for job_id, outcome in resolved.outcomes.items()}
        with self._ledger.transaction():
            for one in going:
                if one.job.id in resolved.held:
                    hold_for_people(self._ledger, one.drop.id, held_until(one))
            if stay:
                commits.resolve(self._ledger, commit, stay, outcomes, resolved.created, clock.now())
            else:
                commits.abandon(self._ledger, commit, "its jobs wait for profiles, or failed", outcomes)
        self._let_go_of(commit.tenant, set(resolved.held))
        # Before anything else can fail: whatever comes now, these outcomes are the ones to be published.
        with self._news:
            self._waiting[commit.tenant] = [
                replace(one, outcome=resolved.outcomes.get(one.job.id, one.outcome))
                for one in self._waiting[commit.tenant]
            ]
        for one in self._take_out(commit.tenant, failed):
            self._publish(one)
        if stay:
            self._finish(replace(commit, state="resolved", jobs=stay))

    def _finish(self, commit: CommitRow) -> None:
        """Make a resolved commit, and publish its jobs; one that does not wait here yet is published when it comes."""
        self._living.make(as_asked(commit))
        commits.finish(self._ledger, commit, clock.now())
        for one in self._take_out(commit.tenant, {plain["job"] for plain in commit.jobs}):
            self._publish(one)

    def _let_go_of(self, tenant: str, job_ids: set[str]) -> None:
        if gone := self._take_out(tenant, job_ids):
            self._let_go([one.job for one in gone])

    def _take_out(self, tenant: str, job_ids: set[str]) -> list[Decided]:
        """Those of the jobs that wait here; they do not any more."""
        with self._news:
            waiting = self._waiting[tenant]
            self._waiting[tenant] = [one for one in waiting if one.job.id not in job_ids]
            return [one for one in waiting if one.job.id in job_ids]

    def _fail(self, tenant: str, error: Exception) -> None:
        """Nothing is lost: the jobs stay staged. A job at which our own code fails is taken out of the others' way."""
        self._failures[tenant] += 1
        pause = min(PAUSE_SECONDS * 2 ** (self._failures[tenant] - 1), PAUSE_SECONDS_MAX)
        self._paused_until[tenant] = time.monotonic() + pause
        try:
            commit = commits.unfinished_of(self._ledger, tenant)
            if isinstance(error, StoreError):
                log.error("the store cannot be used; jobs wait for it", tenant=tenant, error=str(error), pause=pause)
            else:
                log.error("a commit was cut short; it is begun again", tenant=tenant, error=repr(error), pause=pause)
            if commit is not None:
                commits.note_failure(self._ledger, commit, str(error))
                if isinstance(error, WorkerDied | PipelineCrashed):
                    self._set_apart(commit, str(error))
        except Exception:  # The ledger is locked, perhaps; the thread is needed by the other tenants.
            log.exception("the failure of a commit could not be noted")

    def _set_apart(self, commit: CommitRow, reason: str) -> None:
        """A single job whose commit failed by a fault of ours is run again: each try counts, the last one ends it."""
        if commit.state != "begun" or len(commit.jobs) != 1 or self._failures[commit.tenant] <= 1 or self._stopping:
            return
        (job_id,) = (str(plain["job"]) for plain in commit.jobs)
        with self._ledger.transaction():
            commits.abandon(self._ledger, commit, reason)
            jobs.try_again(self._ledger, job_id, f"it could not go into the store: {reason}", clock.now())
        self._let_go_of(commit.tenant, {job_id})


def brings(one: Decided) -> bool:
    """Whether a job has anything for the store; failed, refused and repeated ones have not."""
    return one.outcome.contributed is not None and one.outcome.contributed.rows > 0


def chosen(waiting: Sequence[Decided], *, alone: bool) -> list[Decided]:
    """The jobs that go next: profiles first, then the events whose first is oldest. One only, where others failed."""
    found: list[Decided] = []
    rows = 0
    for one in sorted(waiting, key=turn):
        rows += one.outcome.contributed.rows if one.outcome.contributed else 0
        if found and (alone or len(found) == TOGETHER_MAX or rows > ROWS_TOGETHER_MAX):
            break
        found.append(one)
    return found


def turn(one: Decided) -> tuple[bool, datetime, str]:
    """By what a job goes before others (RULES.md, section 4)."""
    brought = one.outcome.contributed
    first = brought.first_event if brought and not (brought.profiles or brought.companies) else None
    return first is not None, first or one.drop.landed_at, one.job.id


def staged_job(one: Decided) -> StagedJob:
    """The job as the storekeeper takes it. Events that were held for their people are held no longer than that."""
    brought = one.outcome.contributed or Contributed()
    policy = brought.unknown_identity
    if policy == "hold" and one.drop.held_for == "profiles" and one.drop.decided is not None:
        policy = "accept"
    elif policy == "hold" and held_until(one) <= clock.now():
        policy = "reject"
    return StagedJob(
        one.job.id, one.job.feed, one.drop.landed_at, one.staging, policy, brought.allow_repeats, brought.accumulating
    )


def held_until(one: Decided) -> datetime:
    """Until when its events wait for profiles: some hours after its job began."""
    hours = one.outcome.contributed.hold_hours if one.outcome.contributed else 0
    return (one.job.start_time or one.drop.landed_at) + timedelta(hours=hours)


def as_asked(commit: CommitRow) -> Commit:
    return Commit(commit.tenant, commit.sequence, jobs_of(commit.jobs))


def described(one: Decided, ledger: Ledger) -> Drop:
    """The drop as the pipeline had it, for what is read again of it."""
    return describe(one.settings, ledger, one.job, one.drop, one.drop.sha256 or "").drop
