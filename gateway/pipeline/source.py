"""The bytes of a drop as UTF-8 text: encodings and byte-order marks are resolved here."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.config import FeedSettings
from gateway.contracts import Contract
from gateway.errors import CutOff, DropRefused
from gateway.pipeline.drop import Drop
from gateway.pipeline.packed import COPY_BYTES, Bounds, expand

Format = Literal["csv", "ndjson"]
Octets = NDArray[np.uint8]

BINARY_MAGIC = {
    b"PK\x03\x04": "a ZIP or Excel file",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF file",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"SQLite format 3": "a SQLite file",
}
# So much tells what a file is.
HEAD_BYTES = 64
NDJSON_SUFFIXES = frozenset({".ndjson", ".jsonl", ".json"})


@dataclass(frozen=True, slots=True)
class Source:
    """A drop's text. `octets` are UTF-8 bytes without the byte-order mark; `encoding` is what came.

    `bom` are the first bytes of the drop when it began with a byte-order mark. `cut` says how the bytes end early,
    in a compressed stream or in a character, where they do; the text has whole characters only.
    """

    octets: Octets
    format: Format
    encoding: str
    bom: bytes = b""
    cut: CutOff | None = None

    def raw(self, start: int, stop: int) -> bytes:
        """The record in `octets[start:stop]`, byte for byte as it came."""
        text = self.octets[start:stop].tobytes()
        return text if self.encoding == "utf-8" else text.decode().encode(self.encoding)


def opened(drop: Drop, scratch: Path) -> Source:
    """The text of the drop; `scratch` takes the expanded copy of what is compressed or not UTF-8.

    Raises DropRefused for what cannot be text of the feed's contract (C26, C27), and CutOff for bytes that end
    early, unless the drop is to be processed as far as it is whole.
    """
    bounds = Bounds(drop.policy.expanded_bytes_max, drop.policy.expansion_ratio_max, drop.disk_free_min)
    plain, cut = expand(drop.path, scratch / "expanded", bounds)
    octets = octets_of(plain)
    head = octets[:HEAD_BYTES].tobytes()
    refuse_binary(head)
    encoding, bom = encoding_of(head, drop.policy)
    if encoding == "utf-8":
        half = half_character(octets)
        octets = octets[len(bom) : len(octets) - half]
    else:
        text, half = transcode(plain, scratch / "utf8", encoding, len(bom))
        octets = octets_of(text)
    if half and cut is None:
        line = line_at(octets, len(octets))
        cut = CutOff(f"line {line}: the text ends in the middle of a character", line=line)
    if cut and (drop.on_cut_off != "process" or len(octets) == 0):
        raise cut
    if len(octets) == 0:
        raise DropRefused("empty_file", "the file is empty", hint="Export it again and check its size.")
    return Source(octets, format_of(octets, drop.name, drop.contract), encoding, bom, cut)


def octets_of(path: Path) -> Octets:
    """All bytes of a file: those of a small one are read, since it takes longer to map them into memory."""
    if path.stat().st_size < COPY_BYTES:
        return np.frombuffer(path.read_bytes(), dtype=np.uint8)
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))


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


def transcode(path: Path, target: Path, encoding: str, skip: int) -> tuple[Path, int]:
    """`target` with the text of `path` as UTF-8, and how many bytes of half a character stand at its end."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done = skip
    with path.open("rb") as file, target.open("wb") as out:
        file.seek(skip)
        try:
            while piece := file.read(COPY_BYTES):
                out.write(decoder.decode(piece).encode())
                done += len(piece)
        except (UnicodeDecodeError, UnicodeEncodeError) as error:
            raise DropRefused(
                "bad_encoding", f"the bytes from offset {done:,} are not {encoding}: {error.reason}"
            ) from error
    return target, len(decoder.getstate()[0])


def half_character(octets: Octets) -> int:
    """How many bytes of half a character stand at the end of what is UTF-8 up to there."""
    at_end = codecs.getincrementaldecoder("utf-8")("ignore")
    at_end.decode(octets[-3:].tobytes())
    half = len(at_end.getstate()[0])
    if half:
        # The last letter of a Latin-1 text can look like that; then there are likely others before it.
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for at in range(0, len(octets), COPY_BYTES):
                decoder.decode(octets[at : at + COPY_BYTES].tobytes())
        except UnicodeDecodeError:
            return 0
    return half


def line_at(octets: Octets, stop: int) -> int:
    """The number of the physical line on which the byte `stop` is, or would be."""
    line, before = 1, b""
    for at in range(0, stop, COPY_BYTES):
        piece = octets[at : min(at + COPY_BYTES, stop)].tobytes()
        line += line_breaks(piece) - (before.endswith(b"\r") and piece.startswith(b"\n"))
        before = piece
    return line


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
