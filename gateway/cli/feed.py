"""`gateway feed`: the drop folders of a tenant, each with its contract."""

from __future__ import annotations

from pathlib import Path

import click

from gateway import config, contracts
from gateway.cli import tenant_file
from gateway.cli.listing import print_list
from gateway.cli.options import config_option, new_name, next_step


@click.group()
def feed() -> None:
    """Add and list feeds, the drop folders of a tenant."""


@feed.command()
@config_option
@click.argument("tenant")
@click.argument("name", metavar="FEED", callback=new_name)
@click.option(
    "--contract",
    required=True,
    help="What the files must look like: a built-in contract, or contracts/NAME.toml beside gateway.toml.",
)
def add(root: Path, tenant: str, name: str, contract: str) -> None:
    """Add FEED to TENANT: a folder inbox/FEED whose files must keep CONTRACT."""
    contracts.load(contract, root)
    settings = tenant_file.add_table(root, tenant, "feeds", name, {"contract": contract})
    click.echo(f"Added feed '{name}' ({contract}) to {tenant_file.tenant_path(root, tenant)}.")
    if settings.tenants[tenant].users:
        click.echo(f"Next: {next_step(root, 'gateway serve')}, then put files into inbox/{name}/")
    else:
        add_user = f"gateway user add {tenant} USERNAME --email EMAIL --role creator --key FILE.pub"
        click.echo(f"Next: {next_step(root, add_user)}")


@feed.command(name="list")
@config_option
@click.option("--tenant", "only", metavar="TENANT", help="Only the feeds of this tenant.")
def list_feeds(root: Path, only: str | None) -> None:
    """List the feeds of all tenants."""
    settings = config.load(root)
    if only is not None:
        tenant_file.known_tenant(settings, only)
    print_list(
        ["tenant", "feed", "contract", "on_error", "on_duplicate", "result_format"],
        [
            [tenant, name, one.contract, one.on_error, one.on_duplicate, one.result_format]
            for tenant, settings_of in settings.tenants.items()
            for name, one in settings_of.feeds.items()
            if only in (None, tenant)
        ],
    )
