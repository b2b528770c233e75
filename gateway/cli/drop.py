"""`gateway drop`: what a partner does, as one command. It needs nothing of a gateway but SFTP."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from gateway.cli.known_hosts import HostKeys
from gateway.cli.listing import harmless, plainly, wide_console
from gateway.cli.partner import Address, Login, Partner, Sent, connect
from gateway.cli.show_report import REFUSED, Report, exit_code, show
from gateway.errors import TurnedAway
from gateway.ledger.states import DRY_RUN_FOLDER

ADDRESS: Final = re.compile(r"(?P<user>[^@]+)@(?P<host>\[[^]]+\]|[^:@\[\]]+)(:(?P<port>\d{1,5}))?")
PORT: Final = 2222


class AddressType(click.ParamType[Address]):
    """USER@HOST[:PORT]; an IPv6 address stands in brackets."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        found = ADDRESS.fullmatch(value)
        if not found or int(found["port"] or PORT) > 65535:
            self.fail(f"'{value}' is not USER@HOST:PORT, as in acme@sftp.example.com:{PORT}", param, ctx)
        return Address(found["user"], found["host"].strip("[]"), int(found["port"] or PORT))


@click.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
@click.option(
    "--to", "address", required=True, metavar="USER@HOST:PORT", type=AddressType(), help="Where the gateway is."
)
@click.option("--feed", required=True, help="The feed: the folder of the inbox that the files go into.")
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A private key; else the agent's and your own keys are tried, then a password is asked for.",
)
@click.option(
    "--known-hosts",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("~/.ssh/known_hosts"),
    show_default=True,
    help="The gateway's host key must stand here.",
)
@click.option("--accept-new", is_flag=True, help="Trust and remember the key of a gateway that is not known yet.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option(
    "--proof",
    type=click.Choice(("done_marker", "sha256")),
    help="Upload this beside each file, for a feed that asks for it: <name>.done or <name>.sha256.",
)
@click.option("--dry-run", is_flag=True, help="Only try the files: the reports say what would come of them.")
@click.option("--wait", is_flag=True, help="Wait for each file's report, and show it.")
@click.option(
    "--timeout",
    "timeout_seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    help="How long to wait for the reports.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a file: its report, or what was sent.")
@click.pass_context
def drop(
    ctx: click.Context,
    files: tuple[Path, ...],
    address: Address,
    feed: str,
    key: Path | None,
    known_hosts: Path,
    accept_new: bool,
    password_stdin: bool,
    proof: str | None,
    dry_run: bool,
    wait: bool,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Drop FILEs into a gateway over SFTP, as a partner does.

    With --wait, the exit code is 0 when all rows were accepted, 1 when some were rejected, 2 when a file was refused.
    It is 3 when the gateway could not be reached or no report came, 64 for wrong usage.
    """
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise click.UsageError("two of the files have the same name; in the inbox the second would replace the first")
    host_keys = HostKeys(known_hosts.expanduser(), accept_new)
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    login = Login(key, password, ask)
    try:
        with connect(address, login, host_keys) as partner:
            folder = f"{feed}/{DRY_RUN_FOLDER}" if dry_run else feed
            sent = [deliver(partner, file, folder, proof) for file in files]
            deadline = time.monotonic() + timeout_seconds
            if wait:
                click.echo(f"Waiting for {'the report' if len(sent) == 1 else f'{len(sent)} reports'} ...", err=True)
                code = max(tell(partner.report(one, folder, deadline, tell_held), as_json) for one in sent)
            else:
                code = max(tell_sent(one, as_json) for one in sent)
    except TurnedAway as error:
        click.echo(plainly(f"Error: {error}"), err=True)
        ctx.exit(REFUSED)
    ctx.exit(code)


def deliver(partner: Partner, file: Path, folder: str, proof: str | None) -> Sent:
    """Drop one file into a folder of the inbox, and what proves it; a terminal shows how far it is."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.fields[name]}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=file.stat().st_size, name=file.name)
        sent = partner.drop(file, folder, lambda done, total: progress.update(bar, completed=done))
    if proof is not None:
        partner.prove(sent, folder, proof)
    return sent


def tell_held(status: Report) -> None:
    """Say why the gateway holds a file, and what to do about it; it may still end well."""
    until = f" (until {status['until']})" if status["until"] else ""
    wide_console(stderr=True).print(harmless(f"Held: {status['reason']}{until}. {status['hint']}"), soft_wrap=True)


def tell(report: Report, as_json: bool) -> int:
    """Print a report; returns its exit code."""
    if as_json:
        click.echo(json.dumps(report))
    else:
        show(report, wide_console())
    return exit_code(report)


def tell_sent(sent: Sent, as_json: bool) -> int:
    """Print that a file has landed; without its report, that is all that is known."""
    if as_json:
        plain = asdict(sent)
        del plain["earlier"]
        click.echo(json.dumps(plain))
    else:
        click.echo(plainly(f"{sent.path}: landed, {sent.bytes:,} bytes, sha256 {sent.sha256}"))
    return 0


def ask(question: str) -> str | None:
    """A secret from the terminal, or None where there is none."""
    if not sys.stdin.isatty():
        return None
    answer: str = click.prompt(question, hide_input=True, err=True)
    return answer
