"""The command `gateway`: which commands there are, and what the exit code says.

A command's module is imported when the command is used, so that `gateway --help` answers at once.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

import click

from gateway import __version__
from gateway.errors import GatewayError

FAILED: Final = 3
WRONG_USAGE: Final = 64
INTERRUPTED: Final = 130

# name: (where the command is, what it does)
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("gateway.cli.init:init", "Make a working directory: gateway.toml, tenants/, data/, host keys."),
    "tenant": ("gateway.cli.tenant:tenant", "Add and list tenants; disable and enable them; reset one for tests."),
    "user": ("gateway.cli.user:user", "Add users, the logins of a tenant; disable and enable them."),
    "feed": ("gateway.cli.feed:feed", "Add and list feeds, the drop folders of a tenant."),
    "contract": ("gateway.cli.contract:contract", "Show and check contracts, what files must look like."),
    "codes": ("gateway.cli.contract:codes", "List the problem codes of reports, and what to do about each."),
    "serve": ("gateway.cli.serve:serve", "Serve SFTP and process what is dropped."),
    "jobs": ("gateway.cli.jobs:jobs", "List jobs."),
    "job": ("gateway.cli.jobs:job", "Show one job and all that happened to it."),
    "requeue": ("gateway.cli.jobs:requeue", "Run a job again."),
    "uploads": ("gateway.cli.uploads:uploads", "List uploads, or show one and all that happened to it."),
    "drops": ("gateway.cli.drops:drops", "List drops, or show one and all that happened to it."),
    "release": ("gateway.cli.drops:release", "Let a held drop go on as it is; try a quarantined one again."),
    "withdraw": ("gateway.cli.drops:withdraw", "Take back a drop that is not processed yet."),
    "profile": ("gateway.cli.profile:profile", "Show what is stored of somebody, and where it came from."),
    "events": ("gateway.cli.events:events", "List the events of a tenant."),
    "store": ("gateway.cli.store:store", "Show how large the store is; keep it small."),
    "audit": ("gateway.cli.audit:audit", "List who did what, from where, and with what result."),
    "bans": ("gateway.cli.bans:bans", "List the addresses and users that are refused for now."),
    "unban": ("gateway.cli.bans:unban", "Let an address or a user log in again."),
    "host-keys": ("gateway.cli.host_keys:host_keys", "List the keys by which clients know this server; replace one."),
    "doctor": ("gateway.cli.doctor:doctor", "Check the installation, and say what to do."),
    "backup": ("gateway.cli.backup:backup", "Copy ledger, files and configuration while the gateway serves."),
    "restore": ("gateway.cli.backup:restore", "Bring back what `gateway backup` copied."),
    "preview": ("gateway.cli.preview:preview", "Show the first rows of a local file as the gateway understands them."),
    "check": ("gateway.cli.check:check", "Check a local file against a contract; no server needed."),
    "drop": ("gateway.cli.drop:drop", "Drop files into a gateway over SFTP, as a partner does."),
}


# Those that change something, and leave a word in the audit.
RECORDED: Final = frozenset(
    {"tenant", "user", "feed", "requeue", "release", "withdraw", "host-keys", "backup", "restore", "store"}
)


class Commands(click.Group):
    """The root group. Its commands are imported when they run; their help lines stand in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        if cmd_name in RECORDED:
            import_module("gateway.cli.recorded").watch(cmd_name, command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's, with our exit codes: 64 for wrong usage, 3 when the gateway cannot do what was asked."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.UsageError as error:
            error.show()
            code = WRONG_USAGE
        except click.ClickException as error:
            error.show()
            code = FAILED
        except GatewayError as error:
            # Here, so that `gateway --help` is quick.
            from gateway.cli.listing import plainly

            click.echo(plainly(f"Error: {error}"), err=True)
            code = FAILED
        except click.Abort:
            click.echo("Interrupted.", err=True)
            code = INTERRUPTED
        except Exception:  # The one crash boundary: Python's own exit code 1 would say "some rows rejected".
            traceback.print_exc()
            code = FAILED
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def gateway() -> None:
    """An SFTP drop-folder ingestion gateway: drop a file, get back a report and the clean result."""
