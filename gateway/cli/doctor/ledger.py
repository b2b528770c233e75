"""Checks of the ledger: its file, its schema, the SQLite that writes it, and its times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from gateway import clock
from gateway.cli.doctor.findings import Check, Finding, Site, fail, note, ok, warning
from gateway.ledger import health

AHEAD_MAX = timedelta(minutes=1)


def sqlite(site: Site) -> Iterator[Finding]:
    del site
    if health.has_wal_race():
        yield warning(
            f"SQLite {health.sqlite_version()} has a rare race between processes that use one ledger",
            "Use a Python with SQLite 3.51.3 or newer when there is one for this system.",
        )
    else:
        yield ok(health.sqlite_version())


def ledger_file(site: Site) -> Iterator[Finding]:
    path = site.settings.ledger_path if site.settings else None
    if path is None or not path.is_file():
        yield note("there is no ledger yet", "`gateway serve` makes it.")
        return
    found = health.examine(path)
    if found.damage:
        yield fail(
            f"{path} is damaged: {'; '.join(found.damage)}",
            "Stop the gateway, keep the file, and go back to the last backup: `gateway restore DIR --replace`.",
        )
    elif found.differing:
        yield fail(
            f"{path} was made by another version of the gateway; these differ: {', '.join(found.differing)}",
            "Run the version that made it, or begin with a new data directory.",
        )
    else:
        yield ok(f"{path} is whole")


def clock_of_ledger(site: Site) -> Iterator[Finding]:
    path = site.settings.ledger_path if site.settings else None
    newest = health.examine(path).newest if path is not None and path.is_file() else None
    if newest is not None and newest > clock.now() + AHEAD_MAX:
        yield warning(
            f"the newest entry of the ledger is of {newest:%Y-%m-%d %H:%M:%S} UTC: the clock was set back",
            "Set the clock right (timedatectl); until then waits last longer.",
        )


CHECKS: tuple[Check, ...] = (sqlite, ledger_file, clock_of_ledger)
