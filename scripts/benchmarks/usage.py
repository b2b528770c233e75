"""What a server takes: CPU seconds and resident memory of its process and of all that it starts, read from /proc."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.servers import Server

LOOK_SECONDS = 0.05
END_SECONDS_MAX = 5.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Usage:
    """Of a server, while a client worked."""

    cpu_seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def usage_of(server: Server) -> Iterator[Usage]:
    """Complete when the block has ended."""
    usage, done = Usage(), threading.Event()
    idle, before = below(server.pid), cpu_seconds(server.pid)

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            usage.peak_bytes = max(usage.peak_bytes, resident_bytes(server))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield usage
    finally:
        usage.peak_bytes = max(usage.peak_bytes, resident_bytes(server))
        done.set()
        watcher.join()
        wait_for_the_end(server, len(idle))
        usage.cpu_seconds = cpu_seconds(server.pid) - before


def wait_for_the_end(server: Server, count: int) -> None:
    """Of the processes that it started for connections: what they took is known to it once it has waited for them."""
    deadline = time.monotonic() + END_SECONDS_MAX
    while len(below(server.pid)) > count and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)


def cpu_seconds(pid: int) -> float:
    """Of the process, of those below it, and of those below it that have ended and were waited for."""
    ticks = 0
    for one in below(pid):
        with suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / TICKS


def resident_bytes(server: Server) -> int:
    total = 0
    for pid in below(server.pid):
        with suppress(OSError, IndexError):
            if pid not in server.apart:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return total


def below(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                found.extend(map(int, (thread / "children").read_text().split()))
    return found
