"""Pickup: the threads that turn landed drops into finished jobs.

One thread scans; it wakes at start, on a landing, on a watchdog event, when a drop settles, when another process
has changed the ledger, and every `scan_seconds`. Slots, one more than there are worker processes, take jobs through
their passage; one more thread commits what they have decided, one tries dry runs, and one publishes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import partial

import structlog

from gateway import clock
from gateway.config import LiveSettings
from gateway.engine import Engine
from gateway.ledger import Ledger, drops, jobs
from gateway.ledger.jobs import JobRow
from gateway.ledger.turn_lock import TENANT
from gateway.ledger.waiting import has_queued
from gateway.pickup import sequence
from gateway.pickup.batch import TOGETHER_MAX, Batch
from gateway.pickup.claim import finish_claims
from gateway.pickup.committing import Committer
from gateway.pickup.landing import finish_landings
from gateway.pickup.passage import Passage
from gateway.pickup.publication import Decided, Publisher
from gateway.pickup.rehearsing import Rehearser
from gateway.pickup.scan import Scan
from gateway.pickup.spares import Spares
from gateway.pickup.turns import Turns
from gateway.pickup.waiting import Statuses
from gateway.pickup.watch import Watch
from gateway.storekeeper import Storekeeper

log = structlog.get_logger()

LEDGER_POLL_SECONDS = 0.5
WALK_SPACING_SECONDS_MIN = 0.2
WALK_SPACING_TIMES = 10
"""A walk that took long keeps the next one away ten times as long, so that walks take a tenth of a core at most."""


class Pickup:
    """Starts, wakes and drains the scan and the slots. Everything that must last is in the ledger."""

    def __init__(self, live: LiveSettings, ledger: Ledger, engine: Engine, keeper: Storekeeper | None = None) -> None:
        self._live = live
        self._ledger = ledger
        self._engine = engine
        self._scan = Scan(live, ledger, self._tell_slots)
        self._statuses = Statuses(ledger)
        self._watch = Watch(self._see_event)
        self._stopping = threading.Event()
        self._bell = threading.Event()
        self._walk_wanted = True
        self._news = 0
        lock = threading.RLock()
        self._work = threading.Condition(lock)
        self._patient_work = threading.Condition(lock)
        self._running: dict[str, JobRow] = {}
        """The jobs that somebody has in hand, each as it was taken: a requeued one may be in hand anew already."""
        self._turns = Turns(live.current.gateway.engine.workers)
        self._unpublished: deque[JobRow] = deque()
        self._spares = Spares(live.current.spool_dir / "spare")
        self._publisher = Publisher(ledger, self._spares, self._see_ended)
        self._committer = Committer(
            ledger, live.current.data_dir, keeper, self._publisher.take, self._see_ended, self._are_coming
        )
        self._rehearser = Rehearser(ledger, keeper, self._publisher.take, self._see_ended)
        self._threads: list[threading.Thread] = []

    def finish_earlier(self) -> None:
        """Finish what an earlier process left behind: before anybody can upload."""
        if unfinished := finish_landings(self._live.current, self._ledger):
            log.info("landings finished that were cut short", count=unfinished)
        finish_claims(self._live.current, self._ledger)
        self._spares.collect()
        self._recover()

    def start(self) -> None:
        """Begin; the engine has a warm worker."""
        self._watch.follow(self._live.current)
        self._publisher.start()
        self._committer.start()
        self._rehearser.start()
        # One more than workers: a job is begun while the outcome of the one before is written.
        slots = [(f"slot-{number}", self._slot) for number in range(self._live.current.gateway.engine.workers + 1)]
        if self._engine.has_patient:
            slots.append(("slot-patient", partial(self._slot, patient=True)))
        for name, main in [("scan", self._scan_on), *slots]:
            thread = threading.Thread(target=main, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, drain_seconds: float = 30.0) -> None:
        """Begin no further job and let the running ones finish; those that do not go back to the queue."""
        self._stopping.set()
        self.wake()
        self._tell_slots()
        self._watch.stop()
        deadline = time.monotonic() + drain_seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        if any(thread.is_alive() for thread in self._threads):
            log.warning("the drain is over; jobs that are not decided return to the queue", jobs=sorted(self._running))
            self._engine.stop()
            for thread in self._threads:
                thread.join()
        if self._threads:
            self._rehearser.begin_to_stop()
            self._committer.stop(max(deadline - time.monotonic(), 0))
            self._rehearser.stop()
            self._publisher.stop()

    def wake(self) -> None:
        """A drop has landed: look when it settles. From any thread; returns at once."""
        self._bell.set()

    def claim_now(self, drop_id: str) -> None:
        """Claim a drop if it has settled, so that its name in the inbox is free when this returns."""
        self._scan.claim_now(drop_id)
        self._tell_slots()

    def follow_settings(self) -> None:
        """The settings are new: watch the inboxes of new tenants, and look into all."""
        self._watch.follow(self._live.current)
        self._see_event()

    def _see_event(self) -> None:
        self._walk_wanted = True
        self._bell.set()

    def _scan_on(self) -> None:
        """The scan thread. An error costs one round, never the thread."""
        rounds = Rounds(self._live.current.gateway.pickup.scan_seconds)
        version = self._ledger.data_version()
        change = None
        while not self._stopping.is_set():
            try:
                self._scan_once(rounds)
                if version != (version := self._ledger.data_version()):
                    self._tell_slots()
                if change != (now := self._ledger.change()):
                    change = now if self._statuses.follow(self._live.current) else None
            except Exception:  # Whatever it is, the drops of the next round must not wait for a restart.
                log.exception("the scan failed; the next one comes")
                self._stopping.wait(LEDGER_POLL_SECONDS)
            self._bell.wait(self._seconds_to_wait(rounds))
            self._bell.clear()

    def _scan_once(self, rounds: Rounds) -> None:
        if rounds.is_walk_due(self._walk_wanted):
            self._walk_wanted = False
            if rounds.is_full_round_due():
                self._recover()
            began = time.monotonic()
            rounds.look_again_at = self._scan.walk()
            rounds.space_walks(time.monotonic() - began - self._scan.landing_seconds)
        self._resume_staged()
        self._scan.end_holds()
        self._scan.empty_names()
        if self._scan.claim_settled() or jobs.is_pause_over(self._ledger, clock.now()):
            self._tell_slots()

    def _seconds_to_wait(self, rounds: Rounds) -> float:
        """Until a drop settles or a walk is due, and never longer than the ledger may go unread."""
        settling = drops.next_settling(self._ledger)
        until_settled = (settling - clock.now()).total_seconds() if settling else LEDGER_POLL_SECONDS
        return max(min(until_settled, rounds.seconds_to_walk(self._walk_wanted), LEDGER_POLL_SECONDS), 0)

    def _recover(self) -> None:
        """Put jobs that nobody has in hand back on their way: after a kill, or after an error of ours."""
        with self._work:
            for job in jobs.begun(self._ledger):
                if job.id in self._running:
                    continue
                log.warning("job is taken up again", job=job.id, status=job.status)
                if job.status == "pending_refresh":
                    self._running[job.id] = job
                    self._unpublished.append(job)
                else:
                    jobs.try_again(self._ledger, job.id, "its process ended", clock.now())
        self._tell_slots()

    def _resume_staged(self) -> None:
        """Publish what waited for profiles that are done by now."""
        with self._work:
            for job in sequence.resumed(self._live.current, self._ledger):
                self._running[job.id] = job
                self._unpublished.append(job)
                self._tell_slots()

    def _tell_slots(self) -> None:
        with self._work:
            self._news += 1
            self._work.notify_all()
            self._patient_work.notify_all()

    def _slot(self, *, patient: bool = False) -> None:
        """One slot: a passage at a time, until the gateway stops."""
        while not self._stopping.is_set():
            with self._work:
                seen = self._news
            begun = self._begin_next(patient=patient)
            if not begun:
                work = self._patient_work if patient else self._work
                with work:
                    while self._news == seen and not self._stopping.is_set():
                        work.wait()
                continue
            self._pass(begun, patient=patient)

    def _pass(self, begun: list[JobRow], *, patient: bool) -> None:
        """The passage of jobs of one tenant."""
        tenant = begun[0].tenant
        turn = TENANT.set(tenant)
        end_turn = self._turn_of(tenant, patient=patient)
        began = time.monotonic()
        decided: list[Decided] = []

        def spend(refused: float) -> None:
            with self._work:
                self._turns.spend(tenant, time.monotonic() - began, refused=refused)

        try:
            settings, ledger = self._live.current, self._ledger
            passages = [Passage(settings, ledger, self._spares, job, drops.get(ledger, job.drop_id)) for job in begun]
            decided = Batch(ledger, self._engine, passages, end_turn, spend, patient).run()
        except Exception:  # Whatever it is, it concerns these jobs, and the slot is needed by the others.
            log.exception("the passage broke off; it is taken up again", jobs=[job.id for job in begun])
        TENANT.reset(turn)
        end_turn()
        going = {one.job.id for one in decided}
        if waiting := [job for job in begun if job.id not in going]:
            self._see_ended(waiting)
        for one in decided:
            (self._rehearser if one.drop.dry_run else self._committer).take(one)

    def _turn_of(self, tenant: str, *, patient: bool) -> Callable[[], None]:
        """Ends a turn of the tenant, once: its worker is free, and another slot may take jobs of the tenant."""
        is_over = threading.Event()

        def end() -> None:
            if is_over.is_set():
                return
            is_over.set()
            with self._work:
                self._turns.end(tenant, patient=patient)
                # More jobs may begin, so one more slot is enough; and what else waits is not new to the patient one.
                self._news += 1
                self._work.notify()

        return end

    def _see_ended(self, ended: list[JobRow]) -> None:
        """Nobody has these jobs in hand any more: they have ended, or wait."""
        with self._work:
            for job in ended:
                if self._running.get(job.id) is job:
                    del self._running[job.id]
        # The next generation of a name may have waited for one of these, and events for these profiles.
        self._tell_slots()
        try:
            self._resume_staged()
        except Exception:  # The scan asks again; whose thread this is must outlive it.
            log.exception("what waits for profiles could not be looked at")

    def _begin_next(self, *, patient: bool) -> list[JobRow]:
        """The jobs of the next turn, all of one tenant; none when there is nothing to do."""
        with self._work:
            if self._stopping.is_set():
                return []
            try:
                begun = [self._unpublished.popleft()] if self._unpublished else self._begin_in_turn(patient)
            except Exception:  # A ledger that is locked for too long, mostly; the slot must outlive it.
                log.exception("no job could be begun; the next round tries again")
                return []
            if begun:
                self._running |= {job.id: job for job in begun}
                self._turns.begin(begun[0].tenant, patient=patient)
            return begun

    def _are_coming(self, tenant: str) -> bool:
        """Whether more jobs of the tenant are about to be decided."""
        return self._turns.under_way(tenant) > 0 or has_queued(self._ledger, tenant)

    def _begin_in_turn(self, patient: bool) -> list[JobRow]:
        if self._turns.are_taken(patient=patient):
            return []
        now = clock.now()
        waiting = jobs.waiting_tenants(self._ledger)
        # Several at once only while no other tenant waits for a worker.
        most = TOGETHER_MAX if len(waiting) == 1 and not patient else 1
        workers = self._live.current.gateway.engine.workers
        for tenant in self._turns.order(waiting, patient=patient):
            if begun := jobs.begin_next(self._ledger, now, tenant, most=most, workers=workers):
                return begun
        return []


class Rounds:
    """When the scan thread walks through the inboxes."""

    def __init__(self, scan_seconds: float) -> None:
        self._scan_seconds = scan_seconds
        self._next_round = 0.0
        self._spaced_until = 0.0
        self.look_again_at: datetime | None = None

    def is_walk_due(self, wanted: bool) -> bool:
        return self.seconds_to_walk(wanted) <= 0

    def is_full_round_due(self) -> bool:
        """True every `scan_seconds`."""
        due = time.monotonic() >= self._next_round
        if due:
            self._next_round = time.monotonic() + self._scan_seconds
        return due

    def seconds_to_walk(self, wanted: bool) -> float:
        now = time.monotonic()
        asked = 0.0 if wanted else self._next_round - now
        if self.look_again_at is not None:
            asked = min(asked, (self.look_again_at - clock.now()).total_seconds())
        return max(asked, self._spaced_until - now)

    def space_walks(self, seconds: float) -> None:
        """A walk has ended that took so long."""
        self._spaced_until = time.monotonic() + max(WALK_SPACING_SECONDS_MIN, WALK_SPACING_TIMES * seconds)
