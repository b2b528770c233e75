"""What one job may take of the machine: memory and time. Who takes more is refused in words that its partner gets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from gateway.config.model import EngineSettings
from gateway.errors import DropRefused

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
SHARE_OF_MACHINE: Final = 0.75
# A worker that has done nothing yet has a quarter of this.
MEMORY_BYTES_MIN: Final = 1 << 30
# A CSV of short values takes 4.7 times its size (measured on 1 GiB), and a worker needs some memory for itself.
TIMES_IN_MEMORY: Final = 8
CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much memory a worker may have, in bytes, and how long a job may run, in seconds; 0 is without end."""

    memory_bytes_max: int
    seconds_max: float

    def check(self, pid: int, seconds: float) -> None:
        """DropRefused where the worker has more memory, or its job has run longer, than it may.

        Both are the same when the job is tried again, so it is not: the drop is refused.
        """
        if self.memory_bytes_max and memory_bytes(pid) > self.memory_bytes_max:
            most = f"{self.memory_bytes_max / 1e6:,.0f} MB"
            raise DropRefused("too_much_memory", f"reading the file takes more than the {most} of memory it may have")
        if self.seconds_max and seconds > self.seconds_max:
            most = f"{self.seconds_max:,g} seconds"
            raise DropRefused("too_much_time", f"reading the file takes longer than the {most} it may have")


UNLIMITED: Final = Allowance(0, 0)


def whole_bytes_max(settings: EngineSettings) -> int:
    """The largest text that a job may hold in memory as a whole: as configured, or what its memory is enough for."""
    return min(settings.whole_bytes_max, allowance_of(settings).memory_bytes_max // TIMES_IN_MEMORY)


def allowance_of(settings: EngineSettings) -> Allowance:
    """As configured; without a number the workers share three quarters of the machine's memory."""
    share = max(int(machine_bytes() * SHARE_OF_MACHINE / settings.workers), MEMORY_BYTES_MIN)
    return Allowance(settings.memory_bytes_max or share, settings.seconds_max)


def memory_bytes(pid: int) -> int:
    """The memory that a process has for itself; 0 when it is gone.

    The pages of the file that it reads are not among it: the kernel takes them back as it likes. The limits of
    setrlimit would not do, since allocators reserve far more addresses than they ever use.
    """
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * PAGE_BYTES


@cache
def machine_bytes() -> int:
    """The memory of the machine, or of the control group that the gateway is confined to."""
    physical = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
    try:
        return min(physical, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        # There is no such group, or it says "max".
        return physical
