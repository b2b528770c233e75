"""Describing a claimed drop to the pipeline: everything its job must know, from ledger and settings."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from gateway import contracts
from gateway.allowance import whole_bytes_max
from gateway.config import FeedSettings, Settings, TenantSettings
from gateway.contracts import Contract
from gateway.errors import ConfigError
from gateway.ledger import Ledger, earlier
from gateway.ledger.drops import DropRow
from gateway.ledger.jobs import JobRow
from gateway.pickup.claim import original_path
from gateway.pipeline.drop import Drop, OnCutOff

REJECTED_NAME = re.compile(r"(?P<name>.+?)(?:\.g(?P<generation>[0-9]+))?\.rejected\.[^./]+")


@dataclass(frozen=True, slots=True)
class Described:
    """The drop, and why the gateway cannot process it when its configuration does not allow it."""

    drop: Drop
    failure: str | None


def describe(settings: Settings, ledger: Ledger, job: JobRow, row: DropRow, sha256: str) -> Described:
    """The drop of a job. `failure` is set when tenant, feed or contract are gone or broken by now."""
    tenant = settings.tenants.get(row.tenant, TenantSettings())
    failure = None
    try:
        policy, contract = feed_of(settings, row)
    except ConfigError as error:
        failure = f"the feed '{row.feed}' cannot be processed as it is configured: {error}"
        policy, contract = unusable(tenant.feeds.get(row.feed))
    seen_before = duplicate_of(ledger, row, sha256, policy, contract)
    drop = Drop(
        job_id=job.id,
        tenant=row.tenant,
        feed=row.feed,
        name=row.path,
        generation=row.generation,
        path=original_path(settings, job.id),
        sha256=sha256,
        as_of=row.landed_at,
        uploaded_by=job.uploaded_by,
        contract=contract,
        policy=policy,
        timezone=tenant.timezone,
        retention_days=tenant.retention_days,
        duplicate_of=None if row.dry_run else seen_before,
        repairs=repaired_job(ledger, row),
        dry_run=row.dry_run,
        seen_before=seen_before if row.dry_run else None,
        leaves_accepted=not row.dry_run,
        client_mtime=row.client_mtime,
        # A clean close is no proof that the client had sent everything: a cut-off client closes cleanly too.
        completion_proof=row.proof is not None,
        on_cut_off=on_cut_off(row),
        disk_free_min=settings.gateway.limits.disk_reserve_bytes,
        whole_bytes_max=whole_bytes_max(settings.gateway.engine),
        for_store=settings.gateway.store.enabled,
    )
    return Described(drop, failure)


def on_cut_off(row: DropRow) -> OnCutOff:
    """What the pipeline does when the drop looks cut off."""
    if row.held_for == "suspect" and row.decided is not None:
        return "process" if row.decided == "process" else "refuse"
    # What is proved to have arrived whole was cut off before it was sent: to wait for the rest is no use.
    return "proven" if row.proof else "hold"


def feed_of(settings: Settings, row: DropRow) -> tuple[FeedSettings, Contract]:
    """The policies and the contract of the drop's feed, or ConfigError."""
    tenant = settings.tenants.get(row.tenant)
    if tenant is None or row.feed not in tenant.feeds:
        raise ConfigError("it is no longer configured")
    policy = tenant.feeds[row.feed]
    return policy, contracts.load(policy.contract, settings.root)


def unusable(policy: FeedSettings | None) -> tuple[FeedSettings, Contract]:
    """What stands in the report of a drop whose contract cannot be had."""
    policy = policy or FeedSettings(contract="none")
    contract = Contract.model_construct(
        name=policy.contract, title=policy.contract, kind="mixed", formats=("csv",), columns=()
    )
    return policy, contract


def duplicate_of(ledger: Ledger, row: DropRow, sha256: str, policy: FeedSettings, contract: Contract) -> str | None:
    """The completed job that had the same bytes already; None where the feed processes repeats."""
    if policy.on_duplicate == "process" or not sha256:
        return None
    return earlier.original_of(ledger, row, sha256, contract.sha256)


def repaired_job(ledger: Ledger, row: DropRow) -> str | None:
    """The job whose rejected rows came back in this drop, by its name `<name>[.g<n>].rejected.<ext>`."""
    match = REJECTED_NAME.fullmatch(row.path)
    if match is None or row.dry_run:
        return None
    generation = int(match["generation"]) if match["generation"] else None
    return earlier.newest_named(ledger, row.tenant, row.feed, match["name"], row.landed_at, generation)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
