"""What an operator's command leaves in the audit: who, which command with which arguments, and how it ended."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from gateway.config import Settings, load_gateway
from gateway.errors import GatewayError
from gateway.ledger import Ledger, audit
from gateway.ledger.audit import Event

CHANGING: Final = frozenset(
    {
        *(
            "tenant add",
            "tenant disable",
            "tenant enable",
            "tenant reset",
            "user add",
            "user disable",
            "user enable",
            "feed add",
        ),
        *(
            "requeue",
            "release",
            "withdraw",
            "backup",
            "restore",
            "store optimize",
            "host-keys rotate",
            "host-keys retire",
        ),
    }
)
"""The commands that change something. None takes a secret as an argument: passwords come on standard input."""


def watch(path: str, command: click.Command) -> None:
    """Let a command that changes something, or those of a group that do, leave a word in the audit."""
    if isinstance(command, click.Group):
        for name, member in command.commands.items():
            watch(f"{path} {name}", member)
    elif path in CHANGING and command.callback is not None and not hasattr(command.callback, "is_watched"):
        command.callback = watched(path, command.callback)


def watched(path: str, callback: Callable[..., Any]) -> Callable[..., Any]:
    def runs(*arguments: Any, **values: Any) -> Any:
        failure: BaseException | None = None
        try:
            return callback(*arguments, **values)
        except BaseException as error:
            failure = error
            raise
        finally:
            record(path, values, values.get("root"), failure)

    vars(runs)["is_watched"] = True
    return runs


def record(command: str, values: dict[str, Any], root: Path | None, failure: BaseException | None) -> None:
    """Write it down, where there is a ledger already; the command itself does not fail because of this."""
    if command not in CHANGING or root is None:
        return
    try:
        path = Settings(root=root, gateway=load_gateway(root), tenants={}).ledger_path
        if not path.is_file():
            return
        ledger = Ledger(path)
    except GatewayError:
        return
    try:
        arguments = " ".join(f"{name}={shown(value)}" for name, value in values.items() if value and name != "root")
        result = "ok" if failure is None else "failed"
        audit.write(ledger, Event("command", result, username=operator(), subject=command, detail=arguments or None))
    except Exception:  # Whatever it is, what the command did is done.
        click.echo("Warning: the command could not be written into the audit.", err=True)
    finally:
        ledger.close()


def operator() -> str:
    """The user of the operating system, and who became it by sudo."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = str(os.getuid())
    sudo = os.environ.get("SUDO_USER")
    return f"{name} (sudo by {sudo})" if sudo else name


def shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
