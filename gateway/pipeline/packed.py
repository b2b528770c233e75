"""Compression: what a gzip or zstd stream expands to, and whether it ends early."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

import zstandard

from gateway.errors import CutOff, DropRefused

COPY_BYTES = 1 << 20
# A zstd block of 4 bytes may expand to 128 KiB: what is read at once bounds what is in memory at once.
PACKED_BYTES = 4 << 10
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SIGNATURES = (GZIP_MAGIC, ZSTD_MAGIC, codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
GZIP_WRAPPER = 31


class Frame(Protocol):
    """The decoder of one gzip member or zstd frame; `eof` once it has read all of it, its checksum included."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def expand(path: Path, target: Path, bytes_max: int) -> tuple[Path, CutOff | None]:
    """`path` itself, or `target` with what the stream in it expands to; and how the stream ends early, if it does.

    Raises DropRefused for an empty file, a damaged stream and one that expands to more than `bytes_max`, CutOff for a
    file that ends within its signature.
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
            pieces, kind = unpacked(packed, zstandard.ZstdDecompressor().decompressobj), "zstd"
        else:
            return path, None
        with target.open("wb") as out:
            return target, copy(pieces, out, bytes_max, kind)


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


def copy(pieces: Iterator[bytes], out: IO[bytes], bytes_max: int, kind: str) -> CutOff | None:
    """Write what a stream expands to; returns how it ends early, if it does."""
    written = 0
    try:
        for piece in pieces:
            written += len(piece)
            if written > bytes_max:
                raise DropRefused("expanded_too_large", f"the {kind} stream expands to more than {bytes_max:,} bytes")
            out.write(piece)
    except EOFError:
        return CutOff(f"the {kind} stream ends early, after {written:,} expanded bytes")
    except (zlib.error, zstandard.ZstdError) as error:
        raise DropRefused(
            "bad_compression", f"the {kind} stream breaks after {written:,} expanded bytes: {error}"
        ) from error
    return None
