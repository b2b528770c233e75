"""A tenant's store as commands open it, and JSON texts of it as they are printed. Nothing heavy is imported before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import clock, config
from gateway.cli.tenant_file import known_tenant
from gateway.config import Settings
from gateway.ledger import Ledger, earlier

if TYPE_CHECKING:
    from gateway.store import TenantStore


def settings_of(root: Path, *tenants: str) -> Settings:
    """The settings; ConfigError unless these tenants are in them."""
    settings = config.load(root)
    for tenant in tenants:
        known_tenant(settings, tenant)
    return settings


def opened_store(settings: Settings, tenant: str) -> TenantStore:
    """The tenant's store, which need not be there yet. Raises StoreUnreachable."""
    # polars and deltalake take a while, which only those wait for who look into a store.
    from gateway.store import TenantStore

    return TenantStore(settings.store_url, tenant, settings.gateway.store.options)


def files_of_jobs(settings: Settings, job_ids: set[str]) -> dict[str, str]:
    """`<feed>/<file>` of each job that the ledger knows."""
    if not settings.ledger_path.is_file():
        return {}
    ledger = Ledger(settings.ledger_path)
    try:
        return earlier.files_of(ledger, job_ids)
    finally:
        ledger.close()


def json_object(plain: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """A JSON object on one line; `texts` are JSON already, and go in to the letter: numbers keep all their digits."""
    members = [f"{json.dumps(name)}: {json.dumps(value, default=clock.text)}" for name, value in plain.items()]
    members += [f"{json.dumps(name)}: {text}" for name, text in texts.items()]
    return "{" + ", ".join(members) + "}"
