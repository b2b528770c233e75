"""`gateway backup` and `gateway restore`: a copy of ledger, files and configuration, and the way back."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.backup.backup import back_up
from gateway.backup.restore import restore as bring_back
from gateway.cli.jobs import opened_ledger
from gateway.cli.options import config_option, next_step
from gateway.config import Settings, load_gateway

FOLDER = click.Path(file_okay=False, resolve_path=True, path_type=Path)


@click.command()
@click.argument("directory", metavar="DIR", type=FOLDER)
@config_option
def backup(directory: Path, root: Path) -> None:
    """Copy ledger, files and configuration into DIR, which must be new or empty. The gateway may serve meanwhile.

    The configuration includes host keys and hashes of passwords: guard DIR as you guard the gateway.
    """
    settings = Settings(root=root, gateway=load_gateway(root), tenants={})
    with opened_ledger(root) as ledger:
        done = back_up(settings, ledger, directory)
    for warning in done.warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(f"Backed up {len(done.digests):,} files, {size_words(done.bytes)}, to {directory}.")
    click.echo(f"Check it at any time: cd {directory} && sha256sum --quiet -c MANIFEST")


@click.command()
@click.argument(
    "directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
)
@click.option("--replace", is_flag=True, help="Move the data that is there aside.")
@config_option
def restore(directory: Path, replace: bool, root: Path) -> None:
    """Bring back the backup in DIR, as the user that the gateway runs as; no gateway may serve meanwhile.

    Every file is compared with the backup's MANIFEST first. The configuration comes back only where there is none.
    """
    done = bring_back(directory, root, replace=replace)
    if done.moved_to is not None:
        click.echo(f"What was there before is in {done.moved_to}.")
    click.echo(f"Restored {done.files:,} files, {size_words(done.bytes)}, to {done.settings.data_dir}.")
    if not done.with_config:
        click.echo(f"The configuration in {root} was left as it is; that of the backup is in {directory / 'config'}.")
    click.echo(f"Next: {next_step(root, 'gateway serve')}")


def size_words(size: int) -> str:
    """`1.4 MB`: bytes for people."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f} {unit}"
    return f"{size} bytes"
