"""Who may come in: the counts of open connections and files, and the sentences of those who are one too many.

Everything here runs on one event loop, or, where several processes serve, at the desk, one call at a time.
"""

from __future__ import annotations

import contextlib
import resource
from collections import Counter, defaultdict
from collections.abc import Hashable
from typing import TypeVar

import asyncssh

from gateway.config import LimitSettings
from gateway.errors import UploadRefused
from gateway.sftp.defender import subject_of

WINDOW_BYTES = 8 * 1024 * 1024
"""What one stream needs to be fast over a long distance."""
SMALL_WINDOW_BYTES = 256 * 1024
LARGE_WINDOWS_MAX = 8
"""So many sessions of a tenant have a large window; those that come on top share the line with them anyway."""

K = TypeVar("K", bound=Hashable)

BUSY = "close a connection that you do not need, or try again in a minute"


class Doors:
    """The open connections of a gateway, by who is at the other end.

    A tenant and an address (IPv6 by /64, which is what one subscriber has) may have a part of all connections only
    (`LimitSettings` sees to it), and those that are not logged in are counted apart: whoever takes all that he may
    leaves room for others to log in. Who is turned away takes no place of anybody's until the line is cut.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.unauthenticated = 0
        self._by_address: Counter[str] = Counter()
        self._unauthenticated_by_address: Counter[str] = Counter()
        self._by_tenant: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()
        self._turned_away_by_address: Counter[str] = Counter()
        self._turned_away_by_user: Counter[str] = Counter()

    def come(self, address: str, limits: LimitSettings) -> str | None:
        """A connection has come, and is known until `go`; a sentence where it must not stay."""
        subject = subject_of(address)
        if refusal := self._full(subject, limits):
            self._turned_away_by_address[subject] += 1
            return refusal
        self.connections += 1
        self.unauthenticated += 1
        self._by_address[subject] += 1
        self._unauthenticated_by_address[subject] += 1
        return None

    def log_in(self, address: str, tenant: str, username: str, limits: LimitSettings) -> str | None:
        """It has logged in, and counts for its tenant and user until `log_out`; a sentence where it must not stay."""
        self._named(subject_of(address))
        refusal = None
        if self._by_tenant[tenant] >= limits.connections_max_per_tenant:
            refusal = f"your tenant has {limits.connections_max_per_tenant} connections already; {BUSY}"
        elif self._by_user[username] >= limits.connections_max_per_user:
            refusal = f"you have {limits.connections_max_per_user} connections already; {BUSY}"
        if refusal is not None:
            self._turned_away_by_user[username] += 1
            return refusal
        self._by_tenant[tenant] += 1
        self._by_user[username] += 1
        return None

    def log_out(self, tenant: str, username: str) -> None:
        # The connections of a user are alike: it does not matter which of them goes while one is turned away.
        if self._turned_away_by_user[username]:
            take(self._turned_away_by_user, username)
            return
        take(self._by_tenant, tenant)
        take(self._by_user, username)

    def go(self, address: str, *, named: bool) -> None:
        """The connection has ended; `named` when it had logged in, which one that was turned away never does."""
        subject = subject_of(address)
        if not named and self._turned_away_by_address[subject]:
            take(self._turned_away_by_address, subject)
            return
        self.connections -= 1
        take(self._by_address, subject)
        if not named:
            self._named(subject)

    def _named(self, subject: str) -> None:
        self.unauthenticated -= 1
        take(self._unauthenticated_by_address, subject)

    def _full(self, subject: str, limits: LimitSettings) -> str | None:
        if self._by_address[subject] >= limits.connections_max_per_address:
            return f"your address has {limits.connections_max_per_address} connections already; {BUSY}"
        if self._unauthenticated_by_address[subject] >= limits.unauthenticated_max_per_address:
            return f"{limits.unauthenticated_max_per_address} connections of your address are logging in; {BUSY}"
        if self.connections >= limits.connections_max or self.unauthenticated >= limits.unauthenticated_max:
            return "the gateway has as many connections as it takes; try again in a minute"
        return None


class Handles:
    """The open files of each tenant: a gateway has only so many descriptors, and needs one for each connection."""

    def __init__(self) -> None:
        self._by_tenant: Counter[str] = Counter()

    def take(self, tenant: str, limits: LimitSettings) -> None:
        """One more, until `give_back`. Raises UploadRefused when the tenant has as many as it may."""
        if self._by_tenant[tenant] >= limits.handles_max_per_tenant:
            raise UploadRefused(f"your tenant has {limits.handles_max_per_tenant} files open already; close one first")
        self._by_tenant[tenant] += 1

    def give_back(self, tenant: str) -> None:
        take(self._by_tenant, tenant)


class Sessions:
    """The sessions of each tenant, and how much each may have sent that was not taken yet.

    A client that sends requests and reads no answers fills its window, and that is memory of ours.
    """

    def __init__(self) -> None:
        self._by_tenant: defaultdict[str, set[object]] = defaultdict(set)

    def window(self, tenant: str, limits: LimitSettings) -> int:
        """Of the next session. Raises ChannelOpenError when the tenant has as many as it may."""
        count = len(self._by_tenant[tenant])
        if count >= limits.sessions_max_per_tenant:
            told = f"your tenant has {count} sessions already; end one first"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, told)
        return WINDOW_BYTES if count < LARGE_WINDOWS_MAX else SMALL_WINDOW_BYTES

    def add(self, tenant: str, session: object) -> None:
        self._by_tenant[tenant].add(session)

    def discard(self, tenant: str, session: object) -> None:
        self._by_tenant[tenant].discard(session)


def allow_descriptors() -> None:
    """As many as the system lets this process have: the usual 1,024 are for programs that use select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def take(counter: Counter[K], key: K) -> None:
    """One less; a key that has none left is forgotten, or addresses would pile up."""
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
