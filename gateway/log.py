"""The log: lines for a person on a terminal, JSON lines otherwise, always to stderr."""

from __future__ import annotations

import logging
import sys

import structlog

from gateway.config import LogSettings


def configure(settings: LogSettings) -> None:
    """Set up structlog for this process, and let the warnings of libraries come out the same way."""
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*last_processors(console)])
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(settings.level.upper())


def last_processors(console: bool) -> list[structlog.typing.Processor]:
    """From an event to a line."""
    clean = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if console:
        return [clean, visible, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [clean, structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]


def visible(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What a terminal would obey, in the name of a file for example, as its escape. JSON has it so by itself."""
    return {name: escaped(value) if isinstance(value, str) else value for name, value in event.items()}


def escaped(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
