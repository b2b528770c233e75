"""Waiting for a fact: what tests do instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.01


def until(fact: Callable[[], Any], told: Callable[[], object] = lambda: "") -> Any:
    """Wait for a fact and return it; `told` is shown when it does not come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := fact()):
        assert time.monotonic() < deadline, f"waited in vain\n{told()}"
        time.sleep(LOOK_SECONDS)
    return found
