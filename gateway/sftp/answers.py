"""The one place where what went wrong becomes an SFTP error: a code, and a sentence that says what to do."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from errno import (
    EACCES,
    EDQUOT,
    EEXIST,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENOENT,
    ENOSPC,
    ENOTDIR,
    ENOTEMPTY,
    EPERM,
    EROFS,
)
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import asyncssh
import structlog

from gateway.errors import LedgerError, UploadRefused

log = structlog.get_logger(__name__)


class Tells(Protocol):
    """Has a way to show a sentence to the person at the client."""

    tell: Callable[[str], None]


P = ParamSpec("P")
R = TypeVar("R")
Self = TypeVar("Self", bound=Tells)

NO_SUCH = (asyncssh.SFTPNoSuchFile, "there is no such file or folder; list the folder above to see what there is")
FULL = (asyncssh.SFTPNoSpaceOnFilesystem, "the gateway has no space left; try again later")
OVERTAKEN = "another session has changed this name in the same moment; look at it, and try again"
OURS = "the gateway could not do this, and it is not your fault; try again, and tell its operator if it stays"

SENTENCES: dict[int, tuple[Callable[[str], asyncssh.SFTPError], str]] = {
    ENOENT: NO_SUCH,
    ENOTDIR: NO_SUCH,
    ELOOP: NO_SUCH,
    EEXIST: (asyncssh.SFTPFileAlreadyExists, "this name is taken; remove it first or use another name"),
    EISDIR: (asyncssh.SFTPFileIsADirectory, "this is a folder; name a file in it"),
    ENOTEMPTY: (asyncssh.SFTPDirNotEmpty, "the folder is not empty; remove what is in it first"),
    ENAMETOOLONG: (asyncssh.SFTPInvalidFilename, "the name is too long; use a shorter one"),
    ENOSPC: FULL,
    EDQUOT: FULL,
    EACCES: (asyncssh.SFTPFailure, OURS),
    EPERM: (asyncssh.SFTPFailure, OURS),
    EROFS: (asyncssh.SFTPFailure, OURS),
}


def answered(
    method: Callable[Concatenate[Self, P], Awaitable[R]],
) -> Callable[Concatenate[Self, P], Coroutine[Any, Any, R]]:
    """A request whose every failure becomes an SFTP error with a sentence, and is told to the client."""

    @functools.wraps(method)
    async def request(self: Self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(self, *args, **kwargs)
        except Exception as error:
            raise refusal(error, args[0] if args else "", self.tell) from error

    return request


def refusal(error: Exception, subject: object, tell: Callable[[str], None]) -> asyncssh.SFTPError:
    """The answer to a request that failed. Clients ask for names, and make folders, to see whether they are there."""
    reply = answer(error, shown(subject))
    if not isinstance(error, (FileNotFoundError, FileExistsError)):
        tell(reply.reason)
    return reply


def answer(error: BaseException, shown: str) -> asyncssh.SFTPError:
    """The SFTP error for whatever went wrong with `shown`: a path as the client knows it."""
    if isinstance(error, asyncssh.SFTPError):
        return error
    if isinstance(error, UploadRefused):
        return asyncssh.SFTPPermissionDenied(str(error))
    if isinstance(error, LedgerError):
        # A guard of the ledger: between the look at the name and the change of it somebody else changed it.
        return asyncssh.SFTPFailure(f"{shown}: {OVERTAKEN}")
    if isinstance(error, OSError) and error.errno in SENTENCES:
        kind, sentence = SENTENCES[error.errno]
        if sentence in (OURS, FULL[1]):
            log.error("sftp request failed", place=shown, errno=error.errno)
        return kind(f"{shown}: {sentence}")
    # The text of an unknown error may hold anything, so neither the client nor the log gets it: only its kind.
    log.error("sftp request failed", place=shown, error=type(error).__name__, at=origin(error))
    return asyncssh.SFTPFailure(f"{shown}: {OURS}")


def origin(error: BaseException) -> str:
    """File and line where an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""


def shown(subject: object) -> str:
    """A path as the client sent it, or the name of a handle's file."""
    return subject.decode("utf-8", "backslashreplace") if isinstance(subject, bytes) else str(subject)
