"""The SFTP session: frames a channel's packets, writes and reads on a short path, hands the rest to asyncssh's handler.

A session that asks for a command instead of SFTP is answered by `checksums`.

Because it sees the packets, it knows a client's CLOSE from a broken connection (DESIGN.md, invariant 2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncssh
import structlog

from gateway.sftp import checksums, packets
from gateway.sftp.answers import answer, origin
from gateway.sftp.backlog import give_backlog
from gateway.sftp.bandwidth import Pace
from gateway.sftp.filesystem import Filesystem
from gateway.sftp.handler import EXTENSION_NAMES, ReplyWriter, RequestFeed, RequestHandler
from gateway.sftp.handles import OpenUpload
from gateway.sftp.packets import PacketBuffer, Pieces

log = structlog.get_logger(__name__)

# Reading stops while this much waits for the handler, and goes on below it.
WAITING_BYTES_MAX = 1024 * 1024
# READ replies go out in pieces of this size, so that the channel can say in time that it has enough.
REPLY_BYTES = 128 * 1024
# So long may a session keep the event loop: then come the others, however many requests wait here.
TURN_SECONDS = 0.005
SENTENCES_MAX = 50


class SftpSession(asyncssh.SSHServerSession[bytes]):
    """One channel of a connection. `open_filesystem` makes what the handler calls, given the channel and `tell`."""

    def __init__(
        self,
        open_filesystem: Callable[[Any, Callable[[str], None]], Filesystem],
        on_refusal: Callable[[str], None],
        on_bad_packet: Callable[[str], None],
        on_end: Callable[[SftpSession], None],
        handles_max: int,
        idle_seconds: float,
        pace: Callable[[Callable[[], None]], Pace],
        window_bytes: int,
    ) -> None:
        self._open_filesystem = open_filesystem
        self._on_refusal = on_refusal
        self._on_bad_packet = on_bad_packet
        self._on_end = on_end
        self._handles_max = handles_max
        self._idle_seconds = idle_seconds
        self._pace = pace(self._pump)
        self.window_bytes = window_bytes
        self._heard_at = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._buffer = PacketBuffer()
        self._replies: list[bytes] = []
        self._reply_bytes = 0
        self._writable = True
        self._paused = False
        self._pumping = False
        self._flush_is_due = False
        self._turn_is_over = False
        self._ended = False
        self._gone = False
        self._command: str | None = None
        self._told: set[str] = set()
        self._refused: set[str] = set()
        self.served: asyncio.Task[None] | None = None
        """Runs until every handle of the session is closed."""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan
        self._clock = asyncio.get_running_loop().time
        give_backlog(chan)

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def shell_requested(self) -> bool:
        return self.exec_requested("")

    def session_started(self) -> None:
        if self._command is not None:
            self.served = asyncio.create_task(self._run(self._command))
            return
        self._feed = RequestFeed(self._channel, self._pump)
        filesystem = self._open_filesystem(self._channel, self.tell)
        self._handler = RequestHandler(filesystem, self._feed, ReplyWriter(self._channel, self._send, self._close))
        self.served = asyncio.create_task(self._serve())
        if self._idle_seconds:
            self._heard_at = self._clock()
            self._look_later(self._idle_seconds)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is None and self._command is None:
            self._heard_at = self._clock()
            self._buffer.feed(data)
            # A large request comes in several packets, and most of them change nothing.
            if not self._buffer.is_cut_off or self._buffer.bytes > WAITING_BYTES_MAX:
                self._pump()

    def eof_received(self) -> bool:
        self._end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        # Nobody takes replies any more; writes and a close that are here whole still count.
        self._gone = self._writable = True
        self._end()
        if self.served is None:
            self._on_end(self)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._pump()

    def tell(self, sentence: str) -> None:
        """Show a refusal to a person: OpenSSH's sftp shows the code of an error only, but what comes on stderr too."""
        if sentence not in self._refused and len(self._refused) < SENTENCES_MAX:
            self._refused.add(sentence)
            self._on_refusal(sentence)
        self._show(sentence)

    def _show(self, sentence: str) -> None:
        client = self._channel.get_extra_info("client_version", "")
        if "OpenSSH" in client and len(self._told) < SENTENCES_MAX and not self._channel.is_closing():
            if sentence not in self._told:
                self._channel.write_stderr(f"{sentence}\r\n".encode())
            self._told.add(sentence)

    def end(self, sentence: str) -> None:
        """Ended by the gateway: no more requests, and what is open is closed as if the connection had broken.

        A session that has not begun yet ends with the connection: a client whose channel is closed may leave before
        it has read why.
        """
        if self.served is not None and self._command is None:
            self.tell(sentence)
            self._give_up()

    def _look_later(self, seconds: float) -> None:
        self._idle_timer = asyncio.get_running_loop().call_later(seconds, self._look_for_idleness)

    def _look_for_idleness(self) -> None:
        """End the session when it has been silent for too long; one timer for all requests costs them nothing."""
        silent = self._clock() - self._heard_at
        # Who has said that he is done, but does not take the answers, uploads no more.
        is_uploading = not self._ended and any(
            isinstance(handle, OpenUpload) for handle in self._handler.files.values()
        )
        if silent < self._idle_seconds:
            self._look_later(self._idle_seconds - silent)
        elif is_uploading or not self._feed.idle or self._pace.must_wait():
            self._look_later(self._idle_seconds)
        else:
            self.tell(f"nothing was asked for {self._idle_seconds:g} seconds, so the session is ended; connect again")
            self._give_up()

    async def _run(self, command: str) -> None:
        try:
            # What is wrong is in the result; it is not to be told twice.
            filesystem = self._open_filesystem(self._channel, lambda sentence: None)
            result = await checksums.run(command, filesystem, self._channel.is_closing)
            if not self._channel.is_closing():
                self._channel.write(result.out.encode())
                self._channel.write_stderr(result.err.encode())
            self._channel.exit(result.code)
        except Exception as error:
            log.error("command failed", error=type(error).__name__, at=origin(error))
            self._channel.exit(1)
        finally:
            self._on_end(self)

    async def _serve(self) -> None:
        try:
            await self._handler.run()
        except Exception as error:
            log.error("sftp session failed", error=type(error).__name__, at=origin(error))
            self._close()
        finally:
            if self._idle_timer is not None:
                self._idle_timer.cancel()
            self._pace.end()
            self._on_end(self)

    def _pump(self) -> None:
        """Take packets while the handler is idle; a packet that cannot be framed ends the session and no other."""
        if self._pumping or self.served is None or self._command is not None:
            return
        self._pumping = True
        try:
            if not self._turn_is_over:
                self._take_packets()
        except packets.BadPacket as error:
            log.warning("sftp packet cannot be framed", reason=str(error))
            self._on_bad_packet(str(error))
            self._show(f"{error} came, and a request may have {packets.PACKET_BYTES_MAX}; the session is ended")
            self._give_up()
        except Exception as error:
            log.error("sftp session failed", error=type(error).__name__, at=origin(error))
            self._give_up()
        finally:
            self._pumping = False
        self._press_back()

    def _take_packets(self) -> None:
        turn_ends = self._clock() + TURN_SECONDS
        while self._feed.idle and self._writable and (self._ended or not self._pace.must_wait()):
            if self._clock() > turn_ends:
                self._go_on_later()
                break
            packet = self._buffer.take()
            if packet is None:
                break
            self._take(packet)
            if self._reply_bytes >= REPLY_BYTES:
                self._flush()
        if self._is_through:
            self._flush()
            self._feed.end()
        elif self._replies and not self._flush_is_due:
            # Once a turn of the event loop, however many packets it brings: asyncio complains of every write to a
            # connection that the client has reset, until it says so.
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    @property
    def _is_through(self) -> bool:
        """Whether all that came is answered, and nothing more will come."""
        return self._ended and self._feed.idle and self._writable and not self._turn_is_over

    def _go_on_later(self) -> None:
        if not self._turn_is_over:
            self._turn_is_over = True
            asyncio.get_running_loop().call_soon(self._take_next_turn)

    def _take_next_turn(self) -> None:
        self._turn_is_over = False
        self._pump()

    def _take(self, packet: Pieces) -> None:
        kind = packet[0][0]
        if self._gone and kind in packets.QUESTIONS:
            return  # Nobody is there for the answer, and megabytes of them must not be kept for him.
        if kind == packets.WRITE:
            self._reply(self._write(packet))
            return
        whole = b"".join(packet)
        if kind == packets.READ:
            self._reply(self._read(whole))
        elif kind == packets.EXTENDED and packets.extension_of(whole) not in EXTENSION_NAMES:
            message = "this server does not know that extension"
            self._reply(packets.status(packets.request_of(whole), packets.OP_UNSUPPORTED, message))
        elif kind in (packets.OPEN, packets.OPENDIR) and self._handler.open_handles >= self._handles_max:
            message = f"{self._handles_max} files and folders are open in this session; close one first"
            self.tell(message)
            self._reply(packets.status(packets.request_of(whole), packets.FAILURE, message))
        else:
            if kind == packets.CLOSE:
                self._note_close(whole)
            self._flush()
            self._feed.give(whole)

    def _write(self, packet: Pieces) -> bytes:
        write = packets.read_write(packet)
        if write is None:
            return packets.status(packets.request_of(packet[0]), packets.BAD_MESSAGE, "this WRITE is malformed")
        handle = self._handler.files.get(write.handle)
        try:
            if not isinstance(handle, OpenUpload):
                raise asyncssh.SFTPFailure("this handle is not open for writing")
            self._pace.uploaded(write.length)
            handle.write(write.pieces, write.offset, write.length)
        except Exception as error:
            return self._refusal(write.request, error, handle)
        return packets.status(write.request, packets.OK)

    def _read(self, packet: bytes) -> bytes:
        read = packets.read_read(packet)
        if read is None:
            return packets.status(packets.request_of(packet), packets.BAD_MESSAGE, "this READ is malformed")
        handle: Any = self._handler.files.get(read.handle)
        try:
            if handle is None:
                raise asyncssh.SFTPFailure("this handle is not open for reading")
            content = handle.read(read.offset, min(read.length, packets.READ_BYTES_MAX))
            self._pace.downloaded(len(content))
        except Exception as error:
            return self._refusal(read.request, error, handle)
        return packets.data(read.request, content) if content else packets.status(read.request, packets.EOF)

    def _refusal(self, request: int, error: Exception, handle: object) -> bytes:
        reply = answer(error, str(handle))
        self.tell(reply.reason)
        body = request.to_bytes(4, "big") + reply.encode(packets.SFTP_VERSION)
        return (len(body) + 1).to_bytes(4, "big") + bytes([packets.STATUS]) + body

    def _note_close(self, packet: bytes) -> None:
        handle = self._handler.files.get(packets.handle_of_close(packet) or b"")
        if isinstance(handle, OpenUpload):
            handle.closing = True

    def _reply(self, reply: bytes) -> None:
        self._replies.append(reply)
        self._reply_bytes += len(reply)

    def _flush(self) -> None:
        self._flush_is_due = False
        if self._replies:
            replies, self._replies, self._reply_bytes = self._replies, [], 0
            self._send(replies[0] if len(replies) == 1 else b"".join(replies))

    def _send(self, data: bytes) -> None:
        if not self._channel.is_closing():
            self._channel.write(data)

    def _press_back(self) -> None:
        """Back pressure: the client's window closes while too much waits here."""
        is_busy = self._turn_is_over or not (self._feed.idle and self._writable) or self._pace.must_wait()
        behind = self._buffer.bytes > WAITING_BYTES_MAX and is_busy
        if self._channel.is_closing():
            return
        if behind and not self._paused:
            self._paused = True
            self._channel.pause_reading()
        elif self._paused and not behind:
            self._paused = False
            self._channel.resume_reading()

    def _end(self) -> None:
        """Nothing more comes. What is here whole is still answered: the client may have got no further than that."""
        self._ended = True
        self._pump()

    def _give_up(self) -> None:
        self._buffer = PacketBuffer()
        self._ended = True
        self._feed.end()

    def _close(self) -> None:
        self._channel.exit(0)
