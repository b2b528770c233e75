"""Login: one connection, from its first byte to its last; who may be in is decided by `admission`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncssh
import structlog

from gateway.config import LimitSettings
from gateway.ledger.audit import AuditQueue
from gateway.sftp.admission import Admission
from gateway.sftp.defender import Defender
from gateway.sftp.keyring import Keyring
from gateway.sftp.limits import Doors
from gateway.sftp.logged_in import Login, event_of
from gateway.sftp.proving import prove_in
from gateway.sftp.session import SftpSession
from gateway.sftp.turning_away import turn_away
from gateway.sftp.vestibule import stand_before
from gateway.sftp.visit import Visit

log = structlog.get_logger(__name__)

HANG_UP_SECONDS = 1.0

BAD_PACKETS = (asyncssh.ProtocolError, asyncssh.MACError, asyncssh.CompressionError, asyncssh.ProtocolNotSupported)


class LoginServer(asyncssh.SSHServer):
    """One connection, until it is logged in; then it opens SFTP sessions and nothing else."""

    def __init__(
        self,
        keyring: Keyring,
        connections: dict[asyncssh.SSHServerConnection, LoginServer],
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
        self.on_login: Callable[[asyncssh.SSHServerConnection, str], None] = lambda connection, tenant: None
        """Called with the connection and its tenant."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections[conn] = self
        self._address = str((self._info("peername") or [""])[0])
        self._visit = Visit(self._defender, self._audit, self._address or None)
        self._admission = Admission(
            self._keyring, self._defender, self._visit, self._address or None, self._count_refusal
        )
        prove_in(conn, self._admission)
        self._banned = self._defender.refusal(self._address or None)
        if self._banned is not None:
            turn_away(conn, self._banned)
            return
        stand_before(conn)
        if refusal := self._doors.come(self._address, self._limits):
            # As soon as the version is out, and before any key exchange: clients show it.
            asyncio.get_running_loop().call_soon(self._send_away, refusal)
        if self._login_seconds_max:
            self._login_timer = asyncio.get_running_loop().call_later(self._login_seconds_max, self._look_for_a_login)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.pop(self._connection, None)
        if self._login_timer is not None:
            self._login_timer.cancel()
        for session in [session for session in self._sessions if session.served is None]:
            # Its channel may never have come about, and then nobody else tells it.
            session.connection_lost(exc)
        if self._banned is not None:
            return
        self._doors.go(self._address, named=self._login is not None)
        # Who was one too many from the start is blamed for nothing; who was sent away after wrong tries is.
        if self._login is None and (self._tries or not self._sent_away):
            bad = isinstance(exc, BAD_PACKETS)
            self._visit.ended(exc, self._info("client_version"), bad_packet=bad)
        if self._login is not None:
            self._audit.add(event_of(self._login, "logout"))
            self._doors.log_out(self._login.tenant, self._login.username)
            log.info("logged out", tenant=self._login.tenant, user=self._login.username, address=self._login.address)

    def begin_auth(self, username: str) -> bool:
        self._keyring.refresh()
        self._visit.begin(self._info("client_version"))
        self._admission.begin(username)
        return True

    def auth_completed(self) -> None:
        grant = self._admission.grant
        if grant is None or self._sent_away:
            return
        tenant, username = grant.tenant, grant.username
        self._visit.logged_in(grant)
        fingerprint = grant.key.fingerprint if grant.key else None
        self._login = Login(tenant, username, grant.address, self._info("client_version"), fingerprint)
        log.info("logged in", tenant=tenant, user=username, address=grant.address, client=self._login.client)
        self.on_login(self._connection, tenant)
        if refusal := self._doors.log_in(self._address, tenant, username, self._limits):
            self._send_away(refusal)

    def look_again(self) -> None:
        """End it, and what it has open, when who is in by it may be so no longer."""
        grant = self._admission.grant
        if self._login is None or grant is None or self._sent_away:
            return
        if reason := self._keyring.ends(grant):
            self._audit.add(event_of(self._login, "login", "refused", detail=f"ended: {reason}"))
            sentence = f"you are logged out: {reason}; ask the gateway's operator"
            for session in list(self._sessions):
                session.end(sentence)
            self._send_away(sentence, asyncssh.DISC_SERVICE_NOT_AVAILABLE)

    def public_key_auth_supported(self) -> bool:
        return self._admission.asks_for_keys

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return not self._sent_away and self._admission.knows(username, key, as_authority=False)

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return not self._sent_away and self._admission.knows(username, key, as_authority=True)

    def password_auth_supported(self) -> bool:
        return self._admission.asks_for_passwords

    async def validate_password(self, username: str, password: str) -> bool:
        # Who does not hear that they are sent away must not go on guessing until the line is cut.
        return not self._sent_away and await self._admission.check_password(username, password)

    def change_password(self, username: str, old_password: str, new_password: str) -> bool:
        self._admission.refuse_password(username, "a changed password, which nobody may send here", is_guess=False)
        return False

    def kbdint_auth_supported(self) -> bool:
        return self._admission.asks_for_passwords

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        return not self._sent_away and await self._admission.check_answers(username, list(responses))

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

    def _count_refusal(self) -> None:
        self._tries += 1
        if self._tries >= self._limits.tries_max:
            self._send_away(f"{self._tries} keys and passwords were wrong; check which one is yours, and connect again")

    def _send_away(self, sentence: str, code: int = asyncssh.DISC_TOO_MANY_CONNECTIONS) -> None:
        """Tell it why, and hang up a moment later: a reset that overtakes the sentence would take it away."""
        if not self._sent_away:
            self._sent_away = True
            log.warning("connection sent away", address=self._address, reason=sentence)
            # Of asyncssh's own, which has no public way to send the sentence without closing at once.
            self._connection._send_disconnect(code, sentence, "en-US")
            asyncio.get_running_loop().call_later(HANG_UP_SECONDS, self._connection.abort)

    def _info(self, name: str) -> Any:
        return self._connection.get_extra_info(name)
