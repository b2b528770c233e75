"""Checks of the work: drops that wait for an operator, and jobs that do not get on."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.cli.doctor.findings import Check, Finding, Site, fail, note, ok, warning
from gateway.ledger import health, quarantine


def quarantined_drops(site: Site) -> Iterator[Finding]:
    if site.ledger is None:
        return
    found = quarantine.quarantined(site.ledger)
    for one in found:
        yield fail(
            f"{one.tenant}/{one.feed}/{one.file} since {one.since:%Y-%m-%d %H:%M:%S} UTC: {one.reason}",
            f"See `gateway job {one.job_id}`; when it is mended, `gateway requeue {one.job_id}`.",
        )
    if not found:
        yield ok("none")


def stuck_jobs(site: Site) -> Iterator[Finding]:
    for one in health.stuck(site.ledger) if site.ledger else ():
        yield warning(
            f"{one.tenant}/{one.feed}/{one.file} is {one.status} since {one.since:%Y-%m-%d %H:%M:%S} UTC",
            f"See `gateway job {one.job_id}` and the log; does a gateway serve?",
        )


def held_drops(site: Site) -> Iterator[Finding]:
    counts = health.held_counts(site.ledger) if site.ledger else {}
    if counts:
        said = ", ".join(f"{count:,} for {held_for}" for held_for, count in counts.items())
        yield note(f"held: {said}", "See `gateway drops --state held`.")


CHECKS: tuple[Check, ...] = (quarantined_drops, stuck_jobs, held_drops)
