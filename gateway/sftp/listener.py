"""The SFTP listener: opens the port, keeps count of connections and sessions, and ends them all at the stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncssh
import structlog

from gateway.config import LiveSettings
from gateway.ledger import Ledger
from gateway.ledger.turn_lock import TENANT
from gateway.sftp import crypto, host_keys
from gateway.sftp.certificates import SIGNATURES
from gateway.sftp.common import Common, alone
from gateway.sftp.filesystem import Filesystem
from gateway.sftp.handler import check_asyncssh
from gateway.sftp.inbox import Inbox
from gateway.sftp.keyring import Keyring
from gateway.sftp.limits import allow_descriptors
from gateway.sftp.logged_in import Login, event_of
from gateway.sftp.login import LoginServer
from gateway.sftp.loop_shares import LoopShares
from gateway.sftp.names import Names
from gateway.sftp.proving import check_connection
from gateway.sftp.session import SftpSession
from gateway.sftp.uploads import Wakes

log = structlog.get_logger(__name__)

CHANNEL_PACKET_BYTES = 256 * 1024
"""Of a packet of SSH, each of which costs the same, however long: OpenSSH's sftp writes 255 KiB at once."""
STOP_SECONDS = 10.0


class SftpListener:
    """The SFTP server of a gateway."""

    def __init__(self, live: LiveSettings, ledger: Ledger, pickup: Wakes, common: Common | None = None) -> None:
        self._live = live
        self._ledger = ledger
        self._pickup = pickup
        self._keyring = Keyring(live)
        self._shares = LoopShares()
        common = common or alone(live, ledger, pickup)
        self._doors = common.doors
        self._pressure = common.pressure
        self._handles = common.handles
        self._sessions_by_tenant = common.sessions
        self._bandwidth = common.bandwidth
        self._uploads = common.uploads
        self._audit = common.audit
        self._defender = common.defender
        self._connections: dict[asyncssh.SSHServerConnection, LoginServer] = {}
        self._sessions: set[SftpSession] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self) -> int:
        """Listen; the port that was bound. Raises ConfigError for host keys, or an asyncssh, that cannot be used."""
        check_asyncssh()
        check_connection()
        allow_descriptors()
        settings = self._live.current
        await asyncio.to_thread(self._uploads.recover)
        sftp = settings.gateway.sftp
        options: dict[str, Any] = {
            **crypto.listener_options(sftp.crypto),
            "server_host_keys": host_keys.key_pairs(settings.host_key_paths),
            # Announced to whoever is logged in, so that a new key is known before the old one goes.
            "send_server_host_keys": True,
            "server_version": "gateway",
            "line_editor": False,
            "encoding": None,
            "allow_pty": False,
            "allow_scp": False,
            "agent_forwarding": False,
            "x11_forwarding": False,
            "signature_algs": sorted(SIGNATURES),
            "gss_host": None,
            "max_pktsize": CHANNEL_PACKET_BYTES,
            "keepalive_interval": sftp.keepalive_seconds,
            # A login that takes too long is ended by LoginServer, which says so.
            "login_timeout": 0,
            "reuse_port": sftp.processes > 1,
        }
        self._audit.start()
        self._defender.start()
        self._acceptor = await asyncssh.listen(sftp.host, sftp.port, server_factory=self._login_server, **options)
        return self._acceptor.get_port()

    def look_again(self) -> None:
        """End the sessions of those who may be in no longer: disabled, removed, expired, or no longer from there."""
        for login in list(self._connections.values()):
            login.look_again()
        self._uploads.look_again()

    @property
    def is_listening(self) -> bool:
        return self._acceptor is not None

    async def stop(self, drain_seconds: float) -> None:
        """No new login at once; sessions have `drain_seconds` to finish their uploads, and are then cut off."""
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()
            self._acceptor = None
        self._pressure.release()
        await asyncio.to_thread(self._uploads.drain, drain_seconds)
        connections, sessions = list(self._connections), list(self._sessions)
        for connection in connections:
            connection.abort()
        await finished([asyncio.ensure_future(connection.wait_closed()) for connection in connections])
        await finished([session.served for session in sessions if session.served is not None])
        self._keyring.close()
        await asyncio.to_thread(self._defender.stop)
        await asyncio.to_thread(self._audit.stop)

    def _login_server(self) -> LoginServer:
        settings = self._live.current.gateway
        server = LoginServer(
            self._keyring,
            self._connections,
            self._open_session,
            self._doors,
            settings.limits,
            self._defender,
            self._audit,
            login_seconds_max=settings.sftp.login_seconds_max,
        )
        server.on_login = self._shares.follow
        return server

    def _open_session(self, login: Login, on_end: Callable[[SftpSession], None]) -> SftpSession:
        def open_filesystem(channel: Any, tell: Any) -> Filesystem:
            TENANT.set(login.tenant)
            names = Names(self._live, self._ledger, self._uploads, login)
            inbox = Inbox(self._live, self._ledger, self._pickup, self._uploads, names, login)
            return Filesystem(
                channel,
                tell,
                live=self._live,
                login=login,
                names=names,
                inbox=inbox,
                uploads=self._uploads,
                audit=self._audit,
                handles=self._handles,
                pressure=self._pressure,
            )

        def end(session: SftpSession) -> None:
            self._sessions.discard(session)
            self._sessions_by_tenant.discard(login.tenant, session)
            on_end(session)

        def note_refusal(sentence: str) -> None:
            self._audit.add(event_of(login, "request", "refused", detail=sentence))

        def note_bad_packet(reason: str) -> None:
            note_refusal(f"bad packet: {reason}")
            self._defender.blame(login.address, self._defender.settings.bad_packet_points)

        limits = self._live.current.gateway.limits
        session = SftpSession(
            open_filesystem,
            note_refusal,
            note_bad_packet,
            on_end=end,
            idle_seconds=limits.idle_seconds,
            handles_max=self._live.current.gateway.sftp.handles_max_per_session,
            pace=self._bandwidth.pace(login.username, limits),
            window_bytes=self._sessions_by_tenant.window(login.tenant, limits),
        )
        self._sessions.add(session)
        self._sessions_by_tenant.add(login.tenant, session)
        return session


async def finished(waiting: list[asyncio.Future[None]] | list[asyncio.Task[None]]) -> None:
    """Wait for all of them, for as long as is reasonable."""
    if waiting:
        _, late = await asyncio.wait(waiting, timeout=STOP_SECONDS)
        if late:
            log.warning("sessions did not end in time", count=len(late))
