"""Admission: what one connection has proven so far, by keys and passwords, and whether that lets it in.

Whatever the reason, the client sees the same refusal, after the same work: the reason is for the audit.
"""

from __future__ import annotations

from collections.abc import Callable

import asyncssh
import structlog
from asyncssh.saslprep import SASLPrepError, saslprep

from gateway.sftp.certificates import is_certificate, read_certificate
from gateway.sftp.defender import Defender
from gateway.sftp.keyring import KEY_FIRST, Grant, Key, Keyring
from gateway.sftp.visit import Visit

log = structlog.get_logger(__name__)

CANNOT_BE_READ = "it cannot be read, or its CA has not signed it"


class Admission:
    """The login of one connection, from its first key or password until it is in."""

    def __init__(
        self, keyring: Keyring, defender: Defender, visit: Visit, address: str | None, on_refusal: Callable[[], None]
    ) -> None:
        self._keyring = keyring
        self._defender = defender
        self._visit = visit
        self._address = address
        self._on_refusal = on_refusal
        self._username = ""
        self._offered: Key | None = None
        self._why: str | None = None
        self._key: Key | None = None
        self._password: str | None = None
        self.grant: Grant | None = None

    def begin(self, username: str) -> None:
        """A client may change its mind about the username; what was proven for another one counts no more."""
        self._username = username
        self._offered = self._key = self._password = self._why = None

    @property
    def asks_for_keys(self) -> bool:
        """Until one is proven: the methods that a client is told are the same for all users up to there."""
        return self._key is None

    @property
    def asks_for_passwords(self) -> bool:
        return self._keyring.takes_passwords

    def offer(self, blob: bytes) -> None:
        """A key or a certificate; `knows` is asked about it next, if asyncssh can read it."""
        self._why = self._password = None
        self._offered = Key(blob)
        if is_certificate(blob):
            try:
                certificate = read_certificate(blob)
            except ValueError as error:
                self._why = f"a certificate that cannot be read ({error})"
            else:
                self._offered = Key(certificate.key, certificate)

    def knows(self, username: str, key: asyncssh.SSHKey, *, as_authority: bool) -> bool:
        """Whether what is offered may log in, once it is proven. `key` is what asyncssh has read of it."""
        offered = self._offered
        if offered is None or (offered.certificate is not None) is not as_authority:
            return False
        if key.public_data != (offered.certificate.ca if offered.certificate else offered.blob):
            return False
        self._why = self._why or self._bars_key(username, offered)
        return self._why is None

    def refuse_key(self, username: str, why: str | None) -> None:
        """The key that is offered is not taken."""
        if self._offered is not None:
            # Where asyncssh could not read it, there may be a better reason than that.
            why = why or self._why or self._bars_key(username, self._offered) or CANNOT_BE_READ
            self._visit.key_refused(self._keyring.tenant_of(username), username, self._offered.shown, why)
        self._on_refusal()

    async def check_password(self, username: str, password: str) -> bool:
        """Whether it is the password; always after one verification, whoever asks and whatever bars them."""
        # Stays, and counts, when a client does not wait for the answer and begins another try.
        why, is_guess = "another try was begun before the answer", True
        try:
            matched = await self._keyring.matched(username, password)
            why, is_guess = self._bars_password(username, matched), matched is None
        finally:
            if why:
                self.refuse_password(username, why, is_guess=is_guess)
        self._password = matched
        return not why

    async def check_answers(self, username: str, answers: list[str]) -> bool:
        """Keyboard-interactive: one question, which is for the password."""
        try:
            (password,) = map(saslprep, answers)
        except (SASLPrepError, ValueError):
            self.refuse_password(username, "no answer that could be a password", is_guess=True)
            return False
        return await self.check_password(username, password)

    def refuse_password(self, username: str, why: str, *, is_guess: bool) -> None:
        """`is_guess`: it counts against the user as well, whose passwords are refused after too many of them."""
        tenant = self._keyring.tenant_of(username)
        is_guess = is_guess and self._may_guess(username)
        self._visit.password_refused(tenant, username, why, blames_user=is_guess)
        # People type passwords where the username goes: an unknown one is not logged.
        log.warning("login refused", user=username if tenant else None, address=self._address)
        self._on_refusal()

    def is_enough(self) -> bool:
        """A key has been proven by its signature, or a password: whether somebody is in by that."""
        username, tenant = self._username, self._keyring.tenant_of(self._username)
        if tenant is None:
            return False
        if self._password is None:
            self._key = self._offered
            if self._key is not None and self._keyring.needs_both(username):
                self._visit.half_way(tenant, username, self._key.shown)
                return False
        self.grant = Grant(tenant, username, self._address, self._key, self._password)
        return True

    def _bars_key(self, username: str, key: Key) -> str | None:
        why = self._keyring.bars(username, self._address) or self._keyring.bars_key(username, self._address, key)
        if why is None and self._keyring.needs_both(username) and not self._keyring.takes_passwords:
            return "this user needs a password as well, and gateway.toml says sftp.passwords = false"
        return why

    def _bars_password(self, username: str, matched: str | None) -> str:
        if why := self._keyring.bars(username, self._address):
            return why
        if self._keyring.needs_both(username) and not self._has_key(username):
            return KEY_FIRST
        if matched is None:
            return "wrong password"
        if self._defender.refuses_passwords(username):
            return "too many wrong passwords for this user; keys still work"
        return ""

    def _may_guess(self, username: str) -> bool:
        """Who is not near a login must not be able to have the user's passwords refused."""
        barred = self._keyring.bars(username, self._address) is not None
        return not barred and (not self._keyring.needs_both(username) or self._has_key(username))

    def _has_key(self, username: str) -> bool:
        """A key has been proven, and counts still."""
        return self._key is not None and self._bars_key(username, self._key) is None
