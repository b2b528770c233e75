"""`gateway audit`: who did what, from where, with what result."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from gateway import clock
from gateway.cli.jobs import JSON_OPTION, opened_ledger, shown_time
from gateway.cli.listing import print_list
from gateway.cli.options import config_option
from gateway.ledger import audit as ledger_audit
from gateway.ledger.audit import Event
from gateway.ledger.states import AUDITED

COLUMNS = ("AT (UTC)", "WHAT", "RESULT", "TENANT", "USER", "ADDRESS", "OF", "BYTES", "DETAIL", "KEY", "CLIENT")
AGO = re.compile(r"(\d+)([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Since(click.ParamType[datetime]):
    """A date or time in UTC, or how long ago."""

    name = "TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if ago := AGO.fullmatch(value):
            return clock.now() - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"'{value}' is no time; write 2026-11-01, 2026-11-01T09:30 or 2h (30s, 10m, 7d)", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


@click.command()
@click.option("--user", "username", help="Only of this user.")
@click.option("--tenant", help="Only of this tenant.")
@click.option("--since", type=Since(), help="Only since then: 2026-11-01 (UTC), or 2h for the last two hours.")
@click.option("--what", type=click.Choice(AUDITED), help="Only this.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@JSON_OPTION
@config_option
def audit(
    username: str | None,
    tenant: str | None,
    since: datetime | None,
    what: str | None,
    limit: int,
    as_json: bool,
    root: Path,
) -> None:
    """List who did what, from where, and with what result; the newest first."""
    with opened_ledger(root) as ledger:
        found = ledger_audit.select(ledger, username=username, tenant=tenant, action=what, since=since, limit=limit)
    if as_json:
        click.echo(json.dumps([event.to_dict() for event in found], indent=2))
    elif found:
        print_list(COLUMNS, map(line_of, found))
    else:
        click.echo("Nothing.")


def line_of(event: Event) -> tuple[str, ...]:
    said = (event.tenant, event.username, event.address, event.subject)
    size = "" if event.bytes is None else f"{event.bytes:,}"
    rest = (event.detail, event.fingerprint, event.client)
    return (
        shown_time(event.at),
        event.action,
        event.result,
        *(one or "" for one in said),
        size,
        *(one or "" for one in rest),
    )
