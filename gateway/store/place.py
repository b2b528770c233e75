"""Where a store is: a folder of this machine, or any URL that deltalake and polars take; and what fails there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl
from deltalake.exceptions import CommitFailedError, DeltaError

from gateway.durable import sync_folder
from gateway.errors import StoreContended, StoreUnreachable

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
FAILURES = (DeltaError, OSError, pl.exceptions.PolarsError)


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one table, and the options of the service that holds it (they may be secrets)."""

    url: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def folder(self) -> Path | None:
        """The folder on this machine, None where the store is elsewhere."""
        if self.url.startswith("file://"):
            return Path(unquote(urlsplit(self.url).path))
        return None if "://" in self.url else Path(self.url)

    def below(self, *names: str) -> Place:
        return Place("/".join((self.url.rstrip("/"), *names)), self.options)

    def file(self, path: str) -> str:
        """The address of a file of the table, as polars takes it."""
        folder = self.folder
        return f"{self.url}/{path}" if folder is None else str(folder / path)

    @property
    def polars_options(self) -> dict[str, str] | None:
        return dict(self.options) or None

    def __str__(self) -> str:
        """Without what a URL may hold of a login."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "://" in self.url else self.url

    @contextmanager
    def reached(self, doing: str) -> Iterator[None]:
        """Failures of the disk, the service and the libraries become errors of ours, which say what to do."""
        try:
            yield
        except CommitFailedError as error:
            raise StoreContended(
                f"{self}: somebody else wrote to this table at the same time ({error}).",
                hint="One gateway writes to a store; end the other writer. The commit is tried again.",
            ) from error
        except FAILURES as error:
            raise StoreUnreachable(
                f"{self} cannot be reached ({doing}): {plain(str(error))}.",
                hint="See to its disk, network and access (store.url, store.options); what waits for it is kept.",
            ) from error


def plain(text: str) -> str:
    """What a library says, in one line and without colours."""
    return " ".join(COLOURS.sub("", text).replace("↳", "").split())[:500]


def make_folder(folder: Path) -> None:
    """The folder with all above it, their names durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
