"""Checksums: `md5sum`, `sha1sum` and `sha256sum` of files, as rclone asks for them. No other command is run.

There is no shell: the words are taken apart as a shell would, and each name goes the way of an SFTP path. A SHA-256
that the ledger has is not computed again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass

import asyncssh

from gateway.sftp.fair_threads import FairThreads
from gateway.sftp.filesystem import Filesystem

ALGORITHMS = {"md5sum": "md5", "sha1sum": "sha1", "sha256sum": "sha256"}
REFUSED = (
    f"nothing can be run here but {', '.join(ALGORITHMS)} of files; files go over SFTP: use sftp, or scp without -O\n"
)
CHUNK_BYTES = 1024 * 1024
# Of their own, and few: reading whole files must not keep the threads that land uploads.
THREADS = FairThreads(2, "checksum")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command says on stdout and stderr, and its exit code."""

    out: str
    err: str
    code: int


async def run(command: str, filesystem: Filesystem, is_gone: Callable[[], bool]) -> CommandResult:
    """Run a command that a client sent by exec; it breaks off when the client `is_gone`."""
    try:
        program, *names = shlex.split(command)
    except ValueError:
        program, names = "", []
    if program not in ALGORITHMS:
        return CommandResult("", REFUSED, 1)
    if names[:1] == ["--"]:
        del names[0]
    if not names:
        # rclone tries whether a command is there with the digest of nothing; nothing is read from stdin.
        return CommandResult(line(hashlib.new(ALGORITHMS[program]).hexdigest(), "-"), "", 0)
    lines, complaints = [], []
    for name in names:
        try:
            lines.append(line(await digest(name, ALGORITHMS[program], filesystem, is_gone), name))
        except asyncssh.SFTPError as error:
            complaints.append(f"{program}: {error.reason}\n")
    return CommandResult("".join(lines), "".join(complaints), 1 if complaints else 0)


async def digest(name: str, algorithm: str, filesystem: Filesystem, is_gone: Callable[[], bool]) -> str:
    """The digest of what an SFTP client would read under that name. Raises SFTPError as its open would."""
    file = await filesystem.open_file(name.encode())
    loop = asyncio.get_running_loop()
    try:
        if algorithm == "sha256" and (known := await filesystem.known_sha256(file)):
            return known
        return await loop.run_in_executor(THREADS, digest_of, file.descriptor, algorithm, is_gone)
    finally:
        await filesystem.close(file)


def digest_of(descriptor: int, algorithm: str, is_gone: Callable[[], bool]) -> str:
    found, offset = hashlib.new(algorithm), 0
    while not is_gone() and (chunk := os.pread(descriptor, CHUNK_BYTES, offset)):
        found.update(chunk)
        offset += len(chunk)
    return found.hexdigest()


def line(hexadecimal: str, name: str) -> str:
    """As the GNU programs print it: a backslash in front says that those in the name are doubled."""
    escaped = name.replace("\\", "\\\\")
    mark = "" if escaped == name else "\\"
    return f"{mark}{hexadecimal}  {escaped}\n"
