"""`gateway tenant`: who sends."""

from __future__ import annotations

from pathlib import Path

import click

from gateway import config
from gateway.cli import tenant_file
from gateway.cli.commented import keys
from gateway.cli.listing import print_list
from gateway.cli.options import config_option, new_name, next_step
from gateway.cli.switching import set_disabled
from gateway.cli.tenant_reset import reset

HEAD = """\
# Tenant {name}: who it is, who may log in, and which files it sends. A running gateway follows this file.
"""


@click.group()
def tenant() -> None:
    """Add and list tenants; disable and enable them; reset one for tests."""


tenant.add_command(reset)


@tenant.command()
@config_option
@click.argument("name", callback=new_name)
@click.option(
    "--environment",
    type=click.Choice(["test", "production"]),
    default="production",
    show_default=True,
    help="Only a test tenant can be reset.",
)
@click.option("--timezone", metavar="ZONE", default="UTC", show_default=True, help="The zone of times that name none.")
def add(root: Path, name: str, environment: str, timezone: str) -> None:
    """Add a tenant: a file tenants/NAME.toml."""
    given = {"environment": environment, "timezone": timezone}
    text = HEAD.format(name=name) + "\n" + "\n".join(keys(config.TenantSettings, given)) + "\n"
    tenant_file.make(root, name, text)
    click.echo(f"Made {tenant_file.tenant_path(root, name)}.")
    click.echo(f"Next: {next_step(root, f'gateway feed add {name} FEED --contract CONTRACT')}")
    add_user = f"gateway user add {name} USERNAME --email EMAIL --role creator --key FILE.pub"
    click.echo(f"      {next_step(root, add_user)}")


@tenant.command(name="list")
@config_option
def list_tenants(root: Path) -> None:
    """List the tenants."""
    print_list(
        ["tenant", "environment", "timezone", "users", "feeds"],
        [
            [
                f"{name} (disabled)" if one.disabled else name,
                one.environment,
                one.timezone,
                ", ".join(one.users),
                ", ".join(one.feeds),
            ]
            for name, one in config.load(root).tenants.items()
        ],
    )


@tenant.command()
@config_option
@click.argument("name")
def disable(root: Path, name: str) -> None:
    """Let no user of tenant NAME log in; a running gateway ends their sessions within a second or two."""
    changed = set_disabled(root, name, None, disabled=True)
    click.echo(f"Disabled tenant '{name}'." if changed else f"Tenant '{name}' is disabled already.")


@tenant.command()
@config_option
@click.argument("name")
def enable(root: Path, name: str) -> None:
    """Let the users of tenant NAME log in again."""
    changed = set_disabled(root, name, None, disabled=False)
    click.echo(f"Enabled tenant '{name}'." if changed else f"Tenant '{name}' is enabled already.")
