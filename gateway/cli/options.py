"""The options that several commands share, and the words for the next step."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.config import check_name

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """`--config DIR`, GATEWAY_CONFIG or the current directory, as the parameter `root`."""
    return click.option(
        "--config",
        "root",
        metavar="DIR",
        type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
        envvar="GATEWAY_CONFIG",
        default=".",
        help="The directory with gateway.toml; else GATEWAY_CONFIG, else the current directory.",
    )(command)


def new_name(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """A callback: the name of a tenant, user or feed that is about to be made."""
    try:
        return check_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


def next_step(root: Path, command: str) -> str:
    """A command to type next, with `--config` where it needs one."""
    found_anyway = "GATEWAY_CONFIG" in os.environ or root == Path.cwd()
    return command if found_anyway else f"{command} --config {shlex.quote(str(root))}"
