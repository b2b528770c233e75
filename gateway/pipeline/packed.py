"""Compression: what a gzip or zstd stream expands to, and whether it ends early."""

from __future__ import annotations

import codecs
import errno
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import zstandard

from gateway.errors import CutOff, DropRefused

COPY_BYTES = 1 << 20
# A zstd block of 4 bytes may expand to 128 KiB: what is read at once bounds what is in memory at once.
PACKED_BYTES = 4 << 10
# How often it is looked what is left of the disk.
LOOK_BYTES = 16 << 20
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SIGNATURES = (GZIP_MAGIC, ZSTD_MAGIC, codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
GZIP_WRAPPER = 31
# What `zstd` itself takes: a stream that was made with a longer window asks for as much memory to read it.
WINDOW_BYTES_MAX = 128 << 20
# So much may come out of nearly nothing: small files of the same row again and again are no harm.
UNSUSPICIOUS_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a stream may expand to: bytes, and times what it has in packed bytes; and what is left free on the disk."""

    bytes_max: int
    ratio_max: int
    disk_free_min: int = 0


class Frame(Protocol):
    """The decoder of one gzip member or zstd frame; `eof` once it has read all of it, its checksum included."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def expand(path: Path, target: Path, bounds: Bounds) -> tuple[Path, CutOff | None]:
    """`path` itself, or `target` with what the stream in it expands to; and how the stream ends early, if it does.

    Raises DropRefused for an empty file, a damaged stream and one that expands to more than it may, CutOff for a
    file that ends within its signature, and OSError where the disk has no room for it.
    """
    with path.open("rb") as packed:
        magic = packed.read(4)
        packed.seek(0)
        if not magic:
            raise DropRefused("empty_file", "the file is empty", hint="Export it again and check its size.")
        if any(signature != magic and signature.startswith(magic) for signature in SIGNATURES):
            raise CutOff(f"the file ends after {len(magic)} bytes, within the signature of its format")
        if magic.startswith(GZIP_MAGIC):
            # Zeros between members are padding, as for gzip itself.
            pieces, kind = unpacked(packed, lambda: zlib.decompressobj(GZIP_WRAPPER), padding=b"\0"), "gzip"
        elif magic == ZSTD_MAGIC:
            frames = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
            pieces, kind = unpacked(packed, frames.decompressobj), "zstd"
        else:
            return path, None
        with target.open("wb") as out:
            return target, copy(pieces, packed, out, bounds, kind)


def unpacked(packed: IO[bytes], new_frame: Callable[[], Frame], padding: bytes = b"") -> Iterator[bytes]:
    """What all frames of a stream expand to, one after the other. Raises EOFError behind a frame that is not whole.

    A cut exactly between two frames cannot be seen.
    """
    frame: Frame | None = None
    while piece := packed.read(PACKED_BYTES):
        while piece := piece if frame else piece.lstrip(padding):
            frame = frame or new_frame()
            yield frame.decompress(piece)
            piece, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame:
        raise EOFError


def copy(pieces: Iterator[bytes], packed: IO[bytes], out: IO[bytes], bounds: Bounds, kind: str) -> CutOff | None:
    """Write what a stream expands to; returns how it ends early, if it does."""
    written = looked = 0
    try:
        for piece in pieces:
            written += len(piece)
            refuse_bomb(written, packed.tell(), bounds, kind)
            if written - looked >= LOOK_BYTES:
                looked = written
                keep_free(out, bounds.disk_free_min)
            out.write(piece)
    except EOFError:
        return CutOff(f"the {kind} stream ends early, after {written:,} expanded bytes")
    except (zlib.error, zstandard.ZstdError) as error:
        raise DropRefused(
            "bad_compression", f"the {kind} stream breaks after {written:,} expanded bytes: {error}"
        ) from error
    return None


def refuse_bomb(written: int, read: int, bounds: Bounds, kind: str) -> None:
    if written > bounds.bytes_max:
        raise DropRefused("expanded_too_large", f"the {kind} stream expands to more than {bounds.bytes_max:,} bytes")
    if written > max(read * bounds.ratio_max, UNSUSPICIOUS_BYTES):
        times = f"{bounds.ratio_max:,} times its size"
        raise DropRefused("expanded_too_large", f"the {kind} stream expands to more than {times}")


def keep_free(out: IO[bytes], bytes_min: int) -> None:
    """Raises OSError where more would take what others need of the disk."""
    disk = os.fstatvfs(out.fileno())
    if disk.f_bavail * disk.f_frsize < bytes_min:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
