"""`gateway tenant reset`: a tenant for tests begins anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.jobs import opened_ledger
from gateway.cli.options import config_option
from gateway.cli.stored import settings_of

if TYPE_CHECKING:
    from gateway.reset import Plan


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for the name.")
@config_option
def reset(name: str, yes: bool, root: Path) -> None:
    """Empty the store, the folders and the duplicate marks of tenant NAME, which must be one for tests.

    What is in the ledger and in the archive stays. A command that was cut short is given again.
    """
    # polars and deltalake take a while, which the other commands about tenants need not wait for.
    from gateway.reset import plan
    from gateway.reset import reset as begin_anew

    settings = settings_of(root, name)
    with opened_ledger(root) as ledger:
        lines = lines_of(plan(settings, ledger, name))
        click.echo(f"Of tenant '{name}' these will go, for good:")
        for line in lines:
            click.echo(f"  {line}")
        if not yes and click.prompt(f"Type '{name}' to go on", default="", show_default=False) != name:
            click.echo("Nothing was changed.")
            raise click.exceptions.Exit(1)
        begin_anew(settings, ledger, name)
    click.echo(f"Tenant '{name}' begins anew. Its history stays in the ledger: `gateway jobs --tenant {name}`.")


def lines_of(found: Plan) -> list[str]:
    rows = {table: found.rows.get(table, 0) for table in ("profiles", "companies", "events")}
    return [
        "stored: " + ", ".join(f"{count:,} {table}" for table, count in rows.items()),
        f"files: {found.inbox_files:,} in the inbox, {found.outbox_files:,} in the outbox",
        f"unfinished uploads: {found.uploads:,}",
        f"files that are known as duplicates when they come again: {found.marks:,}",
    ]
