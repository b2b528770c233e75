"""The exception tree: everything that this package raises on purpose.

GatewayError
├── ConfigError        a configuration file, key or value that cannot be used
│   └── ContractError  a contract that cannot be loaded or compiled
├── LedgerError        the ledger cannot be opened, or a row is not in the state that was asked for
├── AlreadyServing     another gateway holds the data directory
├── StoreError         the store cannot take or give what was asked for
│   ├── StoreUnreachable  its disk or service does not answer: what waits for it waits on
│   └── StoreContended    somebody else has written to a table in the meantime: resolve and try again
├── ResetRefused       a tenant that must not be reset, or not now
├── BackupError        a backup that cannot be taken, or that must not be trusted
├── UploadRefused      an SFTP request that the gateway turns away, told to the client in words
├── DropRefused        a whole drop turned away: the partner's report says why
│   ├── UnclosedQuote  a quote that nothing closes up to the end of the file
│   └── CutOff         a drop that looks cut off: held or refused, or processed as far as it is whole
├── WorkerDied         a worker process ended in the middle of a job
└── NotDelivered       on the partner's side: a file did not reach a gateway, or its report did not come back
    └── TurnedAway     the gateway was reached and said no
"""

from __future__ import annotations


class GatewayError(Exception):
    """Base of all errors of this package. The message is a sentence for the person who reads it."""


class ConfigError(GatewayError):
    """Configuration that cannot be used; the message names file, key, value and the likely intention."""


class ContractError(ConfigError):
    """A contract that cannot be loaded or compiled; the message names file and key."""


class LedgerError(GatewayError):
    """The ledger cannot be opened, or a row is not in the state that the caller asked for."""


class AlreadyServing(GatewayError):
    """Another gateway process holds the lock of this data directory."""


class ResetRefused(GatewayError):
    """A tenant is not reset: it is none for tests, or something of it is under way. Nothing was changed."""


class BackupError(GatewayError):
    """A backup cannot be taken or restored; the message names the file and says what to do."""


class StoreError(GatewayError):
    """The store cannot take or give what was asked for; nothing was lost. `hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.hint = hint


class StoreUnreachable(StoreError):
    """The disk or the service that holds the store does not answer, or not as it should."""


class StoreContended(StoreError):
    """Somebody else has written to a table between the look at it and the commit."""


class UploadRefused(GatewayError):
    """An SFTP request that is turned away; the message is what the client shows."""


class DropRefused(GatewayError):
    """A whole drop turned away.

    `code` is a stable problem code, `message` says what is wrong and where, `hint` what to do.
    `line` is the physical line (1-based, header included) where the file broke, when there is one;
    `column` the column that it is about.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        line: int | None = None,
        column: str | None = None,
        value: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.line = line
        self.column = column
        self.value = value


class UnclosedQuote(DropRefused):
    """A quote that nothing closes; the records in the first `whole` bytes of the text do not need it."""

    def __init__(self, message: str, *, line: int, whole: int) -> None:
        super().__init__("unterminated_quote", message, line=line)
        self.whole = whole


class CutOff(DropRefused):
    """A drop that ends in the middle of a record, a character or a compressed stream.

    `whole` is how many bytes of its text are left when the cut record is left out; 0 when nothing would be.
    """

    def __init__(self, message: str, *, line: int | None = None, whole: int = 0) -> None:
        super().__init__("suspect_cut_off", message, line=line)
        self.whole = whole


class WorkerDied(GatewayError):
    """A worker process ended in the middle of a job; the job was not finished by it."""


class NotDelivered(GatewayError):
    """On the partner's side: a file did not reach a gateway, or its report did not come back."""


class TurnedAway(NotDelivered):
    """The gateway was reached and said no; the message repeats its words."""
