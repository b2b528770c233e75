"""The processes of one port: starts them, starts another one for each that ends, and stops them all.

They share the port by SO_REUSEPORT: the kernel gives each new connection to one of them. What they know of each other
is in the ledger, in the file system and at the desk.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import DupFd

import structlog

from gateway.config import LiveSettings, Settings
from gateway.errors import GatewayError
from gateway.ledger import Ledger, audit
from gateway.ledger.audit import Event
from gateway.pickup.landing import finish_landings
from gateway.sftp.desk import Desk
from gateway.sftp.listener import STOP_SECONDS
from gateway.sftp.process import LISTENING, Given, main
from gateway.sftp.shared import SharedNumbers
from gateway.sftp.uploads import Wakes

log = structlog.get_logger(__name__)

SPAWN = get_context("spawn")
START_SECONDS_MAX = 60.0
PAUSE_SECONDS = 1.0
"""Before another one is started in place of one that has not served for so long."""


class DoesNotServe(GatewayError):
    """A process was started and does not listen."""


@dataclass(frozen=True, eq=False, slots=True)
class Serving:
    """One process that has been started."""

    process: SpawnProcess
    control: Connection
    since: float


class Processes:
    """The SFTP server of a gateway, in several processes. `lock` is the descriptor of the data directory's lock."""

    def __init__(self, live: LiveSettings, ledger: Ledger, pickup: Wakes, lock: int) -> None:
        self._live = live
        self._ledger = ledger
        self._lock = lock
        self._desk = Desk(live, ledger, pickup)
        self._serving: set[Serving] = set()
        self._restarts: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._place: socket.socket | None = None

    async def start(self) -> int:
        """Start them all; the port, when they listen. Raises OSError, or GatewayError when one of them cannot serve."""
        settings = self._live.current
        SharedNumbers.begin_anew(settings)
        self._place, self._port = bound(settings)
        self._desk.start()
        try:
            await asyncio.gather(*(self._start_one() for _ in range(settings.gateway.sftp.processes)))
        except BaseException:  # Whatever it was, no process is to be left that serves.
            await self.stop(0)
            raise
        return self._port

    def look_again(self) -> None:
        """Each process does so by itself."""

    async def stop(self, drain_seconds: float) -> None:
        """No new login at once; sessions have `drain_seconds` to finish their uploads, and are then cut off."""
        self._stopping = True
        for task in self._restarts:
            task.cancel()
        await asyncio.gather(*self._restarts, return_exceptions=True)
        await asyncio.gather(*(asyncio.to_thread(end, one, drain_seconds) for one in list(self._serving)))
        if self._place is not None:
            self._place.close()
            await asyncio.to_thread(self._desk.stop)

    async def _start_one(self) -> None:
        """Returns when it listens."""
        # As they are by now: one that comes later must know the tenants of today.
        serving, answering = begin(with_port(self._live.current, self._port), self._desk, self._lock)
        self._serving.add(serving)
        loop = asyncio.get_running_loop()
        loop.add_reader(serving.process.sentinel, self._see_end, serving, answering)
        said = await asyncio.to_thread(first_word, serving.control)
        if said != LISTENING:
            serving.process.kill()
            raise DoesNotServe(f"a process of the port does not serve: {said}")

    def _see_end(self, serving: Serving, answering: list[threading.Thread]) -> None:
        asyncio.get_running_loop().remove_reader(serving.process.sentinel)
        self._serving.discard(serving)
        if self._stopping or self._place is None:
            return
        task = asyncio.get_running_loop().create_task(self._replace(serving, answering))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _replace(self, serving: Serving, answering: list[threading.Thread]) -> None:
        """Finish what it left behind, and start another one; the others go on meanwhile."""
        how = await asyncio.to_thread(tell_end, serving)
        for thread in answering:
            # When they end, all that it had at the desk is free.
            await asyncio.to_thread(thread.join)
        pause = max(PAUSE_SECONDS - (time.monotonic() - serving.since), 0)
        while not self._stopping:
            await asyncio.sleep(pause)
            pause = PAUSE_SECONDS
            try:
                await asyncio.to_thread(finish_landings, self._live.current, self._ledger)
                # It recovers the uploads that were open in the other one, as a gateway does when it starts.
                await self._start_one()
            except DoesNotServe as error:
                # Its own end is seen too, and brings the next one.
                log.error("another process of the port will be tried", error=str(error))
                return
            except Exception as error:  # A full disk, or no memory for a process: the others go on meanwhile.
                log.error("a process of the port cannot be started; it is tried again", error=type(error).__name__)
                continue
            await asyncio.to_thread(audit.note, self._ledger, Event("start", detail=f"in place of {how}"))
            return


def begin(settings: Settings, desk: Desk, lock: int) -> tuple[Serving, list[threading.Thread]]:
    """Start a process, and the threads that answer it."""
    control, counts, pickup = (SPAWN.Pipe() for _ in range(3))
    # Not pickled before the start, which passes descriptors on.
    given = Given(settings, control[1], counts[1], pickup[1], LockOfParent(lock))
    process = SPAWN.Process(target=main, args=(given,), name="sftp")
    process.start()
    for pipe in (control, counts, pickup):
        # Only the process has that end: so this one sees when it ends.
        pipe[1].close()
    answering = [
        threading.Thread(target=desk.answer_counts, args=(counts[0],), name="desk", daemon=True),
        threading.Thread(target=desk.answer_pickup, args=(pickup[0],), name="desk-pickup", daemon=True),
    ]
    for thread in answering:
        thread.start()
    return Serving(process, control[0], time.monotonic()), answering


def tell_end(serving: Serving) -> str:
    """Which process has ended, and how."""
    serving.process.join()
    how = f"process {serving.process.pid}, which ended with exit code {serving.process.exitcode}"
    log.error("a process of the port has ended; another one is started", which=how)
    return how


class LockOfParent:
    """A descriptor that a process gets when it is started."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[object, ...]:
        return given_back, (DupFd(self._descriptor),)


def given_back(descriptor: object) -> object:
    return descriptor


def first_word(control: Connection) -> str:
    """What a process says when it listens, or cannot."""
    try:
        if control.poll(START_SECONDS_MAX):
            said: str = control.recv()
            return said
    except (EOFError, OSError):
        return "it ended at its start; the log says why"
    return f"it said nothing for {START_SECONDS_MAX:g} seconds"


def end(serving: Serving, drain_seconds: float) -> None:
    """Let it drain; one that does not end in time is killed, and its uploads stay for resume."""
    try:
        serving.control.send(drain_seconds)
    except OSError:
        log.debug("a process of the port had ended already")
    serving.process.join(drain_seconds + 2 * STOP_SECONDS)
    if serving.process.is_alive():
        log.warning("a process of the port did not end in time", pid=serving.process.pid)
        serving.process.kill()
        serving.process.join()


def bound(settings: Settings) -> tuple[socket.socket, int]:
    """A socket that keeps the port for the processes without listening, and the port. Raises OSError."""
    sftp = settings.gateway.sftp
    family, kind, protocol, _, address = socket.getaddrinfo(
        sftp.host, sftp.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # Others may share a port that is shared: whether somebody listens there already must be asked without that.
    with unbound(family, kind, protocol) as asking:
        asking.bind(address)
    place = unbound(family, kind, protocol)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.bind(address)
    return place, place.getsockname()[1]


def unbound(family: socket.AddressFamily, kind: socket.SocketKind, protocol: int) -> socket.socket:
    """As asyncio makes those that listen."""
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # Somebody may listen on the same port of IPv4.
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def with_port(settings: Settings, port: int) -> Settings:
    sftp = settings.gateway.sftp.model_copy(update={"port": port})
    return settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"sftp": sftp})})
