"""The canary: what this package assumes about asyncssh's undocumented SFTP handler."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import asyncssh
import pytest
from asyncssh.sftp import SFTPServerHandler

from gateway.errors import ConfigError
from gateway.sftp import handler as our_handler
from gateway.sftp import packets
from gateway.sftp.handler import ReplyWriter, RequestFeed, RequestHandler, check_asyncssh
from tests.sftp.conftest import string


class Channel:
    """As much of a channel as the handler uses."""

    logger = asyncssh.logging.logger

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return False


class Remembering(asyncssh.SFTPServer):
    """Notes what the handler asks for."""

    def __init__(self) -> None:
        # Channel has the few methods of a real one that the handler calls.
        super().__init__(Channel())  # type: ignore[arg-type]
        self.asked: list[str] = []

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        self.asked.append(f"open {path.decode()} {pflags}")
        return "the file"

    async def close(self, file_obj: object) -> None:
        self.asked.append(f"close {file_obj}")

    def exit(self) -> None:
        self.asked.append("exit")


async def test_the_handler_asks_answers_and_keeps_its_table_as_expected() -> None:
    server, sent, closed = Remembering(), asyncio.Queue[bytes](), asyncio.Event()
    idle = asyncio.Queue[None]()
    channel = Channel()
    feed = RequestFeed(channel, lambda: idle.put_nowait(None))
    handler = RequestHandler(server, feed, ReplyWriter(channel, sent.put_nowait, closed.set))
    running = asyncio.create_task(handler.run())

    async def asked(packet: bytes) -> bytes:
        await idle.get()
        feed.give(packet)
        return await sent.get()

    assert (await asked(struct.pack(">BI", 1, 3)))[4:9] == struct.pack(">BI", packets.VERSION, 3)
    handle = None
    for number in range(2):
        reply = await asked(struct.pack(">BI", packets.OPEN, 7) + string(b"/a") + struct.pack(">II", 2, 0))
        assert reply[4] == 102
        assert reply[5:9] == struct.pack(">I", 7)
        handle = reply[13:]
        assert handler.files[handle] == "the file"
        assert handler.open_handles == number + 1
    assert handle is not None
    await asked(struct.pack(">BI", packets.CLOSE, 8) + string(handle))
    assert handle not in handler.files
    await idle.get()
    feed.end()
    await asyncio.wait_for(running, 10)
    assert closed.is_set()
    # A close for the client's CLOSE, one from the cleanup: the reason why the session marks what it saw.
    assert server.asked == ["open /a 2", "open /a 2", "close the file", "close the file", "exit"]


def test_the_installed_asyncssh_fits() -> None:
    check_asyncssh()


def test_an_asyncssh_without_what_we_reach_into_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(our_handler, "PRIVATE_ATTRIBUTES", ((asyncssh.SFTPServer, "_no_such_thing"),))
    with pytest.raises(ConfigError, match="SFTPServer has no _no_such_thing"):
        check_asyncssh()


class WithoutTable(SFTPServerHandler):
    """A later version that keeps its handles elsewhere."""

    def __init__(self, server: Any, reader: Any, writer: Any, sftp_version: int) -> None:
        super().__init__(server, reader, writer, sftp_version)
        del self._file_handles


class WithMore(SFTPServerHandler):
    """A later version that is made with other arguments."""

    def __init__(self, server: Any, reader: Any, writer: Any, sftp_version: int, window: int) -> None:
        super().__init__(server, reader, writer, sftp_version)


@pytest.mark.parametrize(("other", "problem"), [(WithoutTable, "no table _file_handles"), (WithMore, "window")])
def test_another_asyncssh_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, other: type[SFTPServerHandler], problem: str
) -> None:
    monkeypatch.setattr(our_handler, "SFTPServerHandler", other)
    with pytest.raises(ConfigError, match=problem):
        check_asyncssh()
