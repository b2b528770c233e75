"""`gateway user`: the logins of a tenant."""

from __future__ import annotations

import sys
import typing
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from argon2 import PasswordHasher

from gateway import config
from gateway.cli import tenant_file
from gateway.cli.options import config_option, new_name
from gateway.cli.switching import set_disabled
from gateway.config import Settings
from gateway.config.keys import check_public_key


@click.group()
def user() -> None:
    """Add users, the logins of a tenant; disable and enable them."""


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
@click.option("--both", is_flag=True, help="Ask for a key and then for the password too; else one of them is enough.")
@click.option(
    "--from",
    "allow_from",
    metavar="ADDRESS",
    multiple=True,
    help="An address or network from which the user may log in; may be given several times. Else from everywhere.",
)
@click.option(
    "--expires",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d"]),
    help="From that day on, in UTC, the user cannot log in.",
)
def add(
    root: Path,
    tenant: str,
    username: str,
    email: str,
    role: str,
    key_files: tuple[Path, ...],
    password_stdin: bool,
    both: bool,
    allow_from: tuple[str, ...],
    expires: datetime | None,
) -> None:
    """Add USERNAME to TENANT."""
    values: dict[str, Any] = {"email": email, "role": role}
    if public_keys := [key for file in key_files for key in read_keys(file)]:
        values["keys"] = list(dict.fromkeys(public_keys))
    if password_stdin:
        values["password"] = read_password_hash()
    if both:
        values["login_with"] = "key_and_password"
    if allow_from:
        values["allow_from"] = list(allow_from)
    if expires is not None:
        values["expires"] = expires.date()
    settings = tenant_file.add_table(root, tenant, "users", username, values)
    click.echo(f"Added user '{username}' ({role}) to {tenant_file.tenant_path(root, tenant)}.")
    click.echo(what_is_missing(settings, tenant, username) or next_login(settings, username))


@user.command()
@config_option
@click.argument("tenant")
@click.argument("username")
def disable(root: Path, tenant: str, username: str) -> None:
    """Let nobody log in as USERNAME of TENANT; a running gateway ends their sessions within a second or two."""
    changed = set_disabled(root, tenant, username, disabled=True)
    click.echo(f"Disabled user '{username}'." if changed else f"User '{username}' is disabled already.")


@user.command()
@config_option
@click.argument("tenant")
@click.argument("username")
def enable(root: Path, tenant: str, username: str) -> None:
    """Let USERNAME of TENANT log in again."""
    changed = set_disabled(root, tenant, username, disabled=False)
    click.echo(f"Enabled user '{username}'." if changed else f"User '{username}' is enabled already.")


def what_is_missing(settings: Settings, tenant: str, username: str) -> str | None:
    """Why nobody can log in as this user yet, and what to do."""
    added, sftp = settings.tenants[tenant].users[username], settings.gateway.sftp
    has_ca = bool(settings.tenants[tenant].user_ca or settings.gateway.login.user_ca)
    has_key = bool(added.keys) or has_ca
    needs_password = not has_key or added.login_with == "key_and_password"
    nobody = "Nobody can log in as this user yet: "
    if not has_key and (added.password is None or added.login_with == "key_and_password"):
        return f'{nobody}add a line keys = ["ssh-ed25519 AAAA... name"] to the file.'
    if needs_password and not sftp.passwords:
        return f"{nobody}gateway.toml says sftp.passwords = false; set it to true and start the gateway again."
    return None


def next_login(settings: Settings, username: str) -> str:
    return f"Next: sftp -P {settings.gateway.sftp.port} {username}@HOST"


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
    # Clients may send a letter with an accent as one character or as two; the gateway verifies it in this form.
    return PasswordHasher().hash(unicodedata.normalize("NFKC", password))
