"""`gateway uploads`: what clients are writing or have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateway.cli.jobs import ID_SHOWN, JSON_OPTION, opened_ledger, show_one, shown_time
from gateway.cli.listing import print_list, wide_console
from gateway.cli.options import config_option
from gateway.ledger import uploads as ledger_uploads
from gateway.ledger.states import UPLOAD_STATES
from gateway.ledger.transitions import history
from gateway.ledger.uploads import UploadRow

COLUMNS = ("OPENED (UTC)", "USER", "FEED", "FILE", "STATE", "BYTES", "WHY", "CLIENT", "UPLOAD")


@click.command()
@click.argument("upload_id", metavar="[ID]", required=False)
@click.option("--tenant", help="Only of this tenant.")
@click.option("--feed", help="Only of this feed.")
@click.option("--state", type=click.Choice(UPLOAD_STATES), help="Only in this state.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@JSON_OPTION
@config_option
def uploads(
    upload_id: str | None,
    tenant: str | None,
    feed: str | None,
    state: str | None,
    limit: int,
    as_json: bool,
    root: Path,
) -> None:
    """List uploads, the newest first; or show the one whose ID begins so, and all that happened to it."""
    with opened_ledger(root) as ledger:
        if upload_id is not None:
            upload = ledger_uploads.find(ledger, upload_id)
            show_one(upload.to_dict(), upload_facts(upload), history(ledger, upload.id), as_json)
            return
        found = ledger_uploads.select(ledger, tenant=tenant, feed=feed, state=state, limit=limit)
    if as_json:
        click.echo(json.dumps([upload.to_dict() for upload in found], indent=2))
    elif found:
        print_list(COLUMNS, map(upload_line, found))
    else:
        click.echo("No uploads.")


def upload_line(upload: UploadRow) -> tuple[str, ...]:
    return (
        shown_time(upload.opened_at),
        upload.username,
        f"{upload.tenant}/{upload.feed}",
        upload.path,
        upload.state,
        f"{upload.bytes:,}",
        upload.reason or "",
        upload.client or "",
        upload.id[:ID_SHOWN] if wide_console().is_terminal else upload.id,
    )


def upload_facts(upload: UploadRow) -> list[tuple[str, Any]]:
    """What a person wants to know about an upload, as name and value; what is not known is left out."""
    facts = [
        ("upload", upload.id),
        ("file", f"{upload.tenant}/{upload.feed}/{upload.path} ({upload.bytes:,} bytes)"),
        ("state", upload.state),
        ("because", upload.reason),
        ("by", f"{upload.username} at {upload.address or 'an unknown address'}"),
        ("with", upload.client),
        ("opened", shown_time(upload.opened_at)),
        ("ended", shown_time(upload.ended_at) if upload.ended_at else None),
    ]
    return [(name, value) for name, value in facts if value]
