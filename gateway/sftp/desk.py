"""The desk: where the processes of one port ask what only all of them together can know.

It is in the gateway's own process. Who may come in, what is counted, and who is banned is decided here, by the same
classes as in a gateway of one process; what a process had is given back when it ends, however it ends.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import asyncssh
import structlog

from gateway.config import LiveSettings
from gateway.errors import UploadRefused
from gateway.ledger import Ledger
from gateway.ledger.audit import AuditQueue
from gateway.sftp.defender import Defender
from gateway.sftp.limits import Doors, Handles, Sessions, take
from gateway.sftp.pressure import PAUSE_SECONDS
from gateway.sftp.uploads import Wakes

log = structlog.get_logger(__name__)


class Desk:
    """What all processes have in common. Of each process, one thread runs `answer_counts` and one `answer_pickup`."""

    def __init__(self, live: LiveSettings, ledger: Ledger, pickup: Wakes) -> None:
        self.live = live
        self.pickup = pickup
        self.doors = Doors()
        self.handles = Handles()
        self.sessions = Sessions()
        self._audit = AuditQueue(ledger)
        self.defender = Defender(live, ledger, self._audit)
        self.lock = threading.Lock()
        """Held while one is answered: the classes here are made for one event loop."""
        self._turns: dict[str, float] = defaultdict(float)

    def start(self) -> None:
        self._audit.start()
        self.defender.start()

    def stop(self) -> None:
        self.defender.stop()
        self._audit.stop()

    def turn(self, tenant: str) -> float:
        """How many seconds the tenant's next upload waits, one after the other in all processes."""
        now = time.monotonic()
        self._turns[tenant] = max(self._turns[tenant], now) + PAUSE_SECONDS
        return self._turns[tenant] - now

    def answer_counts(self, pipe: Connection) -> None:
        """Until the process ends."""
        guest = Guest(self)
        try:
            while True:
                name, arguments = pipe.recv()
                pipe.send(self._ask_guest(guest, name, arguments))
        except (EOFError, OSError):
            log.debug("a process of the port has ended")
        finally:
            # Who waits for an answer that cannot come must not wait for ever.
            pipe.close()
            with self.lock:
                guest.leave()

    def _ask_guest(self, guest: Guest, name: str, arguments: tuple[Any, ...]) -> Any:
        try:
            with self.lock:
                return getattr(guest, name)(*arguments)
        except Exception as error:  # A bug of ours, or a log on a full disk: it concerns one connection.
            return Failed(type(error).__name__)

    def answer_pickup(self, pipe: Connection) -> None:
        """Until the process ends."""
        try:
            while True:
                drop_id = pipe.recv()
                pipe.send(self._ask_pickup(drop_id))
        except (EOFError, OSError):
            log.debug("a process of the port has ended")
        finally:
            pipe.close()

    def _ask_pickup(self, drop_id: str | None) -> str | None:
        """A drop that is to be claimed, or None for a look; what went wrong, in words."""
        try:
            if drop_id is None:
                self.pickup.wake()
            else:
                self.pickup.claim_now(drop_id)
        except Exception as error:  # Whatever it is, it concerns one request of one session, which is told.
            return f"the file could not be claimed: {type(error).__name__}"
        return None


@dataclass(frozen=True, slots=True)
class Failed:
    """What a process is answered when the desk could not find the answer: the type of the error."""

    error: str


class Guest:
    """One process, as the desk knows it: what it asks for, and what it has. Its methods are what a process can ask."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._limits = desk.live.current.gateway.limits
        self._connections: Counter[tuple[str, bool]] = Counter()
        self._logins: Counter[tuple[str, str]] = Counter()
        self._handles: Counter[str] = Counter()
        self._sessions: set[tuple[str, int]] = set()

    def leave(self) -> None:
        """The process has ended, and all that it had is free."""
        for tenant, session in list(self._sessions):
            self.end_session(tenant, session)
        for tenant in list(self._handles.elements()):
            self.give_back(tenant)
        for address, named in list(self._connections.elements()):
            self.go(address, named)
        for tenant, username in list(self._logins.elements()):
            self.log_out(tenant, username)

    def come(self, address: str) -> str | None:
        self._connections[address, False] += 1
        return self._desk.doors.come(address, self._limits)

    def log_in(self, address: str, tenant: str, username: str) -> str | None:
        take(self._connections, (address, False))
        self._connections[address, True] += 1
        self._logins[tenant, username] += 1
        return self._desk.doors.log_in(address, tenant, username, self._limits)

    def log_out(self, tenant: str, username: str) -> None:
        take(self._logins, (tenant, username))
        self._desk.doors.log_out(tenant, username)

    def go(self, address: str, named: bool) -> None:
        take(self._connections, (address, named))
        self._desk.doors.go(address, named=named)

    def take_handle(self, tenant: str) -> str | None:
        """Why it cannot be had; None when it is."""
        try:
            self._desk.handles.take(tenant, self._limits)
        except UploadRefused as error:
            return str(error)
        self._handles[tenant] += 1
        return None

    def give_back(self, tenant: str) -> None:
        take(self._handles, tenant)
        self._desk.handles.give_back(tenant)

    def begin_session(self, tenant: str, session: int) -> int | str:
        """Its window, or why there cannot be one more."""
        try:
            window = self._desk.sessions.window(tenant, self._limits)
        except asyncssh.ChannelOpenError as error:
            return error.reason
        self._sessions.add((tenant, session))
        self._desk.sessions.add(tenant, (id(self), session))
        return window

    def end_session(self, tenant: str, session: int) -> None:
        self._sessions.discard((tenant, session))
        self._desk.sessions.discard(tenant, (id(self), session))

    def refusal(self, address: str | None) -> str | None:
        return self._desk.defender.refusal(address)

    def refuses_passwords(self, username: str) -> bool:
        return self._desk.defender.refuses_passwords(username)

    def blame(self, address: str | None, points: float) -> None:
        self._desk.defender.blame(address, points)

    def blame_user(self, username: str, points: float) -> None:
        self._desk.defender.blame_user(username, points)

    def note_key_login(self, address: str | None) -> None:
        self._desk.defender.note_key_login(address)

    def turn(self, tenant: str) -> float:
        return self._desk.turn(tenant)


def asked(pipe: Connection, lock: threading.Lock, what: Any) -> Any:
    """What the desk answers. Where nobody answers any more, this process ends, as one that is killed."""
    try:
        with lock:
            pipe.send(what)
            return pipe.recv()
    except (EOFError, OSError):
        os._exit(1)
