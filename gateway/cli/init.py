"""`gateway init`: a working directory with everything that `gateway serve` needs but a tenant."""

from __future__ import annotations

from pathlib import Path

import click

from gateway import durable
from gateway.cli.commented import gateway_toml
from gateway.cli.options import next_step
from gateway.config import SftpSettings
from gateway.errors import ConfigError
from gateway.sftp import host_keys


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, resolve_path=True, path_type=Path))
def init(directory: Path) -> None:
    """Make a working directory: gateway.toml, tenants/, data/ and the host keys."""
    path = directory / "gateway.toml"
    if path.exists():
        raise ConfigError(f"{path}: there is a gateway in this directory already; nothing was changed")
    directory.mkdir(parents=True, exist_ok=True)
    for folder in (directory / "tenants", directory / "data"):
        folder.mkdir(mode=0o750, exist_ok=True)
    keys = [directory / key for key in SftpSettings().host_keys]
    for key in keys:
        # One that is there stays: clients remember it, so it must never change by accident.
        if not key.exists():
            host_keys.make(key, host_keys.kind_of_name(key))
    # gateway.toml comes last, so that an `init` that was cut short can be run again.
    durable.write(path, gateway_toml().encode(), replace=False)
    click.echo(f"Made {path}; every setting is explained in it.")
    for key in keys:
        click.echo(f"Host key {key}\n  {host_keys.load(key).fingerprint}")
    click.echo(f"Next: {next_step(directory, 'gateway tenant add NAME')}")
