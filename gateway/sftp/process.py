"""One of several processes that serve the port: its start, what it is given, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from gateway import log
from gateway.config import LiveSettings, Settings
from gateway.engine import end_with_parent
from gateway.errors import ConfigError, GatewayError
from gateway.ledger import Ledger
from gateway.ledger.audit import AuditQueue
from gateway.pickup import holding
from gateway.sftp.bandwidth import Bandwidth
from gateway.sftp.common import Common
from gateway.sftp.fair_threads import FairThreads
from gateway.sftp.far import Asking, FarDefender, FarDoors, FarHandles, FarPickup, FarPressure, FarSessions
from gateway.sftp.listener import SftpListener
from gateway.sftp.shared import SharedNumbers
from gateway.sftp.uploads import Uploads, Wakes

FOLLOW_SECONDS = 1.0
SWITCH_SECONDS = 0.001
"""How long a thread waits for one that computes: the event loop is busy under load, and a job's steps are many and
short. With Python's 5 ms each of them would wait that long."""
BLOCKED_MAX = 64
"""Requests that may wait for the disk or the ledger before a login or a listing has to wait behind them."""
LISTENING = "listening"


@dataclass(frozen=True, slots=True)
class Given:
    """What the gateway's own process gives to one that it starts."""

    settings: Settings
    """With the port that was bound."""
    control: Connection
    """Says LISTENING, or why not; hears after how many seconds the drain is over."""
    counts: Connection
    pickup: Connection
    lock: Any
    """The descriptor of the data directory's lock: no other gateway begins there while this process lives."""


def be_fair() -> None:
    """How the threads of a process that serves share it."""
    sys.setswitchinterval(SWITCH_SECONDS)
    asyncio.get_running_loop().set_default_executor(FairThreads(BLOCKED_MAX, "request"))


def main(given: Given) -> None:
    """The main function of the process."""
    # A Ctrl-C in the gateway's terminal reaches every process, and so does the SIGTERM with which systemd stops a
    # service; the gateway says when its processes are to drain.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Uploads that are open here are recovered by others as soon as this gateway has ended: nothing may go on then.
    threading.Thread(target=end_with_parent, name="parent-watch", daemon=True).start()
    given.lock.detach()
    gc.freeze()
    log.configure(given.settings.gateway.log)
    asyncio.run(serve(given))


async def serve(given: Given) -> None:
    be_fair()
    settings = given.settings
    live = LiveSettings(settings.root, settings)
    ledger = Ledger(settings.ledger_path)
    try:
        with holding.shared(settings.data_dir / holding.FILE):
            pickup = FarPickup(given.pickup)
            listener = SftpListener(live, ledger, pickup, common(live, ledger, pickup, given.counts))
            await listen(live, listener, given.control)
    finally:
        ledger.close()


def common(live: LiveSettings, ledger: Ledger, pickup: Wakes, counts: Connection) -> Common:
    """What the sessions of all processes have in common, as this one sees it."""
    asking, numbers = Asking(counts), SharedNumbers(live.current)
    return Common(
        doors=FarDoors(asking),
        handles=FarHandles(asking),
        sessions=FarSessions(asking),
        defender=FarDefender(live, asking),
        pressure=FarPressure(ledger, asking),
        bandwidth=Bandwidth(numbers.line),
        uploads=Uploads(live, ledger, pickup, numbers.uploads, numbers.counted),
        audit=AuditQueue(ledger),
    )


async def listen(live: LiveSettings, listener: SftpListener, control: Connection) -> None:
    """Until the gateway says that it is over."""
    try:
        await listener.start()
    except (GatewayError, OSError) as error:
        control.send(str(error))
        return
    control.send(LISTENING)
    drain: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_reader(control.fileno(), hear, control, drain)
    while not drain.done():
        await asyncio.wait([drain], timeout=FOLLOW_SECONDS)
        # What is wrong with them, the gateway's own process says.
        with contextlib.suppress(ConfigError, OSError):
            live.refresh()
        listener.look_again()
    await listener.stop(drain.result())


def hear(control: Connection, drain: asyncio.Future[float]) -> None:
    asyncio.get_running_loop().remove_reader(control.fileno())
    # Without the gateway there is nothing to wait for; `end_with_parent` is about to see it too.
    with contextlib.suppress(EOFError, OSError):
        drain.set_result(control.recv())
        return
    drain.set_result(0.0)
