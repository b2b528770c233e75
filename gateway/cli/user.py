"""`gateway user`: the logins of a tenant."""

from __future__ import annotations

import sys
import typing
from pathlib import Path

import click
from argon2 import PasswordHasher

from gateway import config
from gateway.cli import tenant_file
from gateway.cli.options import config_option, new_name
from gateway.config.keys import check_public_key


@click.group()
def user() -> None:
    """Add users, the logins of a tenant."""


@user.command()
@config_option
@click.argument("tenant")
@click.argument("username", callback=new_name)
@click.option("--email", required=True, help="Who it is; the ledger and every report say it.")
@click.option(
    "--role",
    required=True,
    type=click.Choice(typing.get_args(config.Role)),
    help="admin, creator and approver may upload; viewer only reads outbox/ and samples/.",
)
@click.option(
    "--key",
    "key_files",
    metavar="FILE.pub",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A public key that may log in; may be given several times.",
)
@click.option("--password-stdin", is_flag=True, help="Read a password from standard input; its argon2id hash is kept.")
def add(
    root: Path, tenant: str, username: str, email: str, role: str, key_files: tuple[Path, ...], password_stdin: bool
) -> None:
    """Add USERNAME to TENANT."""
    values: dict[str, str | list[str]] = {"email": email, "role": role}
    if public_keys := [key for file in key_files for key in read_keys(file)]:
        values["keys"] = list(dict.fromkeys(public_keys))
    if password_stdin:
        values["password"] = read_password_hash()
    settings = tenant_file.add_table(root, tenant, "users", username, dict(values))
    click.echo(f"Added user '{username}' ({role}) to {tenant_file.tenant_path(root, tenant)}.")
    if "keys" not in values and "password" not in values:
        click.echo('Nobody can log in as this user yet: add a line keys = ["ssh-ed25519 AAAA... name"] to the file.')
    elif "keys" not in values and not settings.gateway.sftp.passwords:
        click.echo("Nobody can log in as this user yet: gateway.toml says sftp.passwords = false, and there is no key.")
    else:
        click.echo(f"Next: sftp -P {settings.gateway.sftp.port} {username}@HOST")


def read_keys(file: Path) -> list[str]:
    """The public keys in a .pub file; wrong usage when there are none, or something else."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        found = [check_public_key(line) for line in lines if line and not line.startswith("#")]
    except ValueError as error:
        raise click.BadParameter(f"{file}: {error}", param_hint="--key") from None
    if not found:
        raise click.BadParameter(f"{file}: there is no key in this file", param_hint="--key")
    return found


def read_password_hash() -> str:
    """The argon2id hash of the first line of standard input."""
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("--password-stdin: standard input holds no password")
    return PasswordHasher().hash(password)
