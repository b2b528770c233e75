"""A visit: one connection as the defender and the audit see it, until and after its login."""

from __future__ import annotations

from gateway.ledger.audit import AuditQueue, Event
from gateway.sftp.defender import Defender
from gateway.sftp.keyring import UNKNOWN_KEY, UNKNOWN_USER, Grant


class Visit:
    """What is noted of one connection, and for what it is blamed."""

    def __init__(self, defender: Defender, audit: AuditQueue, address: str | None) -> None:
        self._defender = defender
        self._audit = audit
        self._address = address
        self._unknown: set[str] = set()
        self._offered: Event | None = None
        self._half_way: Event | None = None
        self._barred: set[str] = set()
        self._greeted = False
        self._client: str | None = None

    def begin(self, client: str | None) -> None:
        """Its key exchange is done, and it asks to log in."""
        self._greeted = True
        self._client = client

    def password_refused(self, tenant: str | None, username: str, why: str, *, blames_user: bool) -> None:
        """A person may have typed a password where the username goes: an unknown one is not written anywhere."""
        if tenant is None:
            self._note_unknown(username)
            return
        self._half_way = None
        self._refuse(tenant, username, why)
        self._defender.blame(self._address, self._defender.settings.password_points)
        if blames_user:
            self._defender.blame_user(username, self._defender.settings.password_points)

    def key_refused(self, tenant: str | None, username: str, key: str, why: str) -> None:
        """A client offers all keys that it has: those that are not known are told, and counted, once, if none of them
        logs in. Whatever else bars a key is told of each."""
        if tenant is None:
            self._note_unknown(username)
            return
        event = self._event("login", "refused", tenant, username, f"{why}: {key}")
        if why == UNKNOWN_KEY:
            self._offered = event
        elif event.detail not in self._barred:
            self._barred.add(str(event.detail))
            self._audit.add(event)

    def half_way(self, tenant: str, username: str, key: str) -> None:
        """A key is proven, and a password is to follow."""
        self._half_way = self._event("login", "refused", tenant, username, f"no password came after the key {key}")

    def logged_in(self, grant: Grant) -> None:
        """By what: a key, its certificate, a password, or both."""
        self._offered = self._half_way = None
        by_key = grant.key and (grant.key.certificate.shown if grant.key.certificate else "key")
        how = [by_key or "", "password" if grant.password else ""]
        # That it was a key alone, and which, its fingerprint says.
        detail = " and ".join(filter(None, how)) if how != ["key", ""] else None
        key = grant.key.fingerprint if grant.key else None
        self._audit.add(self._event("login", "ok", grant.tenant, grant.username, detail, key))
        if key is not None:
            self._defender.note_key_login(self._address)

    def ended(self, error: Exception | None, client: str | None, *, bad_packet: bool) -> None:
        """The connection is over, and nobody had logged in."""
        points = self._defender.settings
        pending = [event for event in (self._offered, self._half_way) if event is not None]
        for event in pending:
            self._audit.add(event)
        if pending or self._barred:
            self._defender.blame(self._address, points.key_points)
        if bad_packet:
            self.bad_packet(type(error).__name__)
        elif not self._greeted and client:
            # Who says nothing at all is somebody's check that the port is open.
            self._defender.blame(self._address, points.no_login_points)

    def bad_packet(self, why: str) -> None:
        """Bytes that are not the protocol."""
        self._audit.add(Event("request", "refused", address=self._address, detail=f"bad packet: {why}"))
        self._defender.blame(self._address, self._defender.settings.bad_packet_points)

    def _note_unknown(self, username: str) -> None:
        if username not in self._unknown:
            self._unknown.add(username)
            self._refuse(None, None, UNKNOWN_USER)
            self._defender.blame(self._address, self._defender.settings.unknown_user_points)

    def _refuse(self, tenant: str | None, username: str | None, why: str) -> None:
        self._audit.add(self._event("login", "refused", tenant, username, why))

    def _event(
        self,
        action: str,
        result: str,
        tenant: str | None,
        username: str | None,
        detail: str | None,
        key: str | None = None,
    ) -> Event:
        return Event(action, result, tenant, username, self._address, key, self._client, detail=detail)
