"""Watching the inboxes: a hint that something is there. The scan decides; a lost event costs latency only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from gateway.config import Settings

log = structlog.get_logger()

EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
]


class Watch(FileSystemEventHandler):
    """A watchdog observer over every tenant's inbox; calls `on_event` from its own thread."""

    def __init__(self, on_event: Callable[[], None]) -> None:
        self._on_event = on_event
        self._observer = Observer()
        self._watched: set[Path] = set()

    def follow(self, settings: Settings) -> None:
        """Watch the inbox of each tenant; those that are watched already stay so."""
        for tenant in settings.tenants:
            path = settings.tenant_dir(tenant) / "inbox"
            if path in self._watched or not path.is_dir():
                continue
            try:
                self._observer.schedule(self, str(path), recursive=True, event_filter=EVENTS)
                if not self._observer.is_alive():
                    self._observer.start()
            except Exception as error:
                # For example: no inotify watches left. The scan finds the files all the same, later.
                log.warning("inbox is not watched; the scan finds its files", tenant=tenant, error=str(error))
                continue
            self._watched.add(path)

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._on_event()

    def stop(self) -> None:
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
