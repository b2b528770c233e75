"""`gateway bans` and `gateway unban`: who is refused for now because of failed logins."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click

from gateway import clock
from gateway.cli.jobs import JSON_OPTION, opened_ledger, shown_time
from gateway.cli.listing import print_list
from gateway.cli.options import config_option
from gateway.cli.recorded import operator
from gateway.ledger import bans as ledger_bans
from gateway.ledger.bans import Standing

COLUMNS = ("UNTIL (UTC)", "KIND", "WHO", "BANS")


@click.command()
@JSON_OPTION
@config_option
def bans(as_json: bool, root: Path) -> None:
    """List the addresses that get no connection, and the users whose passwords are refused, for now."""
    with opened_ledger(root) as ledger:
        found = ledger_bans.in_force(ledger, clock.now())
    if as_json:
        click.echo(json.dumps([told(standing) for standing in found], indent=2))
    elif found:
        print_list(COLUMNS, [(shown_time(one.banned_until), one.kind, one.subject, str(one.bans)) for one in found])
    else:
        click.echo("Nobody is banned.")


@click.command()
@click.argument("who", metavar="ADDRESS|USER")
@config_option
def unban(who: str, root: Path) -> None:
    """Forget the bans and points of an address (any of an IPv6 /64) or user. A running gateway does so at once."""
    with opened_ledger(root) as ledger:
        for standing in ledger_bans.unban(ledger, subjects(who), operator()):
            click.echo(f"The {standing.kind} {standing.subject} can log in again.")


def subjects(who: str) -> list[str]:
    """A name as it was typed, and as it stands in the ledger."""
    names = [who]
    with contextlib.suppress(ValueError):
        from gateway.sftp.defender import subject_of

        names.append(subject_of(who))
    return names


def told(standing: Standing) -> dict[str, object]:
    until = clock.text(standing.banned_until) if standing.banned_until else None
    return {"kind": standing.kind, "who": standing.subject, "banned_until": until, "bans": standing.bans}
