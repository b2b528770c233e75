"""`gateway init`: a working directory with everything that `gateway serve` needs but a tenant."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import click

from gateway import durable
from gateway.cli.commented import gateway_toml
from gateway.cli.options import next_step
from gateway.config import SftpSettings
from gateway.errors import ConfigError


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, resolve_path=True, path_type=Path))
def init(directory: Path) -> None:
    """Make a working directory: gateway.toml, tenants/, data/ and an ed25519 host key."""
    path = directory / "gateway.toml"
    if path.exists():
        raise ConfigError(f"{path}: there is a gateway in this directory already; nothing was changed")
    for folder in (directory, directory / "tenants", directory / "data"):
        folder.mkdir(parents=True, exist_ok=True)
    host_keys = [directory / key for key in SftpSettings().host_keys]
    for host_key in host_keys:
        make_host_key(host_key)
    # gateway.toml comes last, so that an `init` that was cut short can be run again.
    durable.write(path, gateway_toml().encode(), replace=False)
    click.echo(f"Made {path}; every setting is explained in it.")
    for host_key in host_keys:
        click.echo(f"Host key {host_key}\n  {fingerprint(host_key)}")
    click.echo(f"Next: {next_step(directory, 'gateway tenant add NAME')}")


def make_host_key(path: Path) -> None:
    """A new ed25519 key, unless there is one: clients remember it, so it must never change by accident."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    durable.write(path, key.export_private_key(), 0o600)
    durable.write(path.with_name(f"{path.name}.pub"), key.export_public_key())


def fingerprint(path: Path) -> str:
    """`SHA256:…`, as ssh shows it to a partner who logs in for the first time."""
    return asyncssh.read_private_key(str(path)).get_fingerprint()
