"""`gateway drops`, `gateway release` and `gateway withdraw`: what landed, and what an operator decides about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateway import clock
from gateway.cli.jobs import ID_SHOWN, JSON_OPTION, opened_ledger, show_one, shown_time
from gateway.cli.listing import plainly, print_list, wide_console
from gateway.cli.options import config_option
from gateway.ledger import drops as ledger_drops
from gateway.ledger import holds
from gateway.ledger.drops import DropRow
from gateway.ledger.states import DROP_STATES
from gateway.ledger.transitions import history

COLUMNS = ("LANDED (UTC)", "FEED", "FILE", "GEN", "STATE", "SINCE (UTC)", "WHY", "DROP")


@click.command()
@click.argument("drop_id", metavar="[ID]", required=False)
@click.option("--tenant", help="Only of this tenant.")
@click.option("--feed", help="Only of this feed.")
@click.option("--state", type=click.Choice(DROP_STATES), help="Only in this state.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@JSON_OPTION
@config_option
def drops(
    drop_id: str | None,
    tenant: str | None,
    feed: str | None,
    state: str | None,
    limit: int,
    as_json: bool,
    root: Path,
) -> None:
    """List drops, the newest first; or show the one whose ID begins so, and all that happened to it."""
    with opened_ledger(root) as ledger:
        if drop_id is not None:
            drop = ledger_drops.find(ledger, drop_id)
            transitions = history(ledger, *[one for one in (drop.upload_id, drop.id, drop.job_id) if one])
            show_one(drop.to_dict(), drop_facts(drop), transitions, as_json)
            return
        found = ledger_drops.select(ledger, tenant=tenant, feed=feed, state=state, limit=limit)
    if as_json:
        click.echo(json.dumps([drop.to_dict() for drop in found], indent=2))
    elif found:
        print_list(COLUMNS, map(drop_line, found))
    else:
        click.echo("No drops.")


@click.command()
@click.argument("drop_id", metavar="ID")
@config_option
def release(drop_id: str, root: Path) -> None:
    """Let a held drop be processed as it is, or a quarantined one be tried again. A running gateway does so at once."""
    with opened_ledger(root) as ledger:
        drop = ledger_drops.find(ledger, drop_id)
        holds.release(ledger, drop, clock.now())
    click.echo(plainly(f"Drop {drop.id} ({drop.tenant}/{drop.feed}/{drop.path}) is released."))


@click.command()
@click.argument("drop_id", metavar="ID")
@config_option
def withdraw(drop_id: str, root: Path) -> None:
    """Take back a drop that no job has begun. Its file leaves the inbox for the archive, and is not processed."""
    with opened_ledger(root) as ledger:
        drop = ledger_drops.find(ledger, drop_id)
        holds.withdraw(ledger, drop, "withdrawn by an operator", "archive", clock.now())
    click.echo(plainly(f"Drop {drop.id} ({drop.tenant}/{drop.feed}/{drop.path}) is withdrawn."))


def drop_line(drop: DropRow) -> tuple[str, ...]:
    return (
        shown_time(drop.landed_at),
        f"{drop.tenant}/{drop.feed}",
        drop.path,
        str(drop.generation),
        f"{drop.state} (dry run)" if drop.dry_run else drop.state,
        shown_time(drop.state_since),
        drop.reason or "",
        drop.id[:ID_SHOWN] if wide_console().is_terminal else drop.id,
    )


def drop_facts(drop: DropRow) -> list[tuple[str, Any]]:
    """What a person wants to know about a drop, as name and value; what is not known is left out."""
    until = f", until {shown_time(drop.held_until)}" if drop.state == "held" and drop.held_until else ""
    facts = [
        ("drop", drop.id),
        ("file", f"{drop.tenant}/{drop.feed}/{drop.path} ({drop.bytes:,} bytes), generation {drop.generation}"),
        ("is", "" if drop.kind == "data" else f"a proof for another file ({drop.kind})"),
        ("state", f"{drop.state} since {shown_time(drop.state_since)}{until}"),
        ("dry run", "nothing of it is stored" if drop.dry_run else None),
        ("because", drop.reason),
        ("landed", f"{shown_time(drop.landed_at)} by {drop.username or 'a local program'}"),
        ("proof", drop.proof),
        ("sha256", drop.sha256),
        ("checksum says", drop.expected_sha256),
        ("upload", drop.upload_id),
        ("job", drop.job_id),
    ]
    return [(name, value) for name, value in facts if value]
