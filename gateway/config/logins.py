"""Who may log in, with what, from where and until when: the settings of users, and of all logins."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from gateway.config.addresses import networks
from gateway.config.keys import check_public_key
from gateway.config.section import Section

ROLES_THAT_UPLOAD: Final = frozenset({"admin", "creator", "approver"})

Role = Literal["admin", "creator", "approver", "viewer"]


def checked_keys(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The same lines; ValueError says which of them is wrong."""
    for number, line in enumerate(lines, 1):
        try:
            check_public_key(line)
        except ValueError as error:
            raise ValueError(f"key {number} of {len(lines)}: {error}" if len(lines) > 1 else str(error)) from None
    return lines


Networks = Annotated[tuple[str, ...], AfterValidator(networks)]
KeyLines = Annotated[tuple[str, ...], AfterValidator(checked_keys)]


class LoginSettings(Section):
    """Who may log in at all, whatever the tenant."""

    allow_from: Networks = ()
    """Addresses and networks from which one may log in, as in "203.0.113.7" or "2001:db8:1::/48"; a tenant, a user and
    a key may have such a list as well, and then all of them must name the address. None: from everywhere."""
    user_ca: KeyLines = ()
    """The public keys, each as the line of a .pub file, of those who may issue OpenSSH user certificates for the users
    of every tenant. A certificate must name the username as a principal. A tenant may have some of its own."""


class UserSettings(Section):
    """`[users.<username>]`: a login of a tenant."""

    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    """Who it is; the ledger and every report say it."""
    role: Role
    """"admin", "creator" and "approver" may upload; "viewer" only reads outbox/ and samples/."""
    keys: KeyLines = ()
    """The public keys that log in, each as the line of a .pub file. In front of a key may stand, as in OpenSSH's
    authorized_keys, from="ADDRESS,..." and expiry-time="YYYYMMDD" (UTC)."""
    password: str | None = Field(default=None, repr=False, pattern=r"^\$argon2id\$")
    """The argon2id hash of the password; `gateway user add --password-stdin` writes it."""
    login_with: Literal["key_or_password", "key_and_password"] = "key_or_password"
    """"key_or_password": one of them is enough. "key_and_password": first a key, then the password."""
    allow_from: Networks = ()
    """Addresses and networks from which this user may log in. None: from everywhere."""
    expires: datetime | None = None
    """A date or a time, as in 2027-01-01, in UTC: from then on this user cannot log in."""
    disabled: bool = False
    """Nobody can log in as this user, and sessions that are open are ended."""

    @field_validator("expires", mode="before")
    @classmethod
    def moment(cls, value: object) -> datetime | None:
        """Nothing else is taken: of a number, or a text, one could not be sure what it means."""
        if value is None:
            return None
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        raise ValueError("expected a date or a time, without quotes, as in 2027-01-01 or 2027-01-01T12:00:00Z")

    @model_validator(mode="after")
    def has_what_it_asks_for(self) -> UserSettings:
        if self.login_with == "key_and_password" and self.password is None:
            raise ValueError('login_with = "key_and_password", but there is no password; nobody could log in')
        return self

    @property
    def may_upload(self) -> bool:
        """Admins, creators and approvers upload; a viewer only reads (C4)."""
        return self.role in ROLES_THAT_UPLOAD
