"""What a process of the port has instead of counts and bans of its own: it asks the desk, which knows of all.

An answer takes a tenth of a millisecond, and is asked for with each connection, login, session and file; not with
what is read and written.
"""

from __future__ import annotations

import threading
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

import asyncssh

from gateway.config import LimitSettings, LiveSettings
from gateway.errors import GatewayError, UploadRefused
from gateway.ledger import Ledger
from gateway.sftp.defender import Defender
from gateway.sftp.desk import Failed, asked
from gateway.sftp.limits import Doors, Handles, Sessions
from gateway.sftp.pressure import BackPressure


class Asking:
    """The desk, as a process sees it: `ask("come", address)` is the `come` of `desk.Guest`."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def ask(self, name: str, *arguments: object) -> Any:
        found = asked(self._pipe, self._lock, (name, arguments))
        if isinstance(found, Failed):
            raise GatewayError(f"{name} failed in the gateway's own process: {found.error}")
        return found


class FarPickup:
    """Pickup, which is in the gateway's own process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def wake(self) -> None:
        self._ask(None)

    def claim_now(self, drop_id: str) -> None:
        self._ask(drop_id)

    def _ask(self, drop_id: str | None) -> None:
        if wrong := asked(self._pipe, self._lock, drop_id):
            raise GatewayError(wrong)


class FarDoors(Doors):
    """The connections of all processes."""

    def __init__(self, asking: Asking) -> None:
        super().__init__()
        self._asking = asking

    def come(self, address: str, limits: LimitSettings) -> str | None:
        refusal: str | None = self._asking.ask("come", address)
        return refusal

    def log_in(self, address: str, tenant: str, username: str, limits: LimitSettings) -> str | None:
        refusal: str | None = self._asking.ask("log_in", address, tenant, username)
        return refusal

    def log_out(self, tenant: str, username: str) -> None:
        self._asking.ask("log_out", tenant, username)

    def go(self, address: str, *, named: bool) -> None:
        self._asking.ask("go", address, named)


class FarHandles(Handles):
    """The open files of all processes."""

    def __init__(self, asking: Asking) -> None:
        super().__init__()
        self._asking = asking

    def take(self, tenant: str, limits: LimitSettings) -> None:
        if refusal := self._asking.ask("take_handle", tenant):
            raise UploadRefused(refusal)

    def give_back(self, tenant: str) -> None:
        self._asking.ask("give_back", tenant)


class FarSessions(Sessions):
    """The sessions of all processes. A session counts from the moment at which it gets its window."""

    def __init__(self, asking: Asking) -> None:
        super().__init__()
        self._asking = asking
        self._numbers = count()
        self._next = 0
        self._number_of: dict[object, int] = {}

    def window(self, tenant: str, limits: LimitSettings) -> int:
        self._next = next(self._numbers)
        found = self._asking.ask("begin_session", tenant, self._next)
        if isinstance(found, str):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, found)
        window: int = found
        return window

    def add(self, tenant: str, session: object) -> None:
        self._number_of[session] = self._next

    def discard(self, tenant: str, session: object) -> None:
        if (number := self._number_of.pop(session, None)) is not None:
            self._asking.ask("end_session", tenant, number)


class FarDefender(Defender):
    """The bans of all processes. The gateway's own process keeps them and writes them down."""

    def __init__(self, live: LiveSettings, asking: Asking) -> None:
        # Not the parent's: what that loads and keeps is the desk's.
        self._live = live
        self._asking = asking

    def start(self) -> None:
        """Nothing is to be written from here."""

    def stop(self) -> None:
        """As with `start`."""

    def refusal(self, address: str | None) -> str | None:
        refusal: str | None = self._asking.ask("refusal", address)
        return refusal

    def refuses_passwords(self, username: str) -> bool:
        return bool(self._asking.ask("refuses_passwords", username))

    def blame(self, address: str | None, points: float) -> None:
        self._asking.ask("blame", address, points)

    def blame_user(self, username: str, points: float) -> None:
        self._asking.ask("blame_user", username, points)

    def note_key_login(self, address: str | None) -> None:
        self._asking.ask("note_key_login", address)


class FarPressure(BackPressure):
    """One line for each tenant through all processes."""

    def __init__(self, ledger: Ledger, asking: Asking) -> None:
        super().__init__(ledger)
        self._asking = asking

    async def _wait_in_line(self, tenant: str) -> None:
        await self._pause(self._asking.ask("turn", tenant))
