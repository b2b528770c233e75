"""asyncssh's own SFTP request handler, fed by our session.

`SFTPServerHandler` can be imported but is not documented: everything that is assumed about it is here, and
`check_asyncssh` looks at start-up whether it is as expected.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHConnection
from asyncssh.sftp import SFTPServerHandler

from gateway.errors import ConfigError
from gateway.sftp import packets

EXTENSIONS = (
    (b"posix-rename@openssh.com", b"1"),
    (b"hardlink@openssh.com", b"1"),
    (b"fsync@openssh.com", b"1"),
    (b"lsetstat@openssh.com", b"1"),
    (b"limits@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
)
"""What we announce. The handler knows more: copy-data reads a whole file in one request, ranges wants real files."""

PRIVATE_ATTRIBUTES: tuple[tuple[Any, str], ...] = (
    (SSHChannel, "_recv_buf"),
    (SSHConnection, "_transport"),
    (SSHConnection, "_enc_algs"),
)
"""What `backlog`, `loop_shares` and `vestibule` reach into: attributes that these make when they are made."""

EXTENSION_NAMES = frozenset(name for name, _ in EXTENSIONS)


class RequestFeed:
    """The handler's reader: one request at a time, so that its replies keep the order of the requests.

    The handler reads the length of a packet and then the packet. When it asks for a length it has answered the
    request before: it is idle, and says so.
    """

    def __init__(self, channel: Any, on_idle: Callable[[], None]) -> None:
        self.logger = channel.logger
        self.idle = False
        self._channel = channel
        self._on_idle = on_idle
        self._data = b""
        self._ended = False
        self._wanted: asyncio.Future[None] | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._channel.get_extra_info(name, default)

    def give(self, packet: bytes) -> None:
        """The next request; only while the handler is idle."""
        self.idle = False
        self._data = len(packet).to_bytes(4, "big") + packet
        self._wake()

    def end(self) -> None:
        """No request will come any more."""
        self._ended = True
        self._wake()

    async def readexactly(self, count: int) -> bytes:
        """What the handler calls."""
        if not self._data:
            await self._next_request()
        if len(self._data) < count:
            raise asyncio.IncompleteReadError(self._data, count)
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    async def _next_request(self) -> None:
        # A turn of the event loop for the other sessions, however many requests wait here.
        await asyncio.sleep(0)
        self._wanted = asyncio.get_running_loop().create_future()
        self.idle = True
        self._on_idle()
        if not self._data and not self._ended:
            await self._wanted
        self.idle = False

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)


class ReplyWriter:
    """The handler's writer: replies go out through the session."""

    def __init__(self, channel: Any, send: Callable[[bytes], None], on_close: Callable[[], None]) -> None:
        self.channel = channel
        self._send = send
        self._on_close = on_close

    def write(self, reply: bytes) -> None:
        # The handler's own VERSION announces more than this server does, and the library's version.
        self._send(packets.version(EXTENSIONS) if reply[4] == packets.VERSION else reply)

    def close(self) -> None:
        self._on_close()


class RequestHandler:
    """One SFTP session's handler, and its table of open handles."""

    def __init__(self, filesystem: asyncssh.SFTPServer, feed: RequestFeed, writer: ReplyWriter) -> None:
        # Our feed and writer have the methods that the handler uses, not the whole of asyncssh's classes.
        reader: Any = feed
        replies: Any = writer
        self._handler = SFTPServerHandler(filesystem, reader, replies, packets.SFTP_VERSION)
        self._writer = writer
        self.files: Mapping[bytes, object] = self._handler._file_handles

    @property
    def open_handles(self) -> int:
        """Files and folders together."""
        return len(self._handler._file_handles) + len(self._handler._dir_handles)

    async def run(self) -> None:
        """Until the session ends; then every handle that is still open has been closed."""
        # A client that leaves before it has said anything is no error.
        with contextlib.suppress(asyncio.IncompleteReadError):
            await self._handler.run()
        self._writer.close()


def check_asyncssh() -> None:
    """Raises ConfigError when the installed asyncssh is not built as this package needs it."""
    problems = []
    names = list(inspect.signature(SFTPServerHandler.__init__).parameters)
    if names != ["self", "server", "reader", "writer", "sftp_version"]:
        problems.append(f"SFTPServerHandler takes {', '.join(names[1:])}")
    else:
        handler = an_idle_handler()
        missing = [
            name for name in ("_file_handles", "_dir_handles") if not isinstance(getattr(handler, name, 0), dict)
        ]
        problems.extend(f"SFTPServerHandler has no table {name}" for name in missing)
    if not inspect.iscoroutinefunction(getattr(SFTPServerHandler, "run", None)):
        problems.append("SFTPServerHandler has no coroutine run()")
    if list(inspect.signature(getattr(asyncssh.SSHServerConnection, "_send_disconnect", print)).parameters)[:3] != [
        "self",
        "code",
        "reason",
    ]:
        problems.append("SSHServerConnection cannot send a disconnect with a sentence")
    problems.extend(
        f"{made.__name__} has no {name}"
        for made, name in PRIVATE_ATTRIBUTES
        if name not in made.__init__.__code__.co_names
    )
    if problems:
        raise ConfigError(
            f"asyncssh {asyncssh.__version__} does not fit this gateway: {'; '.join(problems)}; "
            "install the version that the lock file names"
        )


def an_idle_handler() -> SFTPServerHandler:
    reader: Any = type("Reader", (), {"logger": asyncssh.logging.logger})()
    server: Any = None
    return SFTPServerHandler(server, reader, server, packets.SFTP_VERSION)
