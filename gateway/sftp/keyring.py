"""The keyring: which key, certificate or password is whose, and why somebody may not be in. Follows the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import argon2
import structlog

from gateway import clock
from gateway.config import LiveSettings, TenantSettings, UserSettings
from gateway.config.addresses import is_in
from gateway.config.keys import KeyLine, fingerprint, parse_key
from gateway.errors import ConfigError
from gateway.sftp import certificates
from gateway.sftp.certificates import Certificate

log = structlog.get_logger(__name__)

# Each verification takes 64 MiB and a good part of a core: a flood of guesses must not take all of them.
PASSWORD_THREADS = 2

UNKNOWN_USER = "unknown user"
UNKNOWN_KEY = "unknown key"
KEY_FIRST = "this user needs a key as well, and none has been proven before the password"


@dataclass(frozen=True, slots=True)
class Key:
    """A key that a client offers, and the certificate in which it came."""

    blob: bytes
    certificate: Certificate | None = None

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)

    @property
    def shown(self) -> str:
        return f"{self.certificate.shown}: {self.fingerprint}" if self.certificate else self.fingerprint


@dataclass(frozen=True, slots=True)
class Grant:
    """By what somebody is in: looked at again for as long as they are."""

    tenant: str
    username: str
    address: str | None
    key: Key | None = None
    password: str | None = field(default=None, repr=False)
    """The hash that was matched."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user and their tenant, as they are configured now."""

    name: str
    tenant: TenantSettings
    user: UserSettings


class Keyring:
    """Which key or password is whose; follows the settings."""

    def __init__(self, live: LiveSettings) -> None:
        self._live = live
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

    def account(self, username: str) -> Account | None:
        found = self._live.current.user(username)
        return Account(found[0], self._live.current.tenants[found[0]], found[1]) if found else None

    def tenant_of(self, username: str) -> str | None:
        account = self.account(username)
        return account.name if account else None

    def needs_both(self, username: str) -> bool:
        """Whether a key and a password are needed."""
        account = self.account(username)
        return account is not None and account.user.login_with == "key_and_password"

    def bars(self, username: str, address: str | None) -> str | None:
        """Why this user may not be in from that address, whatever the key or password; None when nothing bars them."""
        account = self.account(username)
        if account is None:
            return UNKNOWN_USER
        if account.tenant.disabled:
            return "the tenant is disabled"
        if account.user.disabled:
            return "the user is disabled"
        if account.user.expires is not None and clock.now() >= account.user.expires:
            return "the user has expired"
        return self._bars_address(account, address)

    def bars_key(self, username: str, address: str | None, key: Key) -> str | None:
        """Why this key lets the user not in; None when it does."""
        account = self.account(username)
        if account is None:
            return UNKNOWN_USER
        if key.certificate is not None:
            authorities = self._authorities(account)
            return certificates.why_not(key.certificate, username, address, authorities, clock.now())
        line = next((line for line in map(parse_key, account.user.keys) if line.blob == key.blob), None)
        if line is None:
            return UNKNOWN_KEY
        if line.expires is not None and clock.now() >= line.expires:
            return "this key has expired"
        if line.allow_from and not is_in(address, line.allow_from):
            return "this key does not count from this address"
        return None

    def ends(self, grant: Grant) -> str | None:
        """Why somebody who is in may be so no longer; None as long as they may."""
        account = self.account(grant.username)
        if account is None or account.name != grant.tenant:
            return "this user is no longer configured"
        reason = self.bars(grant.username, grant.address)
        if reason is None and grant.key is not None:
            reason = self.bars_key(grant.username, grant.address, grant.key)
            reason = "this key is no longer configured" if reason == UNKNOWN_KEY else reason
            reason = f"the certificate does not count: {reason}" if reason and grant.key.certificate else reason
        if reason is None and grant.password is not None and grant.password != account.user.password:
            reason = "the password has changed"
        if reason is None and account.user.login_with == "key_and_password" and not (grant.key and grant.password):
            reason = "this user needs a key and a password now"
        return reason

    async def matched(self, username: str, password: str) -> str | None:
        """The hash that the password matches. Takes the same time whether the user, or a password for the user, is
        there or not: there is one verification in any case."""
        account = self.account(username)
        expected = account.user.password if account else None
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(self._threads, self._verify, expected or self._nobody, password)
        return expected if matches else None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, expected: str, password: str) -> bool:
        try:
            return self._hasher.verify(expected, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    def _authorities(self, account: Account) -> Iterator[KeyLine]:
        """Who may issue certificates: the gateway's own for everybody, a tenant's for its own users."""
        return map(parse_key, (*self._live.current.gateway.login.user_ca, *account.tenant.user_ca))

    def _bars_address(self, account: Account, address: str | None) -> str | None:
        lists = {
            "gateway.toml": self._live.current.gateway.login.allow_from,
            f"tenant {account.name}": account.tenant.allow_from,
            "the user": account.user.allow_from,
        }
        for owner, allowed in lists.items():
            if allowed and not is_in(address, allowed):
                return f"the address is not in allow_from of {owner}"
        return None
