"""A listener as a process of its own, for tests that kill it: prints its port, and serves until it dies."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.sftp.conftest import Running


async def listen(root: Path) -> None:
    running = Running(root)
    # The test that starts this process reads the port here.
    print(await running.listener.start(), flush=True)  # noqa: T201
    await asyncio.Event().wait()


asyncio.run(listen(Path(sys.argv[1])))
