"""Open handles: what READ and WRITE act on, on the event loop and without a detour."""

from __future__ import annotations

import os
from datetime import datetime

import asyncssh

from gateway.errors import UploadRefused
from gateway.ledger.uploads import UploadRow
from gateway.sftp.extents import Extents
from gateway.sftp.packets import Pieces
from gateway.sftp.paths import Place
from gateway.sftp.room import Room
from gateway.sftp.write_out import WriteOut


class OpenFile:
    """A read handle."""

    def __init__(self, place: Place, descriptor: int) -> None:
        self.place = place
        self.descriptor = descriptor
        self.bytes_read = 0

    def __str__(self) -> str:
        return str(self.place)

    def read(self, offset: int, length: int) -> bytes:
        content = os.pread(self.descriptor, length, offset)
        self.bytes_read += len(content)
        return content


class OpenUpload:
    """A write handle. `write` runs on the event loop for every WRITE packet; all else is rare.

    `base` is how many bytes the file had when it was opened without being emptied. `closing` is set by the
    session when it sees the client's CLOSE: without it the end of a handle is a broken connection.
    """

    def __init__(
        self, row: UploadRow, descriptor: int, *, room: Room, bytes_max: int, base: int, resumed: bool, append: bool
    ) -> None:
        self.row = row
        self.descriptor = descriptor
        self.base = base
        self.resumed = resumed
        self.size = base
        self.closing = False
        self.changed = base == 0
        self.failure: str | None = None
        self.client_mtime: datetime | None = None
        self._append = append
        self._goes_on = False
        self._room = room
        self._bytes_max = bytes_max
        self._written = Extents()
        self._write_out = WriteOut(descriptor)

    def __str__(self) -> str:
        return str(Place("inbox", self.row.feed, self.row.path))

    def write(self, pieces: Pieces, offset: int, length: int) -> None:
        """Write the pieces one after the other at `offset`. A write that fails poisons the handle."""
        if self.failure is not None:
            raise asyncssh.SFTPFailure(self.failure)
        try:
            if self._append:
                offset = self._place_of_appended(offset)
            if offset + length > self._bytes_max:
                raise UploadRefused(f"{self}: a file of this feed may have {self._bytes_max} bytes; split it")
            self._room.take(offset + length - self.size, length)
            self._written.add(offset, offset + length)
            write_all(self.descriptor, pieces, offset, length)
        except Exception as error:
            self._written.cut(min(offset, self._written.end))
            self.fail(error)
            raise
        self._write_out.written(offset, length)
        self.changed = True
        self.size = max(self.size, offset + length)

    def _place_of_appended(self, offset: int) -> int:
        """Where bytes for the end of the file belong.

        A client that resumes says how much it saw there, and between its look and its write an older connection may
        have brought more, or have been cut back. One that says 0 at first leaves the place to us.
        """
        if self._written.start is None:
            self._goes_on = offset > 0
            if offset > self.size:
                raise UploadRefused(
                    f"{self}: {self.size} bytes are here, and the upload goes on at {offset}; resume it once more"
                )
            if 0 < offset < self.size:
                self.set_size(offset)
        return offset if self._goes_on else self.size

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, offset)

    def fail(self, error: Exception) -> None:
        """From now on nothing is written, and the close fails."""
        known = isinstance(error, (UploadRefused, asyncssh.SFTPError))
        self.failure = str(error) if known else f"{self}: an earlier write failed; upload the file again"

    def set_size(self, size: int) -> None:
        """Cut the file, or make it longer; what is then never written is a gap."""
        if size > self._bytes_max:
            raise UploadRefused(f"{self}: a file of this feed may have {self._bytes_max} bytes; split it")
        self._room.take(size - self.size, max(0, size - self.size))
        self.changed = self.changed or size != self.size
        os.ftruncate(self.descriptor, size)
        self._written.cut(size)
        self.base = min(self.base, size)
        self.size = size

    def sync(self) -> None:
        """Make the bytes durable. Raises OSError; then nothing of them is believed, and the close fails."""
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            self.distrust()
            self.fail(error)
            raise

    def distrust(self) -> None:
        """Nothing can be resumed: what could not be written down is dropped, and the next fsync does not tell."""
        self.base = 0
        self.resumed = False
        self._written = Extents()

    def gap(self) -> int | None:
        """Where the first byte is missing; None when there is no gap."""
        reach = self._written.prefix(self.base)
        return reach if reach < self.size else None

    def resumable(self) -> int:
        """How many bytes from the start are good to go on from when the upload breaks off.

        A client that began again at 0 has made a hybrid of new and old bytes: only its own bytes count.
        """
        start = self._written.start
        if start is None:
            return self.base if self.resumed else 0
        if start >= self.base:
            return self._written.prefix(self.base)
        return self._written.prefix() if start == 0 else 0


def write_all(descriptor: int, pieces: Pieces, offset: int, length: int) -> None:
    """pwritev until everything is written. Raises OSError."""
    written = os.pwritev(descriptor, pieces, offset)
    if written == length:
        return
    rest = memoryview(b"".join(pieces))[written:]
    while rest:
        offset += written
        written = os.pwrite(descriptor, rest, offset)
        rest = rest[written:]
