"""Names that one thread of one process holds while it changes both the ledger and the file behind the name.

A landing is between its commit and its rename, a claim between its commit and its link: nobody else may look at
the file of that name then.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from gateway.locks import Marks

FILE = "names.lock"
"""In a data directory that several processes serve."""

_held: set[Hashable] = set()
_freed = threading.Condition()
_marks: list[Marks] = []
"""Where several processes serve a data directory: what they hold, as the others see it."""


@contextmanager
def holding(*names: Hashable) -> Iterator[None]:
    """Wait until nobody holds any of the names, and hold them all. Never nested: taken all at once or not at all.

    A name is (tenant, feed, path).
    """
    with _freed:
        _freed.wait_for(lambda: _held.isdisjoint(names))
        _held.update(names)
    try:
        with in_all_processes(names):
            yield
    finally:
        with _freed:
            _held.difference_update(names)
            _freed.notify_all()


def in_all_processes(names: tuple[Hashable, ...]) -> AbstractContextManager[None]:
    return _marks[0].taken(*names) if _marks else nullcontext()


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """From now on names are held by all processes together that share the file at `path`."""
    _marks[:] = [Marks(path)]
    try:
        yield
    finally:
        _marks.pop().close()
