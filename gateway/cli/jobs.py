"""`gateway jobs`, `gateway job`, `gateway requeue`: what happened, read from the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway import clock
from gateway.cli.listing import harmless, plainly, print_list, wide_console
from gateway.cli.options import config_option
from gateway.config import Settings, load_gateway
from gateway.errors import LedgerError
from gateway.ledger import Ledger
from gateway.ledger import drops as ledger_drops
from gateway.ledger import jobs as ledger_jobs
from gateway.ledger.jobs import JobRow
from gateway.ledger.quarantine import Quarantined, quarantined
from gateway.ledger.states import JOB_STATUSES
from gateway.ledger.transitions import Transition, history

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
COLUMNS = ("UPLOADED (UTC)", "TENANT", "FEED", "FILE", "STATUS", "ROWS", "ACCEPTED", "ERRORS", "SECONDS", "JOB")
NUMBERS = ("ROWS", "ERRORS")
STYLES = {"completed": "green", "failed": "bold red"}
QUARANTINED_STYLE = "bold red"
QUARANTINED_SHOWN = 10
ID_SHOWN = 18
"""Characters of an id on a terminal: its time in milliseconds, and 12 bits more."""

COUNTS = ("total", "accepted", "merged", "duplicate", "rejected", "withheld", "blank")


@click.command()
@click.option("--tenant", help="Only of this tenant.")
@click.option("--feed", help="Only of this feed.")
@click.option("--status", type=click.Choice(JOB_STATUSES), help="Only with this status.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@JSON_OPTION
@config_option
def jobs(tenant: str | None, feed: str | None, status: str | None, limit: int, as_json: bool, root: Path) -> None:
    """List jobs, the newest first."""
    with opened_ledger(root) as ledger:
        say_quarantined(quarantined(ledger))
        found = ledger_jobs.select(ledger, tenant=tenant, feed=feed, status=status, limit=limit)
    if as_json:
        click.echo(json.dumps([job.to_dict() for job in found], indent=2))
    elif found:
        print_jobs(found)
    else:
        click.echo("No jobs.")


@click.command()
@click.argument("job_id", metavar="ID")
@JSON_OPTION
@config_option
def job(job_id: str, as_json: bool, root: Path) -> None:
    """Show one job and all that happened to it. The beginning of its ID is enough, if no other job has it."""
    with opened_ledger(root) as ledger:
        found = ledger_jobs.find(ledger, job_id)
        drop = ledger_drops.get(ledger, found.drop_id)
        commit = f"{found.tenant}/{found.commit_sequence}" if found.commit_sequence else None
        transitions = history(ledger, *[one for one in (found.id, drop.id, drop.upload_id, commit) if one])
    show_one(found.to_dict(), job_facts(found), transitions, as_json)


@click.command()
@click.argument("job_id", metavar="ID")
@config_option
def requeue(job_id: str, root: Path) -> None:
    """Run a completed or failed job again on the same bytes. A running gateway begins it within a second."""
    with opened_ledger(root) as ledger:
        found = ledger_jobs.find(ledger, job_id)
        ledger_jobs.requeue(ledger, found.id, clock.now())
    click.echo(plainly(f"Job {found.id} ({found.tenant}/{found.feed}/{found.filename}) is queued again."))


def show_one(plain: dict[str, Any], facts: list[tuple[str, Any]], transitions: list[Transition], as_json: bool) -> None:
    """A job, a drop or an upload, and all that happened to it."""
    if as_json:
        told = [asdict(transition) | {"at": clock.text(transition.at)} for transition in transitions]
        click.echo(json.dumps(plain | {"transitions": told}, indent=2))
        return
    for name, value in facts:
        wide_console().print(f"{name:<14}", harmless(value), soft_wrap=True)
    click.echo()
    print_list(("AT (UTC)", "WHAT", "FROM", "TO", "WHY"), map(transition_line, transitions))


@contextmanager
def opened_ledger(root: Path) -> Iterator[Ledger]:
    """The ledger of a configuration directory; LedgerError when no gateway has made it yet."""
    path = Settings(root=root, gateway=load_gateway(root), tenants={}).ledger_path
    if not path.is_file():
        raise LedgerError(f"{path}: there is no ledger yet; `gateway serve` makes it")
    ledger = Ledger(path)
    try:
        yield ledger
    finally:
        ledger.close()


def say_quarantined(waiting: list[Quarantined]) -> None:
    """What nobody may miss, before the list; on stderr, so that who reads a pipe gets the list alone."""
    if not waiting:
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(harmless(f"{len(waiting):,} quarantined: the gateway could not process them.", QUARANTINED_STYLE))
    for one in waiting[:QUARANTINED_SHOWN]:
        console.print(
            harmless(
                f"  {one.tenant}/{one.feed}/{one.file} since {shown_time(one.since)}: {one.reason}", QUARANTINED_STYLE
            )
        )
        console.print(Text(f"    see `gateway job {one.job_id}`; when it is mended `gateway requeue {one.job_id}`"))
    if len(waiting) > QUARANTINED_SHOWN:
        console.print(f"  and {len(waiting) - QUARANTINED_SHOWN:,} more: `gateway drops --state quarantined`")


def print_jobs(found: list[JobRow]) -> None:
    """Whole lines for a pipe. On a terminal as much as fits, and as much of an id as tells it from the others."""
    console = wide_console()
    if not console.is_terminal:
        print_list(COLUMNS, map(job_line, found))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("UPLOADED (UTC)", "FEED", "FILE", "STATUS", "ROWS", "ERRORS", "JOB"):
        table.add_column(
            heading, no_wrap=heading != "FILE", overflow="fold", justify="right" if heading in NUMBERS else "left"
        )
    for one in found:
        table.add_row(
            shown_time(one.uploaded_on),
            f"{one.tenant}/{one.feed}",
            harmless(one.filename),
            Text(shown_status(one), STYLES.get(one.status, "cyan")),
            f"{one.total_rows:,}",
            Text(f"{one.rejected_rows:,}", "yellow" if one.rejected_rows else ""),
            one.id[:ID_SHOWN],
        )
    console.print(table)


def job_line(found: JobRow) -> tuple[str, ...]:
    return (
        shown_time(found.uploaded_on),
        found.tenant,
        found.feed,
        found.filename,
        shown_status(found),
        f"{found.total_rows:,}",
        f"{found.accepted_rows:,}",
        f"{found.rejected_rows:,}",
        shown_seconds(found.elapsed_time),
        found.id,
    )


def job_facts(found: JobRow) -> list[tuple[str, Any]]:
    """What a person wants to know about a job, as name and value; what is not known is left out."""
    counts = ", ".join(f"{getattr(found, f'{name}_rows'):,} {name}" for name in COUNTS)
    problems = ", ".join(f"{code} {count:,}" for code, count in found.problems_by_code.items())
    facts = [
        ("job", found.id),
        ("file", f"{found.tenant}/{found.feed}/{found.filename} ({found.file_size:,} bytes)"),
        ("status", f"{status_words(found)} since {shown_time(found.status_since)}, tries {found.tries}"),
        ("uploaded", f"{shown_time(found.uploaded_on)} by {found.uploaded_by or 'a local program'}"),
        (
            "ran",
            f"{shown_time(found.start_time)} to {shown_time(found.end_time)} ({shown_seconds(found.elapsed_time)} s)",
        ),
        ("contract", f"{found.contract} {found.contract_sha256[:12]}" if found.contract_sha256 else found.contract),
        ("rows", counts),
        ("problems", problems),
        ("failed because", "; ".join(found.reason_for_failure)),
        ("store", f"commit {found.commit_sequence} of the tenant" if found.commit_sequence else None),
        ("dry run", "nothing of it is stored" if found.dry_run else None),
        ("same bytes as", found.duplicate_of),
        ("repairs", found.repairs),
        ("repaired", repaired_so_far(found)),
    ]
    return [(name, value) for name, value in facts if value]


def shown_status(found: JobRow) -> str:
    return f"{found.status} (dry run)" if found.dry_run else found.status


def status_words(found: JobRow) -> str:
    """What people see: In Progress, with the step, until it is Completed or Failed (C21)."""
    return found.status.capitalize() if found.status in ledger_jobs.ENDED else f"In Progress ({found.status})"


def repaired_so_far(found: JobRow) -> str:
    """Who brought back rejected rows, and how many of them are in."""
    if not found.repaired_by:
        return ""
    return f"{found.repaired_rows:,} of {found.rejected_rows:,} rejected rows, by {found.repaired_by}"


def transition_line(transition: Transition) -> tuple[str, ...]:
    at = transition.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return at, transition.kind, transition.old or "", transition.new, transition.reason or ""


def shown_time(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S") if at else "-"


def shown_seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"
