"""Login: who may open a session, with which key or password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import argon2
import asyncssh
import structlog

from gateway.config import LimitSettings, LiveSettings, UserSettings
from gateway.errors import ConfigError
from gateway.ledger.audit import AuditQueue
from gateway.sftp.defender import Defender, Visit
from gateway.sftp.limits import Doors
from gateway.sftp.session import SftpSession
from gateway.sftp.turning_away import turn_away
from gateway.sftp.uploads import Login, event_of

log = structlog.get_logger(__name__)

# Each verification takes 64 MiB and a good part of a core: a flood of guesses must not take all of them.
PASSWORD_THREADS = 2
HANG_UP_SECONDS = 1.0

BAD_PACKETS = (asyncssh.ProtocolError, asyncssh.MACError, asyncssh.CompressionError, asyncssh.ProtocolNotSupported)


class Keyring:
    """Which key or password is whose; follows the settings."""

    def __init__(self, live: LiveSettings) -> None:
        self._live = live
        self._parsed: dict[str, tuple[UserSettings, list[asyncssh.SSHKey]]] = {}
        self._hasher = argon2.PasswordHasher()
        # Verified for a user that there is not, so that the answer takes as long as for a wrong password.
        self._nobody = self._hasher.hash("nobody")
        self._threads = ThreadPoolExecutor(PASSWORD_THREADS, thread_name_prefix="password")

    @property
    def takes_passwords(self) -> bool:
        return self._live.current.gateway.sftp.passwords

    def refresh(self) -> None:
        """Take tenants and users as their files are now; broken files leave everything as it was."""
        try:
            self._live.refresh()
        except ConfigError as error:
            log.error("changed settings cannot be used; those from before stay", error=str(error))

    def tenant_of(self, username: str) -> str | None:
        found = self._live.current.user(username)
        return found[0] if found else None

    def knows_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        found = self._live.current.user(username)
        return found is not None and key in self._keys(username, found[1])

    async def knows_password(self, username: str, password: str) -> bool:
        """Takes the same time whether the user, or a password for the user, is there or not."""
        found = self._live.current.user(username)
        expected = found[1].password if found else None
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(self._threads, self._verify, expected or self._nobody, password)
        return matches and expected is not None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, expected: str, password: str) -> bool:
        try:
            return self._hasher.verify(expected, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    def _keys(self, username: str, user: UserSettings) -> list[asyncssh.SSHKey]:
        """The parsed keys of a user: parsing them at each login would be the larger part of it."""
        cached = self._parsed.get(username)
        if cached is None or cached[0] is not user:
            cached = user, list(parsed(username, user.keys))
            self._parsed[username] = cached
        return cached[1]


class LoginServer(asyncssh.SSHServer):
    """One connection, until it is logged in; then it opens SFTP sessions and nothing else."""

    def __init__(
        self,
        keyring: Keyring,
        connections: set[asyncssh.SSHServerConnection],
        open_session: Callable[[Login, Callable[[SftpSession], None]], SftpSession],
        doors: Doors,
        limits: LimitSettings,
        defender: Defender,
        audit: AuditQueue,
        login_seconds_max: float,
    ) -> None:
        self._login_seconds_max = login_seconds_max
        self._login_timer: asyncio.TimerHandle | None = None
        self._defender = defender
        self._audit = audit
        self._keyring = keyring
        self._connections = connections
        self._open_session = open_session
        self._doors = doors
        self._limits = limits
        self._login: Login | None = None
        self._tries = 0
        self._sent_away = False
        self._sessions: set[SftpSession] = set()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)
        self._address = str((self._info("peername") or [""])[0])
        self._visit = Visit(self._defender, self._audit, self._address or None)
        self._banned = self._defender.refusal(self._address or None)
        if self._banned is not None:
            turn_away(conn, self._banned)
            return
        if refusal := self._doors.come(self._address, self._limits):
            # As soon as the version is out, and before any key exchange: clients show it.
            asyncio.get_running_loop().call_soon(self._send_away, refusal)
        if self._login_seconds_max:
            self._login_timer = asyncio.get_running_loop().call_later(self._login_seconds_max, self._look_for_a_login)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._connection)
        if self._login_timer is not None:
            self._login_timer.cancel()
        for session in [session for session in self._sessions if session.served is None]:
            # Its channel may never have come about, and then nobody else tells it.
            session.connection_lost(exc)
        if self._banned is not None:
            return
        self._doors.go(self._address, named=self._login is not None)
        if self._login is None and not self._sent_away:
            bad = isinstance(exc, BAD_PACKETS)
            self._visit.ended(exc, self._info("client_version"), bad_packet=bad)
        if self._login is not None:
            self._audit.add(event_of(self._login, "logout"))
            self._doors.log_out(self._login.tenant, self._login.username)
            log.info("logged out", tenant=self._login.tenant, user=self._login.username, address=self._login.address)

    def begin_auth(self, username: str) -> bool:
        self._keyring.refresh()
        self._visit.begin(self._info("client_version"))
        return True

    def auth_completed(self) -> None:
        username = str(self._info("username"))
        tenant = self._keyring.tenant_of(username)
        if tenant is None or self._sent_away:
            return
        address = (self._info("peername") or [None])[0]
        fingerprint = self._visit.logged_in(tenant, username)
        self._login = Login(tenant, username, address, self._info("client_version"), fingerprint)
        log.info("logged in", tenant=tenant, user=username, address=address, client=self._login.client)
        if refusal := self._doors.log_in(self._address, tenant, username, self._limits):
            self._send_away(refusal)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        known = self._keyring.knows_key(username, key)
        if known:
            self._visit.key_known(key.get_fingerprint())
        else:
            self._visit.key_refused(self._keyring.tenant_of(username), username, key.get_fingerprint())
        self._count_try(known)
        return known

    def password_auth_supported(self) -> bool:
        return self._keyring.takes_passwords

    async def validate_password(self, username: str, password: str) -> bool:
        known = await self._keyring.knows_password(username, password)
        tenant = self._keyring.tenant_of(username)
        # After the verification, so that the answer takes as long as that to a wrong one, and says no more.
        if known and self._defender.refuses_passwords(username):
            self._visit.password_refused(tenant, username, "too many wrong passwords for this user; keys still work")
            return False
        if known:
            self._visit.key_known(None)
        else:
            self._visit.password_refused(tenant, username)
            # People type passwords where the username goes: an unknown one is not logged.
            user = username if tenant else None
            log.warning("login refused", user=user, address=(self._info("peername") or [None])[0])
        self._count_try(known)
        return known

    def kbdint_auth_supported(self) -> bool:
        return False

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], SftpSession] | bool:
        if self._login is None or self._sent_away:
            return False
        if len(self._sessions) >= self._limits.sessions_max_per_connection:
            count = self._limits.sessions_max_per_connection
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_RESOURCE_SHORTAGE, f"this connection has {count} sessions already; end one first"
            )
        session = self._open_session(self._login, self._sessions.discard)
        self._sessions.add(session)
        return self._connection.create_server_channel(window=session.window_bytes), session

    def _look_for_a_login(self) -> None:
        if self._login is None:
            self._send_away(f"you have not logged in within {self._login_seconds_max:g} seconds; connect again")

    def _count_try(self, known: bool) -> None:
        self._tries += not known
        if self._tries >= self._limits.tries_max and not known:
            self._send_away(f"{self._tries} keys and passwords were wrong; check which one is yours, and connect again")

    def _send_away(self, sentence: str) -> None:
        """Tell it why, and hang up a moment later: a reset that overtakes the sentence would take it away."""
        if not self._sent_away:
            self._sent_away = True
            log.warning("connection sent away", address=self._address, reason=sentence)
            # Of asyncssh's own, which has no public way to send the sentence without closing at once.
            self._connection._send_disconnect(asyncssh.DISC_TOO_MANY_CONNECTIONS, sentence, "en-US")
            asyncio.get_running_loop().call_later(HANG_UP_SECONDS, self._connection.abort)

    def _info(self, name: str) -> Any:
        return self._connection.get_extra_info(name)


def parsed(username: str, keys: tuple[str, ...]) -> list[asyncssh.SSHKey]:
    """The keys that can be read; one that cannot is logged, and the others still work."""
    found = []
    for number, text in enumerate(keys, 1):
        try:
            found.append(asyncssh.import_public_key(text))
        except asyncssh.KeyImportError:
            log.error("key cannot be read", user=username, number=number)
    return found
