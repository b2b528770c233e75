"""Spare staging folders: what one job has used, the next one takes.

A file system such as ext4 does not use the number of a removed file or folder again for minutes, and looks at each such
number whenever it makes a file. When every job made its folders and removed them, a flood of small drops made each new
file cost more than the one before, up to half of a job's time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from pathlib import Path

FIRST_TRY = "1"
"""The staging folder of a job's first try, in the folder `out` of the job; both are kept, one in the other."""
SPARES_MAX = 500
"""More than are ever in use at once by default: jobs wait for their commit together."""


class Spares:
    """The spare folders below `folder`. Safe to use from any thread; what goes wrong with one costs only itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._free: deque[str] = deque()

    def collect(self) -> None:
        """At start: find those that an earlier process left, and remove what is not empty."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                if os.listdir(self._folder / name) == [FIRST_TRY] and not has_files(self._folder / name):
                    self._free.append(name)
                else:
                    shutil.rmtree(self._folder / name, ignore_errors=True)

    def take(self, staging: Path) -> None:
        """Make the staging folder of a try, one without files, in place of those of earlier tries."""
        if staging.name == FIRST_TRY and self._moves_in(staging.parent):
            return
        # With what a try before left that was killed, which may be several times the drop.
        shutil.rmtree(staging.parent, ignore_errors=True)
        staging.mkdir(parents=True)

    def give(self, staging: Path) -> None:
        """The job of that staging folder needs it no more, nor what is left there of what the store has got."""
        try:
            if staging.name == FIRST_TRY and len(self._free) < SPARES_MAX:
                remove_files(staging)
                name = staging.parent.parent.name
                os.rename(staging.parent, self._folder / name)
                self._free.append(name)
                return
        except OSError:
            # It is gone already, or has more than folders of files, or there is one of that name.
            pass
        shutil.rmtree(staging.parent, ignore_errors=True)

    def _moves_in(self, out: Path) -> bool:
        """Whether a spare folder is in this place now."""
        try:
            name = self._free.popleft()
        except IndexError:
            return False
        try:
            os.rename(self._folder / name, out)
        except OSError:
            # There is one already that is not empty.
            self._free.append(name)
            return False
        return True


def has_files(folder: Path) -> bool:
    return any(files for _, _, files in os.walk(folder))


def remove_files(staging: Path) -> None:
    """Those in the folder and in the folders in it, which stay: each next job that brings something needs them too."""
    with os.scandir(staging) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                for name in os.listdir(entry):
                    os.unlink(os.path.join(entry, name))
            else:
                os.unlink(entry)
