"""`gateway events`: what happened to a tenant's people, oldest first."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.audit import Since
from gateway.cli.jobs import JSON_OPTION, shown_time
from gateway.cli.listing import print_list
from gateway.cli.options import config_option
from gateway.cli.stored import files_of_jobs, json_object, opened_store, settings_of

COLUMNS = ("TIME (UTC)", "IDENTITY", "EVENT", "PROPERTIES", "FILE", "ROW")
LISTED = 50
LISTED_MAX = 100_000


@click.command()
@click.argument("tenant")
@click.option("--identity", help="Only of this one.")
@click.option("--namespace", help="Only of this identity column.")
@click.option("--name", help="Only events of this name.")
@click.option("--since", type=Since(), help="Only since then: 2026-11-01 (UTC), or 2h for the last two hours.")
@click.option("--until", type=Since(), help="Only before then.")
@click.option(
    "--limit",
    type=click.IntRange(1, LISTED_MAX),
    help=f"The last so many; without it {LISTED}, and with --json all.",
)
@JSON_OPTION
@config_option
def events(
    tenant: str,
    identity: str | None,
    namespace: str | None,
    name: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    as_json: bool,
    root: Path,
) -> None:
    """List the events of TENANT by their own time, the newest last. With --json one a line, as they are read."""
    settings = settings_of(root, tenant)
    store = opened_store(settings, tenant)
    from gateway.store import lookup

    wanted = lookup.Wanted(identity, namespace, since, until, name)
    if as_json:
        found = lookup.events(store, wanted) if limit is None else iter(lookup.last_events(store, wanted, limit))
        try:
            for event in found:
                click.echo(event_json(event))
        except BrokenPipeError:  # Whoever reads has had enough; the rest is not flushed into nothing at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    last = lookup.last_events(store, wanted, limit or LISTED)
    if not last:
        click.echo("No events.")
        return
    files = files_of_jobs(settings, {event["job"] for event in last})
    print_list(COLUMNS, (event_line(event, files) for event in last), gives_way="PROPERTIES")


def event_line(event: dict[str, Any], files: dict[str, str]) -> tuple[str, ...]:
    of = f"{event['namespace']} {event['identity']}"
    file = files.get(event["job"], event["feed"])
    return shown_time(event["time"]), of, event["name"], event["properties"], file, f"{event['row']:,}"


def event_json(event: dict[str, Any], files: dict[str, str] | None = None) -> str:
    """An event on one line, its properties to the letter."""
    plain = {name: value for name, value in event.items() if name not in ("properties", "unique_key")}
    if files is not None:
        plain["file"] = files.get(event["job"])
    return json_object(plain, {"properties": event["properties"] or "{}"})
