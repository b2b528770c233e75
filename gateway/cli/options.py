"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

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
