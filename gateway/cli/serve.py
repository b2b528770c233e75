"""`gateway serve`: serve SFTP and process what is dropped."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.options import config_option
from gateway.config import LiveSettings, Settings
from gateway.exposure import keep_from_others

if TYPE_CHECKING:
    from gateway.engine import Engine


@click.command()
@click.option("--host", help="Listen on this address instead of the configured one.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen on this port; 0 takes a free one and prints it.")
@config_option
def serve(host: str | None, port: int | None, root: Path) -> None:
    """Serve SFTP and process what is dropped, until SIGTERM or Ctrl-C."""
    # Nothing of what is imported becomes garbage, and to look for it costs a tenth of the time.
    gc.disable()
    live = LiveSettings(root)
    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    gateway = live.current.gateway
    gateway = gateway.model_copy(update={"sftp": gateway.sftp.model_copy(update=given)})
    live.current = live.current.model_copy(update={"gateway": gateway})
    keep_from_others()
    engine = launched(live.current)
    try:
        # The first worker warms up while this process imports the rest.
        from gateway import log
        from gateway import serve as serving

        gc.freeze()
        gc.enable()
        log.configure(gateway.log)
        asyncio.run(serving.serve(live, engine, click.echo))
    finally:
        # Whatever ended it, also before it served: the workers do not end by themselves while this process lives.
        engine.stop()


def launched(settings: Settings) -> Engine:
    """The engine, whose first worker warms up. It ends with this process, however that ends."""
    from gateway.allowance import allowance_of
    from gateway.engine import Engine

    several = len(settings.tenants) > 1
    engine = Engine(settings.gateway.engine.workers, allowance_of(settings.gateway.engine), patient=several)
    engine.launch()
    return engine
