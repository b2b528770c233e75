"""The defender: points for who fails to log in, bans for who goes on, and the line that a banned address gets.

All is decided in memory, on the event loop or at the desk; a thread writes what has changed to the ledger about once a
second, and takes from there what an operator has unbanned. However long a flood lasts, it is one row for each address
or user.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from gateway import clock
from gateway.config import LiveSettings
from gateway.config.addresses import is_in, plain
from gateway.config.model import DefenderSettings
from gateway.ledger import Ledger, bans
from gateway.ledger.audit import AuditQueue, Event
from gateway.ledger.bans import Kind, Name, Standing
from gateway.sftp.pace import Pace

log = structlog.get_logger(__name__)

SAVE_SECONDS = 0.5
STANDINGS_MAX = 20_000
"""Addresses and users that are kept in mind. Beyond that, those with the fewest points are forgotten."""
KNOWN_FOR = timedelta(days=30)
KNOWN_AGAIN = timedelta(hours=1)
"""So often is it noted that a key has logged in from an address."""
SCORE_MIN = 0.5
"""Fewer points than this are none."""
TOO_FAST = "Too many new connections from your address at once; try again in a few seconds, with fewer."


class Defender:
    """Who has how many points in one gateway."""

    def __init__(self, live: LiveSettings, ledger: Ledger, audit: AuditQueue) -> None:
        self._live = live
        self._ledger = ledger
        self._audit = audit
        self._lock = threading.Lock()
        self._pace = Pace()
        self._standings = bans.load(ledger)
        self._saved = set(self._standings)
        self._changed: set[Name] = set()
        self._version = ledger.data_version()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._save_on, name="defender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """When this returns, all points are in the ledger."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._save()

    @property
    def settings(self) -> DefenderSettings:
        return self._live.current.gateway.defender

    def refusal(self, address: str | None) -> str | None:
        """What an address that is banned, or comes too fast, is told instead of the server's version; else None."""
        if self._is_allowed(address) or not self.settings.enabled:
            return None
        until = self._banned_until("address", subject_of(address))
        if until is None:
            return None if self._keeps_pace(subject_of(address)) else TOO_FAST
        shown = until.strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"Too many failed logins from your address; try again after {shown}, or ask the gateway's operator."

    def refuses_passwords(self, username: str) -> bool:
        """Whether passwords of this user are refused for now; keys are not."""
        return self._banned_until("user", username) is not None

    def blame(self, address: str | None, points: float) -> None:
        """Points for an address; those that are allowed get none."""
        if not self._is_allowed(address):
            self._blame("address", subject_of(address), points)

    def blame_user(self, username: str, points: float) -> None:
        """Points for a user that there is."""
        self._blame("user", username, points)

    def note_key_login(self, address: str | None) -> None:
        """From an address where keys log in more may fail: somebody else may be behind it as well."""
        if not self.settings.enabled or self._is_allowed(address):
            return
        now, subject = clock.now(), subject_of(address)
        with self._lock:
            before = self._standing("address", subject, now)
            if before.known_at is None or now - before.known_at > KNOWN_AGAIN:
                self._set(replace(before, known_at=now))

    def _keeps_pace(self, subject: str) -> bool:
        """Those from which keys log in may come faster as well."""
        factor = self._factor(self._standings.get(("address", subject)), clock.now())
        kept = self.settings
        at_once, per_second = kept.connections_at_once * factor, kept.connections_per_second * factor
        return self._pace.admits(subject, time.monotonic(), at_once=at_once, per_second=per_second)

    def _is_allowed(self, address: str | None) -> bool:
        return address is None or is_in(address, self.settings.allow)

    def _banned_until(self, kind: Kind, subject: str) -> datetime | None:
        found = self._standings.get((kind, subject))
        now = clock.now()
        return found.banned_until if self.settings.enabled and found is not None and found.is_banned(now) else None

    def _blame(self, kind: Kind, subject: str, points: float) -> None:
        if not self.settings.enabled or not points:
            return
        now = clock.now()
        with self._lock:
            standing = self._standing(kind, subject, now)
            if not standing.is_banned(now):
                standing = replace(standing, score=standing.score + points)
                # What has decayed within a few quick tries is no reason to allow one more.
                if standing.score > self._threshold(standing, now) - SCORE_MIN:
                    standing = self._ban(standing, now)
                self._set(standing)

    def _threshold(self, standing: Standing, now: datetime) -> float:
        return self.settings.threshold * self._factor(standing, now)

    def _factor(self, standing: Standing | None, now: datetime) -> float:
        """So many times more is allowed to an address from which keys log in."""
        known = standing is not None and standing.known_at is not None and now - standing.known_at < KNOWN_FOR
        return self.settings.known_factor if known else 1.0

    def _ban(self, standing: Standing, now: datetime) -> Standing:
        """Banned: each time for twice as long. Its points begin anew, or the end of the ban would be the next one."""
        kept = self.settings
        seconds = min(kept.ban_seconds * 2 ** min(standing.bans, 30), kept.ban_seconds_max)
        until = now + timedelta(seconds=seconds)
        self._audit.add(Event("ban", subject=standing.subject, detail=f"{standing.kind} until {clock.text(until)}"))
        log.warning("banned", kind=standing.kind, subject=standing.subject, until=clock.text(until))
        return replace(standing, score=0.0, bans=standing.bans + 1, banned_until=until)

    def _standing(self, kind: Kind, subject: str, now: datetime) -> Standing:
        """How it stands now, with what has decayed."""
        found = self._standings.get((kind, subject))
        if found is None:
            return Standing(kind, subject, 0.0, now)
        passed = max(0.0, (now - found.scored_at).total_seconds())
        score = found.score * float(0.5 ** (passed / self.settings.half_life_seconds))
        current = replace(found, score=score, scored_at=now)
        forgets = timedelta(seconds=self.settings.ban_seconds_max)
        if current.banned_until is not None and now - current.banned_until > forgets:
            current = replace(current, bans=0, banned_until=None)
        return current

    def _set(self, standing: Standing) -> None:
        if standing.name not in self._standings and len(self._standings) >= STANDINGS_MAX:
            self._forget_least()
        self._standings[standing.name] = standing
        self._changed.add(standing.name)

    def _forget_least(self) -> None:
        """A tenth of all: so that this is rare."""
        now = clock.now()
        by_weight = sorted(self._standings.values(), key=lambda one: (one.is_banned(now), one.bans, one.score))
        for standing in by_weight[: STANDINGS_MAX // 10]:
            del self._standings[standing.name]

    def _forget_decayed(self) -> None:
        now = clock.now()
        for name in list(self._standings):
            standing = self._standing(*name, now)
            known = standing.known_at is not None and now - standing.known_at < KNOWN_FOR
            if standing.score < SCORE_MIN and not standing.bans and not known:
                del self._standings[name]

    def _save_on(self) -> None:
        while not self._stopping.wait(SAVE_SECONDS):
            try:
                self._save()
            except Exception as error:  # A full disk, mostly: what could not be written is written the next time.
                log.error("bans cannot be written", error=type(error).__name__)

    def _save(self) -> None:
        """Unbanned by an operator is who was saved and is gone: looked for when somebody else has written."""
        version = self._ledger.data_version()
        if version == self._version and not self._changed:
            return
        with self._ledger.transaction():
            found = bans.names(self._ledger)
            with self._lock:
                for name in self._saved - found:
                    self._standings.pop(name, None)
                self._forget_decayed()
                changed = {name: self._standings[name] for name in self._changed if name in self._standings}
                self._changed = set()
                kept = set(self._standings)
            try:
                bans.save(self._ledger, changed.values(), found - kept)
            except Exception:  # Kept for the next round, which the thread goes on to.
                self._changed |= changed.keys()
                raise
        self._saved = (found & kept) | changed.keys()
        self._version = version


def subject_of(address: str | None) -> str:
    """What is banned for an address: IPv6 by /64, which is what one subscriber has; IPv4 in IPv6 as IPv4."""
    ip = plain(address or "0.0.0.0")
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip.packed[:8] + bytes(8), 64)))
