"""A partner with a script: what a client does step by step, and again when the gateway died before its answer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import paramiko
from paramiko.sftp import CMD_CLOSE

from tests.faults.site import Site
from tests.waiting import until

R = TypeVar("R")
ROWS = b"".join(b"user-%05d,Name of user %05d,%d\n" % (number, number, number % 90) for number in range(5000))
# One row is rejected and one has a value that is dropped, so that there is every kind of result.
PEOPLE = b"identity,Name,Age\n,Nobody,1\nold,Old,900\n" + ROWS
MORE = b"identity,Name,Age\nann,Ann,30\nbob,Bob,\n,Nobody,2\n"
WRITE_BYTES = 32768
TIME = 1_600_000_000

Script = Callable[["Partner"], None]


class GatewayDied(Exception):
    """The connection ended, and the gateway with it."""


class Partner:
    """One client. `acknowledged` are the contents that the gateway has taken, apart from those in `taken_back`."""

    def __init__(self, site: Site, *, retries: bool = True) -> None:
        self.site = site
        self.retries = retries
        self.acknowledged: list[bytes] = []
        self.taken_back: list[bytes] = []
        self.folder = f"/inbox/{site.feed}"

    @contextlib.contextmanager
    def connected(self) -> Iterator[paramiko.SFTPClient]:
        """A connection of its own for each step; GatewayDied when it breaks because the gateway was killed."""
        transport = None
        try:
            transport = paramiko.Transport(socket.create_connection(("127.0.0.1", self.site.port)))
            key = paramiko.Ed25519Key.from_private_key_file(str(self.site.root / "client"))
            transport.connect(username="acme-ann", pkey=key)
            client = paramiko.SFTPClient.from_transport(transport)
            assert client is not None
            yield client
        except (EOFError, OSError, paramiko.SSHException) as error:
            if transport is not None and transport.is_active() and not is_disconnection(error):
                raise
            until(self.site.has_died, self.site.log)
            raise GatewayDied from error
        finally:
            if transport is not None:
                transport.close()

    def surely(self, step: Callable[[], R]) -> R:
        """Do a step; when the gateway died over it, do it again with the next one."""
        while True:
            try:
                return step()
            except GatewayDied:
                self.site.see_it_die()
                self.site.serve()
                if not self.retries:
                    raise

    def put(self, name: str, content: bytes) -> None:
        """Until it is acknowledged."""

        def step() -> None:
            with self.connected() as client:
                write(client, f"{self.folder}/{name}", content)

        self.surely(step)

    def exists(self, name: str) -> bool:
        with self.connected() as client, contextlib.suppress(FileNotFoundError):
            client.stat(f"{self.folder}/{name}")
            return True
        return False


def write(client: paramiko.SFTPClient, path: str, content: bytes, mode: str = "w") -> None:
    """Raises OSError when the gateway refuses the close: paramiko's own `close` swallows the answer."""
    file = client.open(path, mode)
    file.write(content)
    request(client, CMD_CLOSE, file.handle)
    vars(file)["_closed"] = True


def request(client: paramiko.SFTPClient, kind: int, *arguments: object) -> None:
    """One SFTP request and its answer. Raises OSError."""
    send: Any = vars(paramiko.SFTPClient)["_request"]
    send(client, kind, *arguments)


def is_disconnection(error: Exception) -> bool:
    """Whether an error of paramiko is about the connection, and not an answer of the server."""
    return isinstance(error, EOFError | ConnectionError | paramiko.SSHException) or "ocket is closed" in str(error)


def put(partner: Partner) -> None:
    """As rclone and lftp do: the whole file, then its time."""
    partner.put("a.csv", PEOPLE)
    partner.acknowledged.append(PEOPLE)

    def set_time() -> None:
        with partner.connected() as client:
            client.utime(f"{partner.folder}/a.csv", (TIME, TIME))

    partner.surely(set_time)


def rename(partner: Partner) -> None:
    """As WinSCP does: under a temporary name, then the final one."""

    def give_its_name() -> bool:
        with partner.connected() as client:
            try:
                client.posix_rename(f"{partner.folder}/a.csv.filepart", f"{partner.folder}/a.csv")
            except FileNotFoundError:
                return False
        return True

    partner.put("a.csv.filepart", PEOPLE)
    # The answer may have been lost, and not the rename; the file, which was acknowledged, must be somewhere.
    if not partner.surely(give_its_name):
        assert partner.surely(lambda: partner.exists("a.csv")), "an acknowledged file is gone"
    partner.acknowledged.append(PEOPLE)


def overwrite(partner: Partner) -> None:
    """The name again with other bytes, when the first have been processed."""
    partner.put("a.csv", PEOPLE)
    partner.acknowledged.append(PEOPLE)
    partner.site.ended()
    partner.put("a.csv", MORE)
    partner.acknowledged.append(MORE)


def resume(partner: Partner) -> None:
    """Half of a file, a connection that breaks, and then what is missing, as `reput` and `curl -C -` do."""
    half = len(PEOPLE) // 2

    def begin() -> None:
        with partner.connected() as client:
            file = client.open(f"{partner.folder}/a.csv", "w")
            file.write(PEOPLE[:half])
            file.stat()
            channel = client.get_channel()
            assert channel is not None
            channel.get_transport().close()

    def go_on() -> None:
        with partner.connected() as client:
            try:
                have = client.stat(f"{partner.folder}/a.csv").st_size or 0
            except FileNotFoundError:
                have = 0
            if have == len(PEOPLE):
                # Whole, and nobody knows whether it was closed: the client sends it again.
                have = 0
            write(client, f"{partner.folder}/a.csv", PEOPLE[have:], "a" if have else "w")

    partner.surely(begin)
    # The gateway may see later than the client that the connection is gone.
    until(lambda: partner.site.has_died() or not partner.site.rows("SELECT 1 FROM uploads WHERE state = 'open'"))
    partner.surely(go_on)
    partner.acknowledged.append(PEOPLE)


def append(partner: Partner) -> None:
    """More bytes for a file that has been processed: all of them are the next generation."""
    partner.put("a.csv", PEOPLE)
    partner.acknowledged.append(PEOPLE)
    partner.site.ended()

    def add() -> None:
        with partner.connected() as client:
            size = client.stat(f"{partner.folder}/a.csv").st_size
            if size == len(PEOPLE):
                write(client, f"{partner.folder}/a.csv", b"zoe,Zoe,7\n", "a")

    partner.surely(add)
    partner.acknowledged.append(PEOPLE + b"zoe,Zoe,7\n")


def remove(partner: Partner) -> None:
    """Sent by mistake, and taken back at once; then the right one."""
    partner.put("a.csv", MORE)
    partner.taken_back.append(MORE)

    def take_back() -> None:
        with partner.connected() as client, contextlib.suppress(FileNotFoundError):
            client.remove(f"{partner.folder}/a.csv")

    partner.surely(take_back)
    partner.put("a.csv", PEOPLE)
    partner.acknowledged.append(PEOPLE)


def held(partner: Partner) -> None:
    """Cut off and closed like a whole file, as Ctrl-C does it; when it is held, the whole file."""
    partner.put("a.csv", PEOPLE[:-10])
    partner.taken_back.append(PEOPLE[:-10])

    def see_it_held() -> None:
        until(lambda: partner.site.has_died() or partner.site.is_held(), partner.site.log)
        if partner.site.has_died():
            raise GatewayDied

    partner.surely(see_it_held)
    partner.put("a.csv", PEOPLE)
    partner.acknowledged.append(PEOPLE)


def marked(partner: Partner) -> None:
    """The file, and the marker that shows that it is whole."""
    partner.site.ask_for_markers()
    partner.put("a.csv", PEOPLE)
    partner.put("a.csv.done", b"")
    partner.acknowledged.append(PEOPLE)


def local(partner: Partner) -> None:
    """A program on the gateway's own machine moves a file into the inbox."""
    partner.site.put_locally("a.csv", PEOPLE)
    partner.acknowledged.append(PEOPLE)


SCRIPTS: dict[str, Script] = {
    script.__name__: script for script in (put, rename, overwrite, resume, append, remove, held, marked, local)
}
