"""The partner's side of SFTP: log in to a gateway, drop a file, wait for its report. Nothing but SFTP is used."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import paramiko

from gateway.cli.known_hosts import HostKeys
from gateway.cli.show_report import Report
from gateway.config import did_you_mean
from gateway.errors import NotDelivered, TurnedAway

SILENT_SECONDS_MAX: Final = 120.0
POLL_SECONDS: Final = 0.25

# paramiko logs what it raises as well; the exception is what we show.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Address:
    """USER@HOST:PORT."""

    user: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that is whole in the inbox. `earlier` are the reports of its name that were there before it."""

    name: str
    path: str
    bytes: int
    sha256: str
    earlier: frozenset[str]


@dataclass(frozen=True, slots=True)
class Login:
    """How to prove who one is: a key, a password, or what `ask` gets for its question (None: there is no one to ask).

    With neither key nor password, the agent's and the user's own keys are tried before `ask`.
    """

    key: Path | None = None
    password: str | None = field(default=None, repr=False)
    ask: Callable[[str], str | None] = lambda question: None


class Hashed(io.FileIO):
    """A file that is read once, to be sent, and hashed on the way."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.hash = hashlib.sha256()

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.hash.update(data)
        return data


@contextmanager
def connect(address: Address, login: Login, host_keys: HostKeys) -> Iterator[Partner]:
    """A logged-in session.

    Raises TurnedAway when the login is refused, NotDelivered when there is no gateway to be reached.
    """
    client = paramiko.SSHClient()
    host_keys.prepare(client)
    try:
        try:
            log_in(client, address, login)
            sftp = client.open_sftp()
        except paramiko.BadHostKeyException as error:
            raise host_keys.changed(error) from error
        except paramiko.AuthenticationException as error:
            raise TurnedAway(f"{address} refused the login: {error}") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise NotDelivered(f"no connection to {address}: {words_of(error)}") from error
        yield Partner(address, sftp)
    finally:
        client.close()


def log_in(client: paramiko.SSHClient, address: Address, login: Login) -> None:
    """Log in with what is given; else with the keys that there are, then with a password that is asked for."""
    common: dict[str, Any] = {
        "hostname": address.host,
        "port": address.port,
        "username": address.user,
        "timeout": SILENT_SECONDS_MAX,
        "banner_timeout": SILENT_SECONDS_MAX,
        "auth_timeout": SILENT_SECONDS_MAX,
    }
    only_this = common | {"allow_agent": False, "look_for_keys": False}
    if login.key is not None:
        client.connect(pkey=load_key(login.key, login.ask), **only_this)
    elif login.password is not None:
        client.connect(password=login.password, **only_this)
    else:
        try:
            client.connect(**common)
        except paramiko.SSHException as error:
            # Without any key to try, paramiko raises a plain SSHException.
            no_key = str(error) == "No authentication methods available"
            if not no_key and not isinstance(error, paramiko.AuthenticationException):
                raise
            password = login.ask(f"Password of {address}")
            if password is None:
                raise paramiko.AuthenticationException("none of your keys; name one with --key") from error
            client.connect(password=password, **only_this)


def load_key(path: Path, ask: Callable[[str], str | None]) -> paramiko.PKey:
    """A private key from its file, with its passphrase where it has one."""
    try:
        return paramiko.PKey.from_path(path)
    except TypeError:  # So it comes up from below paramiko that the key has a passphrase.
        passphrase = ask(f"Passphrase of {path}")
    except (OSError, ValueError, paramiko.SSHException) as error:
        raise NotDelivered(f"{path}: this is not a private key that can be used: {error}") from error
    if passphrase is None:
        raise NotDelivered(f"{path}: the key has a passphrase, and there is no terminal to ask for it")
    # paramiko hands it on to a function that takes bytes only, whatever its own annotation says.
    as_bytes: Any = passphrase.encode()
    try:
        return paramiko.PKey.from_path(path, as_bytes)
    except ValueError as error:
        raise NotDelivered(f"{path}: the passphrase is wrong, or the key is damaged") from error


class Partner:
    """A partner's SFTP session with a gateway."""

    def __init__(self, address: Address, sftp: paramiko.SFTPClient) -> None:
        self._address = address
        self._sftp = sftp
        self._channel = sftp.get_channel()
        if self._channel is not None:
            self._channel.settimeout(SILENT_SECONDS_MAX)

    def drop(self, file: Path, folder: str, progress: Callable[[int, int], object]) -> Sent:
        """Upload under a temporary name, then rename: the inbox never shows a part, and the rename proves the end.

        `folder` is a feed's, or one in it.
        """
        target = f"/inbox/{folder}/{file.name}"
        with Hashed(file) as reader, self._in_words():
            self._check_feed(folder.partition("/")[0])
            earlier = frozenset(self._reports(folder, file.name))
            uploaded = self._sftp.putfo(reader, f"{target}.filepart", file.stat().st_size, progress)
            self._sftp.posix_rename(f"{target}.filepart", target)
            return Sent(file.name, target, uploaded.st_size or 0, reader.hash.hexdigest(), earlier)

    def prove(self, sent: Sent, folder: str, proof: str) -> None:
        """Upload what a feed asks for to believe that the file is whole: its checksum, or an empty marker."""
        target = f"/inbox/{folder}/{sent.name}"
        suffix, content = {"sha256": (".sha256", f"{sent.sha256}  {sent.name}\n"), "done_marker": (".done", "")}[proof]
        with self._in_words():
            self._sftp.putfo(io.BytesIO(content.encode()), f"{target}{suffix}.filepart", len(content))
            self._sftp.posix_rename(f"{target}{suffix}.filepart", f"{target}{suffix}")

    def report(self, sent: Sent, folder: str, deadline: float, on_held: Callable[[Report], object]) -> Report:
        """The report of this very drop: one that is new, and names the bytes that were sent.

        `deadline` is on the monotonic clock; NotDelivered says so when it has passed. `on_held` hears once of each
        reason for which the gateway holds the file meanwhile.
        """
        seen = set(sent.earlier)
        told: set[str] = set()
        while True:
            for status in self._statuses(folder, sent.name):
                if status["reason"] not in told:
                    told.add(status["reason"])
                    on_held(status)
            for name in self._reports(folder, sent.name):
                if name not in seen:
                    seen.add(name)
                    report = self._fetch(f"/outbox/{folder}/{name}")
                    if any(entry["sha256"] == sent.sha256 for entry in report["files"]):
                        return report
            if time.monotonic() > deadline:
                raise NotDelivered(
                    f"{sent.name}: no report yet. The file is safe with the gateway; "
                    f"look for /outbox/{folder}/{sent.name}.report.json later"
                )
            # Over SFTP nothing tells of a new file, so one has to look again.
            time.sleep(POLL_SECONDS)

    def _check_feed(self, feed: str) -> None:
        feeds = sorted(self._sftp.listdir("/inbox"))
        if feed not in feeds:
            shown = ", ".join(feeds) or "none"
            raise TurnedAway(f"there is no feed '{feed}' in /inbox{did_you_mean(feed, feeds)} (feeds: {shown})")

    def _reports(self, folder: str, name: str) -> list[str]:
        """The reports of a file name that the outbox shows; a later drop of the name has `.g2`, `.g3` in it."""
        return self._listed(folder, re.compile(re.escape(name) + r"(\.g\d+)?\.report\.json"))

    def _listed(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        with self._in_words():
            try:
                return [found for found in self._sftp.listdir(f"/outbox/{folder}") if pattern.fullmatch(found)]
            except FileNotFoundError:
                return []

    def _statuses(self, folder: str, name: str) -> Iterator[Report]:
        """What the gateway says of a file of that name that it holds; it may be gone again before it is read."""
        pattern = re.compile(re.escape(name) + r"(\.g\d+)?\.status\.json")
        for found in self._listed(folder, pattern):
            status = None
            with self._in_words(), suppress(FileNotFoundError):
                status = self._read(f"/outbox/{folder}/{found}")
            if status is not None:
                yield status

    def _fetch(self, path: str) -> Report:
        with self._in_words():
            return self._read(path)

    def _read(self, path: str) -> Report:
        with self._sftp.open(path) as file:
            report: Report = json.load(file)
            return report

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """The gateway's refusals as TurnedAway, a lost connection as NotDelivered."""
        try:
            yield
        except TimeoutError as error:
            raise NotDelivered(f"{self._address} has not answered for {SILENT_SECONDS_MAX:g} s") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            transport = self._channel.get_transport() if self._channel else None
            if isinstance(error, OSError) and transport is not None and transport.is_active():
                raise TurnedAway(f"{self._address} says: {words_of(error)}") from error
            raise NotDelivered(f"the connection to {self._address} was lost") from error


def words_of(error: Exception) -> str:
    """What an error says, without its number."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
