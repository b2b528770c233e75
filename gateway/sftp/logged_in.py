"""Who is logged in, and what the audit says of them."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ledger.audit import Event


@dataclass(frozen=True, slots=True)
class Login:
    """Who is at the other end of a session."""

    tenant: str
    username: str
    address: str | None
    client: str | None
    fingerprint: str | None = None
    """Of the key that logged in."""


def event_of(
    login: Login,
    action: str,
    result: str = "ok",
    subject: str | None = None,
    size: int | None = None,
    detail: str | None = None,
) -> Event:
    """What a login did, for the audit."""
    who = (login.tenant, login.username, login.address, login.fingerprint, login.client)
    return Event(action, result, *who, subject, size, detail)
