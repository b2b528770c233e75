"""Names that one thread holds while it changes both the ledger and the file behind the name.

A landing is between its commit and its rename, a claim between its commit and its link: nobody else may look at
the file of that name then.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

_held: set[Hashable] = set()
_freed = threading.Condition()


@contextmanager
def holding(*names: Hashable) -> Iterator[None]:
    """Wait until nobody holds any of the names, and hold them all. Never nested: taken all at once or not at all.

    A name is (tenant, feed, path); in one process only, as one gateway serves a data directory.
    """
    with _freed:
        _freed.wait_for(lambda: _held.isdisjoint(names))
        _held.update(names)
    try:
        yield
    finally:
        with _freed:
            _held.difference_update(names)
            _freed.notify_all()
