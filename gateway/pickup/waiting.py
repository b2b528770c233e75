"""`<name>.status.json` in the outbox: what a partner sees of a drop while it is held (RULES.md, section 8).

What the ledger says is shown and nothing else, so that neither a kill nor a command leaves it wrong for long.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import structlog

from gateway import clock, durable
from gateway.config import Settings
from gateway.ledger import Ledger, commits, drops, holds
from gateway.ledger.drops import DropRow
from gateway.pickup.proofs import proved_path

log = structlog.get_logger()

SCHEMA_VERSION = 1
SUFFIX = ".status.json"
NO_STORE = "the results are ready, and what was accepted cannot go into our store at the moment"
HINTS = {
    "suspect": "Upload the file again under the same name, or go on with the upload (reput, put -a, curl -C -). "
    "If it is meant to end like that, ask the gateway's operator to release it.",
    "rename": "Upload it under a temporary name, such as {name}.part, and rename it to {name} when the upload is done. "
    "Local programs use a feed with a marker or a checksum. The gateway's operator can release this one.",
    "done_marker": "Upload an empty file {name}.done when {name} is complete.",
    "sha256": "Upload {name}.sha256 with the SHA-256 of {name}, as `sha256sum {name} > {name}.sha256` writes it.",
    "file": "Upload {name}; what is here only says when it is complete.",
    "profiles": "Nothing is to be done: profiles that landed before these events go first.",
    "store": "Nothing is to be done, and nothing is lost: the operators see it, and it is tried again and again.",
    "people": "Upload the profiles of those whom the events are of. In time, events without one are rejected.",
}


class Statuses:
    """The status files that stand in the outboxes, kept in step with the ledger. Used by the scan's thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._shown: dict[Path, DropRow] = {}
        self._is_begun = False

    def follow(self, settings: Settings) -> bool:
        """Write those of new holds, and remove those of holds that have ended; False when a disk did not let us."""
        # Where a file and what is to prove it both wait, the file's own state is the one to know.
        by_kind = sorted(holds.held(self._ledger), key=lambda drop: drop.kind == "data")
        for_store = [replace(drop, held_for="store", reason=NO_STORE) for drop in commits.delayed(self._ledger)]
        held = {status_path(settings, self._ledger, drop): drop for drop in [*for_store, *by_kind]}
        is_done = True
        left_over = set() if self._is_begun else standing(settings)
        for path in (self._shown.keys() | left_over) - held.keys():
            if remove(path):
                self._shown.pop(path, None)
            else:
                is_done = False
        self._is_begun = self._is_begun or is_done
        for path, drop in held.items():
            if self._shown.get(path) == drop:
                continue
            if show(path, drop):
                self._shown[path] = drop
            else:
                is_done = False
        return is_done


def standing(settings: Settings) -> set[Path]:
    """Every status file in the outboxes: a gateway that was killed may have left some."""
    return {
        path for tenant in settings.tenants for path in (settings.tenant_dir(tenant) / "outbox").rglob("*" + SUFFIX)
    }


def status_path(settings: Settings, ledger: Ledger, drop: DropRow) -> Path:
    """Where the status of a held drop stands: under the name of the file, also for what only proves a file."""
    path, generation = drop.path, drop.generation
    if drop.kind != "data":
        path = proved_path(drop)
        file = drops.newest(ledger, drop.tenant, drop.feed, path)
        generation = 1 if file is None else file.generation + (not file.in_inbox)
    return status_path_of(settings, drop.tenant, drop.feed, path, generation)


def status_path_of(settings: Settings, tenant: str, feed: str, path: str, generation: int) -> Path:
    """Named like the other files of that generation."""
    numbered = f"{path}.g{generation}" if generation > 1 else path
    return settings.tenant_dir(tenant) / "outbox" / feed / f"{numbered}{SUFFIX}"


def show(path: Path, drop: DropRow) -> bool:
    """Write a status file; False when it cannot be written now."""
    text = json.dumps(status_of(drop), ensure_ascii=False, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, text.encode())
    except OSError as error:
        log.warning("status file cannot be written yet", drop=drop.id, error=str(error))
        return False
    return True


def status_of(drop: DropRow) -> dict[str, object]:
    """What the partner reads."""
    file = drop.path if drop.kind == "data" else proved_path(drop)
    return {
        "schema_version": SCHEMA_VERSION,
        "tenant": drop.tenant,
        "feed": drop.feed,
        "filename": file,
        "generation": drop.generation,
        "state": drop.state,
        "held_for": drop.held_for,
        "reason": drop.reason,
        "hint": hint(drop),
        "since": clock.text(drop.state_since),
        "until": clock.text(drop.held_until) if drop.held_until else None,
    }


def hint(drop: DropRow) -> str:
    """What the partner can do about its hold."""
    file = drop.path if drop.kind == "data" else proved_path(drop)
    # Who waits for profiles that were uploaded before needs no date.
    key = "people" if drop.held_for == "profiles" and drop.held_until else str(drop.held_for)
    return HINTS[key].replace("{name}", file.rsplit("/", 1)[-1])


def remove(path: Path) -> bool:
    """The wait is over; False when the file cannot be removed now."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("status file cannot be removed yet", file=path.name, error=str(error))
        return False
    return True
