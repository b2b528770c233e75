"""The bytes of a drop as UTF-8 text: compression, encodings and byte-order marks are resolved here."""

from __future__ import annotations

import codecs
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
import zstandard
from numpy.typing import NDArray

from gateway.config import FeedSettings
from gateway.contracts import Contract
from gateway.errors import DropRefused

Format = Literal["csv", "ndjson"]
Octets = NDArray[np.uint8]

COPY_BYTES = 1 << 20
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
BINARY_MAGIC = {
    b"PK\x03\x04": "a ZIP or Excel file",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF file",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"SQLite format 3": "a SQLite file",
}
NDJSON_SUFFIXES = frozenset({".ndjson", ".jsonl", ".json"})


@dataclass(frozen=True, slots=True)
class Source:
    """A drop's text. `octets` are UTF-8 bytes without the byte-order mark; `encoding` is what came.

    `bom` are the first bytes of the drop when it began with a byte-order mark.
    """

    octets: Octets
    format: Format
    encoding: str
    bom: bytes = b""

    def raw(self, start: int, stop: int) -> bytes:
        """The record in `octets[start:stop]`, byte for byte as it came."""
        text = self.octets[start:stop].tobytes()
        return text if self.encoding == "utf-8" else text.decode().encode(self.encoding)


def opened(path: Path, name: str, contract: Contract, policy: FeedSettings, scratch: Path) -> Source:
    """The text of the drop at `path`; `scratch` takes the expanded copy of what is compressed or not UTF-8.

    Raises DropRefused for what cannot be text of the feed's contract (C26, C27).
    """
    plain = expand(path, scratch / "expanded", policy.expanded_bytes_max)
    with plain.open("rb") as file:
        head = file.read(COPY_BYTES)
    refuse_binary(head)
    encoding, bom = encoding_of(head, policy)
    if encoding != "utf-8":
        plain = transcode(plain, scratch / "utf8", encoding, len(bom))
    skip = len(codecs.BOM_UTF8) if encoding == "utf-8" and bom else 0
    if plain.stat().st_size == skip:
        raise DropRefused("empty_file", "the file is empty", hint="Export it again and check its size.")
    octets = np.asarray(np.memmap(plain, dtype=np.uint8, mode="r"))[skip:]
    return Source(octets, format_of(octets, name, contract), encoding, bom)


def expand(path: Path, target: Path, bytes_max: int) -> Path:
    """`path` itself, or `target` with what the gzip or zstd stream in it expands to."""
    if path.stat().st_size == 0:
        raise DropRefused("empty_file", "the file is empty", hint="Export it again and check its size.")
    with path.open("rb") as packed:
        magic = packed.read(4)
        packed.seek(0)
        if magic.startswith(GZIP_MAGIC):
            opener, kind = cast(IO[bytes], gzip.GzipFile(fileobj=packed)), "gzip"
        elif magic == ZSTD_MAGIC:
            reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
            opener, kind = cast(IO[bytes], reader), "zstd"
        else:
            return path
        with target.open("wb") as out:
            copy_expanded(opener, out, bytes_max, kind)
    return target


def copy_expanded(packed: IO[bytes], out: IO[bytes], bytes_max: int, kind: str) -> None:
    written = 0
    try:
        while piece := packed.read(COPY_BYTES):
            written += len(piece)
            if written > bytes_max:
                raise DropRefused("expanded_too_large", f"the {kind} stream expands to more than {bytes_max:,} bytes")
            out.write(piece)
    except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DropRefused(
            "bad_compression", f"the {kind} stream breaks after {written:,} expanded bytes: {error}"
        ) from error


def refuse_binary(head: bytes) -> None:
    for magic, what in BINARY_MAGIC.items():
        if head.startswith(magic):
            raise DropRefused("not_text", f"the file is {what}, not CSV or NDJSON", line=1)


def encoding_of(head: bytes, policy: FeedSettings) -> tuple[str, bytes]:
    """The encoding by its byte-order mark, else the feed's."""
    for bom, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if head.startswith(bom):
            return encoding, bom
    return policy.encoding, b""


def transcode(path: Path, target: Path, encoding: str, skip: int) -> Path:
    """`target` with the text of `path` as UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done = skip
    with path.open("rb") as file, target.open("wb") as out:
        file.seek(skip)
        try:
            while piece := file.read(COPY_BYTES):
                out.write(decoder.decode(piece).encode())
                done += len(piece)
            out.write(decoder.decode(b"", final=True).encode())
        except (UnicodeDecodeError, UnicodeEncodeError) as error:
            raise DropRefused(
                "bad_encoding", f"the bytes from offset {done:,} are not {encoding}: {error.reason}"
            ) from error
    return target


def format_of(octets: Octets, name: str, contract: Contract) -> Format:
    """CSV or NDJSON, by what the text begins with and by the last suffix of the name. Raises DropRefused."""
    begin = octets[:4096].tobytes().lstrip()[:1]
    suffix = Path(name.lower().removesuffix(".gz").removesuffix(".zst")).suffix
    if opens_an_array(octets):
        raise DropRefused(
            "wrong_format",
            "the file is a JSON array, not one JSON object a line",
            hint="Write NDJSON: one object on each line, without enclosing brackets, without commas between lines.",
            line=1,
        )
    found: Format = "ndjson" if begin in (b"{", b"[") or suffix in NDJSON_SUFFIXES else "csv"
    if found not in contract.formats:
        takes = " or ".join(kind.upper() for kind in contract.formats)
        raise DropRefused("wrong_format", f"the file is {found.upper()}; '{contract.name}' takes {takes}", line=1)
    return found


def opens_an_array(octets: Octets) -> bool:
    """True where the first line opens a JSON array that goes on below; a lone `[1]` is a record like any other."""
    line = octets[:65536].tobytes().lstrip().split(b"\n", 1)[0].strip()
    return line == b"[" or (line.startswith(b"[") and line.endswith(b"},"))


def check_text(octets: Octets, at: int, line: int) -> None:
    """Refuse a block that has a NUL byte or is not UTF-8. `at` and `line` are where the block begins (C26, C27)."""
    block = octets.tobytes()
    if (nul := block.find(b"\0")) >= 0:
        where = line + line_breaks(block[:nul])
        raise DropRefused(
            "nul_bytes",
            f"line {where}: a NUL byte at offset {at + nul:,}",
            hint="Export the file again as UTF-8 text; UTF-16 without a byte-order mark looks like this.",
            line=where,
        )
    try:
        block.decode()
    except UnicodeDecodeError as error:
        where = line + line_breaks(block[: error.start])
        raise DropRefused(
            "bad_encoding",
            f"line {where}: the byte 0x{block[error.start]:02x} at offset {at + error.start:,} is not UTF-8",
            hint='Save the file as UTF-8. For Latin-1 ask the operator for encoding = "latin-1" for this feed.',
            line=where,
        ) from error


def line_breaks(text: bytes) -> int:
    r"""How many physical lines end in `text`: at `\n`, `\r\n` and `\r`."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")
