"""Results: the files in the outboxes, by the job that they are of; and what was left over there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import structlog

from gateway import clock
from gateway.config import Settings
from gateway.ledger import Ledger, retention
from gateway.ledger.jobs import JobRow
from gateway.pickup.proofs import SUFFIXES
from gateway.pipeline.drop import Outcome
from gateway.retention.swept import Stopping, Swept, is_older, never

log = structlog.get_logger()

PORTION = 20
"""Jobs in one transaction. It is held while their files are unlinked, so that none is requeued in that moment."""


def sweep_results(settings: Settings, ledger: Ledger, before: datetime, stopping: Stopping = never) -> Swept:
    """Remove the results of jobs that ended before that time, what is left over from others, and empty folders."""
    swept, after = Swept(), ""
    while not stopping() and (found := retention.published(ledger, before, after, PORTION)):
        after = found[-1].id
        try:
            with ledger.transaction():
                for job in found:
                    remove_results(settings, ledger, job, swept)
        except OSError as error:
            # Nothing of it is noted, so that the next sweep comes back to it.
            log.warning("results cannot be removed", job=found[0].id, error=str(error))
    for feed in feeds(settings):
        sweep_leftovers(ledger, feed, before, swept)
    return swept


def remove_results(settings: Settings, ledger: Ledger, job: JobRow, swept: Swept) -> None:
    if not retention.note_results_swept(ledger, job, clock.now()) or job.outcome is None:
        return
    outbox = settings.tenant_dir(job.tenant) / "outbox" / job.feed
    for file in Outcome.from_json(job.outcome).files:
        swept.remove(outbox / file.name)


def feeds(settings: Settings) -> list[Path]:
    """The outbox of every feed that has one, also of those that are configured no more."""
    return sorted(path for path in (settings.data_dir / "tenants").glob("*/outbox/*") if path.is_dir())


def sweep_leftovers(ledger: Ledger, outbox: Path, before: datetime, swept: Swept) -> None:
    """Old files of no job that needs them: results that a killed run left, status files, folders of partners."""
    tenant, feed = outbox.parts[-3], outbox.parts[-1]
    for folder, files in folders_below(outbox):
        for entry in files:
            path = Path(entry.path)
            names = possible_drops(path.relative_to(outbox).as_posix())
            if is_older(entry, before.timestamp()) and not retention.needs_outbox(ledger, tenant, feed, names):
                try:
                    swept.remove(path)
                except OSError as error:
                    log.warning("file in the outbox cannot be removed", file=path.name, error=str(error))
        if folder != outbox:
            remove_if_empty(folder)


def folders_below(root: Path) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Every folder with its regular files, the deepest first. Links are not followed."""
    with os.scandir(root) as found:
        entries = list(found)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from folders_below(Path(entry.path))
    yield root, [entry for entry in entries if entry.is_file(follow_symlinks=False)]


def possible_drops(path: str) -> list[str]:
    """The paths of drops whose results may be named like this: `a/b.csv.g2.report.json` is one of `a/b.csv`.

    A file that is being written is hidden: `.b.csv.status.json.x1.new`.
    """
    folder, slash, name = path.rpartition("/")
    parts = name.removeprefix(".").split(".")
    names = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    # What only proves a file has its status under the name of the file.
    return [f"{folder}{slash}{one}{suffix}" for one in names for suffix in ("", *SUFFIXES.values())]


def remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # Something is in it.
