"""SFTP sessions of one user: bursts of requests, right and wrong, cut at any byte; then one that must be answered."""

from __future__ import annotations

import struct
import threading
import time
from contextlib import suppress
from itertools import pairwise
from random import Random

import paramiko

from scripts.fuzzing import names
from scripts.fuzzing.findings import Hangs, Wrong
from scripts.fuzzing.requests import HANDLE, NAME, OPEN, OPENDIR, REALPATH, STATUS, Handles, framed, request
from scripts.fuzzing.site import SECRET, Site
from scripts.fuzzing.ssh import ANSWER_SECONDS_MAX, logged_in
from scripts.fuzzing.wire import string

INIT = framed(struct.pack(">BI", 1, 3))
PROBE = 0xABCD1234
OPENED = (b"/inbox/people/a.csv", b"/inbox/people/b.part", b"/outbox/people/big.accepted.csv")
OPENINGS = (INIT,) * 12 + (
    INIT * 3, b"", framed(struct.pack(">BI", 1, 6)), framed(struct.pack(">BI", 1, 0)), framed(b"\x01"), framed(b""),
    framed(struct.pack(">BI", 1, 2**32 - 1)), framed(struct.pack(">BI", 1, 3) + string(b"x") * 40),
    b"SSH-2.0-again\r\n",
    struct.pack(">I", 2**32 - 1), struct.pack(">I", 4 * 1024 * 1024 + 1024) + b"\x01", framed(struct.pack(">BI", 2, 3)),
)  # fmt: skip
REPLY_BYTES_MAX = 8 * 1024 * 1024
kept = threading.local()


def run(site: Site, pick: Random) -> None:
    """One session. Hangs when it neither answers nor ends."""
    channel = opened(site)
    try:
        Session(channel, pick).play()
    except (OSError, EOFError) as error:
        # The gateway may end a session that is no SFTP any more; a time-out is the case that it may not.
        if isinstance(error, TimeoutError):
            raise Hangs("a session does not take what is sent") from error
    finally:
        channel.close()


def opened(site: Site) -> paramiko.Channel:
    """A session of this thread's connection, which is made anew when a case before has ended it."""
    transport: paramiko.Transport | None = getattr(kept, "transport", None)
    for fresh in (False, True):
        if transport is None or fresh or not transport.is_active():
            leave()
            transport = kept.transport = logged_in(site)
        with suppress(paramiko.SSHException, EOFError, OSError):
            channel = transport.open_session(timeout=ANSWER_SECONDS_MAX)
            channel.settimeout(ANSWER_SECONDS_MAX)
            channel.invoke_subsystem("sftp")
            return channel
    raise Hangs("no session is opened")


def leave() -> None:
    """End this thread's connection."""
    transport: paramiko.Transport | None = getattr(kept, "transport", None)
    if transport is not None:
        transport.close()
        del kept.transport


class Session:
    """The client's end of one session: it knows the handles that it was given, and what it has not read yet."""

    def __init__(self, channel: paramiko.Channel, pick: Random) -> None:
        self._channel = channel
        self._pick = pick
        self._unread = b""
        self._handles = Handles(getattr(kept, "handles", []))

    def play(self) -> None:
        pick = self._pick
        opening = pick.choice(OPENINGS)
        self._push(opening)
        if opening == INIT:
            self._take_handles()
        burst = b"".join(request(number, self._handles, pick) for number in range(pick.choice((1, 5, 30, 120))))
        is_cut = pick.random() < 0.1
        for piece in pieces(burst[: pick.randrange(len(burst))] if is_cut else burst, pick):
            self._push(piece)
        way = pick.choice(("end", "leave") if is_cut else ("end", "leave", *["probe"] * 6))
        if way == "end":
            self._channel.shutdown_write()
            self._find_the_end()
        elif way == "probe":
            self._push(framed(struct.pack(">BI", REALPATH, PROBE) + string(b".")))
            self._find_probe()
        kept.handles = [*self._handles.open, *getattr(kept, "handles", [])][:8]

    def _take_handles(self) -> None:
        """A few good handles, for what follows to use and misuse."""
        self._reply()
        asked = self._pick.sample(OPENED, 2)
        for number, path in enumerate(asked):
            flags = 1 if path.startswith(b"/outbox") else self._pick.choice((2, 10, 26, 14))
            self._push(framed(struct.pack(">BI", OPEN, number) + string(path) + struct.pack(">II", flags, 0)))
        self._push(framed(struct.pack(">BI", OPENDIR, 9) + string(self._pick.choice((b"/", b"/inbox/people")))))
        for _ in range(3):
            reply = self._reply()
            if reply[:1] == bytes([HANDLE]):
                self._handles.open.append(reply[9:])

    def _find_probe(self) -> None:
        """Until the reply to the probe comes, or the gateway ends the session because of what came before."""
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        with suppress(EOFError):
            while time.monotonic() < deadline:
                reply = self._reply()
                if reply[:1] in (bytes([NAME]), bytes([STATUS])) and reply[1:5] == struct.pack(">I", PROBE):
                    return
            raise Hangs("a session does not answer")

    def _find_the_end(self) -> None:
        """Who has said that nothing more comes gets his answers, and then the end."""
        with suppress(EOFError):
            while True:
                self._reply()

    def _reply(self) -> bytes:
        """The next reply without its length. EOFError at the end of the session."""
        length = struct.unpack(">I", self._take(4))[0]
        if length > REPLY_BYTES_MAX:
            raise Wrong(f"a reply of {length} bytes")
        reply = self._take(length)
        if SECRET.strip() in reply:
            raise Wrong("a reply holds what is outside")
        return reply

    def _take(self, count: int) -> bytes:
        while len(self._unread) < count:
            received = self._channel.recv(1024 * 1024)
            if not received:
                raise EOFError
            self._unread += received
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken

    def _push(self, data: bytes) -> None:
        """Send all of it, and take what comes meanwhile: neither side may wait for the other for ever."""
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while data:
            while self._channel.recv_ready():
                self._unread += self._channel.recv(1024 * 1024)
            if self._channel.closed or self._channel.eof_received:
                raise EOFError
            if self._channel.send_ready():
                data = data[self._channel.send(data[:100_000]) :]
            elif time.monotonic() > deadline:
                raise TimeoutError
            else:
                time.sleep(0.005)


def pieces(data: bytes, pick: Random) -> list[bytes]:
    """As it is, or cut at any byte."""
    if pick.random() < 0.7 or len(data) < 2:
        return [data]
    cuts = sorted({0, len(data), *(pick.randrange(len(data)) for _ in range(pick.choice((1, 5, 200))))})
    return [data[a:b] for a, b in pairwise(cuts)]


def noise(site: Site, pick: Random) -> None:
    """Bytes that are no packets at all, for the frames only."""
    channel = opened(site)
    try:
        with suppress(OSError, EOFError):
            channel.sendall(INIT * pick.randint(0, 1) + pick.randbytes(pick.randint(1, 4000)))
            channel.sendall(names.path(pick))
    finally:
        channel.close()
