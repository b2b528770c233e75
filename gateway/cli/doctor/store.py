"""Checks of the store: whether it can be reached and written, how large it is, and whether the ledger knows of more."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.backup import size_words
from gateway.cli.doctor.findings import Check, Finding, Site, fail, note, ok, warning
from gateway.cli.stored import opened_store
from gateway.config import Settings
from gateway.errors import StoreError
from gateway.ledger import commits, resets

if TYPE_CHECKING:
    from gateway.store.sizes import Size


def store_place(site: Site) -> Iterator[Finding]:
    settings = site.settings
    if settings is None:
        return
    if not settings.gateway.store.enabled:
        yield note("the store is off", "Accepted rows go to the outbox only; [store] enabled in gateway.toml.")
    elif not has_store(settings):
        yield note("there is no store yet", "The first accepted rows make it.")
    elif "://" in settings.store_url:
        yield from reached(settings)
    else:
        try:
            with tempfile.TemporaryFile(dir=settings.store_url):
                pass
        except OSError as error:
            advice = "Give it to the user that the gateway runs as; accepted rows wait for it meanwhile."
            yield fail(f"{settings.store_url} cannot be written: {error.strerror}", advice)
            return
        yield from reached(settings)


def reached(settings: Settings) -> Iterator[Finding]:
    """What is in the store of each tenant, or why it cannot be told."""
    for tenant in settings.tenants:
        try:
            found = sizes_of(settings, tenant)
        except StoreError as error:
            yield fail(f"{tenant}: {str(error).removesuffix(error.hint).rstrip()}", error.hint)
            continue
        rows = ", ".join(f"{one.rows:,} {one.table}" for one in found if one.table != "attributes")
        yield ok(f"{tenant}: {rows or 'nothing yet'}, {size_words(sum(one.bytes for one in found))}")


def store_behind_ledger(site: Site) -> Iterator[Finding]:
    """A commit that made somebody is in the store under its number; one that changed nothing left none there."""
    if site.settings is None or site.ledger is None or not site.settings.gateway.store.enabled:
        return
    for tenant in site.settings.tenants:
        told = commits.last_that_created(site.ledger, tenant)
        if not told:
            continue
        try:
            last = max((one.sequence for one in sizes_of(site.settings, tenant)), default=0)
        except StoreError:
            continue  # Told above.
        if last < told:
            yield fail(
                f"{tenant}: the ledger has commit {told:,}, and the last in the store is {last:,}",
                "The store is older than the ledger, or another one: see store.url, or restore both from one backup.",
            )


def waiting_commits(site: Site) -> Iterator[Finding]:
    for commit in commits.unfinished(site.ledger) if site.ledger else ():
        if commit.error is not None:
            yield warning(
                f"{commit.tenant}: jobs wait for the store since {commit.begun_at:%Y-%m-%d %H:%M:%S} UTC "
                f"({commit.tries:,} tries): {commit.error}",
                "Nothing is lost; it is tried again by itself.",
            )


def unfinished_resets(site: Site) -> Iterator[Finding]:
    for tenant in resets.cut_short(site.ledger) if site.ledger else ():
        yield warning(f"the reset of tenant '{tenant}' was cut short", f"Give `gateway tenant reset {tenant}` again.")


CHECKS: tuple[Check, ...] = (store_place, store_behind_ledger, waiting_commits, unfinished_resets)


def has_store(settings: Settings) -> bool:
    """Without a folder there is none; an address is asked."""
    return "://" in settings.store_url or Path(settings.store_url).is_dir()


def sizes_of(settings: Settings, tenant: str) -> list[Size]:
    if not has_store(settings):
        return []
    # Only where there is a store: polars and deltalake take a while.
    from gateway.store.sizes import sizes

    return sizes(opened_store(settings, tenant))
