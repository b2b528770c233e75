"""`gateway serve`: serve SFTP and process what is dropped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway import log
from gateway.cli.options import config_option
from gateway.config import LiveSettings


@click.command()
@click.option("--host", help="Listen on this address instead of the configured one.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen on this port; 0 takes a free one and prints it.")
@config_option
def serve(host: str | None, port: int | None, root: Path) -> None:
    """Serve SFTP and process what is dropped, until SIGTERM or Ctrl-C."""
    # Loaded here, so that wrong usage is told at once.
    from gateway import serve as serving
    from gateway.exposure import keep_from_others

    live = LiveSettings(root)
    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    gateway = live.current.gateway
    gateway = gateway.model_copy(update={"sftp": gateway.sftp.model_copy(update=given)})
    live.current = live.current.model_copy(update={"gateway": gateway})
    log.configure(gateway.log)
    keep_from_others()
    asyncio.run(serving.serve(live, click.echo))
