"""The manifest of a backup: the SHA-256 of every file in it, in the format of sha256sum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from gateway import durable
from gateway.errors import BackupError

NAME = "MANIFEST"
LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)")


def write(folder: Path, digests: dict[str, str]) -> None:
    """`digests` are by the path below `folder`."""
    lines = [line_of(path, digest) for path, digest in sorted(digests.items())]
    durable.write(folder / NAME, "".join(lines).encode(), 0o600)


def verified(folder: Path) -> dict[str, int]:
    """The files of a backup and their sizes, all of them read and compared; BackupError names the one that is wrong."""
    digests = read(folder)
    files = {path.relative_to(folder).as_posix(): path for path in files_in(folder) if path != folder / NAME}
    for path in files.keys() - digests.keys():
        raise BackupError(
            f"{folder / path}: this file is not in the {NAME}; take it away if it is none of the backup's"
        )
    for path, digest in digests.items():
        if path not in files:
            raise BackupError(f"{folder / path}: this file of the backup is missing; nothing was restored")
        if digest_of(files[path]) != digest:
            raise BackupError(
                f"{folder / path}: this file is not what was backed up, by its SHA-256; nothing was restored. "
                "Use another backup"
            )
    return {path: file.stat().st_size for path, file in files.items()}


def read(folder: Path) -> dict[str, str]:
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"{path}: cannot be read, so this is no backup of a gateway: {error}") from error
    digests = {}
    for number, line in enumerate(text.split("\n")[:-1], 1):
        match = LINE.fullmatch(line)
        if match is None:
            raise BackupError(f"{path}: line {number} is broken; use another backup")
        escaped, digest, name = match.groups()
        digests[unescape(name) if escaped else name] = digest
    return digests


def files_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def line_of(path: str, digest: str) -> str:
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == path else chr(92)}{digest}  {escaped}\n"


def unescape(name: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), name)
