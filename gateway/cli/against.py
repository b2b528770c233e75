"""`gateway check --against`: a file as a configured feed would take it, and what the store would make of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gateway import config
from gateway.allowance import whole_bytes_max
from gateway.cli.stored import opened_store, settings_of
from gateway.config import FeedSettings, Settings
from gateway.errors import ConfigError, StoreError
from gateway.pipeline.drop import Drop, Outcome


def as_dropped(drop: Drop, settings: Settings, tenant: str, feed: str) -> Drop:
    """The file as a dry run of that feed, in the tenant's zone and with its retention."""
    configured = settings.tenants[tenant]
    return replace(
        drop, tenant=tenant, feed=feed, timezone=configured.timezone, retention_days=configured.retention_days,
        whole_bytes_max=whole_bytes_max(settings.gateway.engine), for_store=settings.gateway.store.enabled,
        dry_run=True,
    )  # fmt: skip


def settings_and_feed(root: Path, against: str) -> tuple[Settings, str, str]:
    """The settings, and the tenant and the feed that TENANT/FEED names; ConfigError where there are none."""
    tenant, slash, feed = against.partition("/")
    if not (tenant and slash and feed):
        raise ConfigError(f"'{against}' is not TENANT/FEED, as in acme/profiles")
    return settings_of(root, tenant), tenant, feed


def feed_of(settings: Settings, tenant: str, feed: str) -> FeedSettings:
    """Its policies; ConfigError with the likely intention, unless there is such a feed."""
    feeds = settings.tenants[tenant].feeds
    if feed not in feeds:
        near = config.did_you_mean(feed, feeds)
        raise ConfigError(f"tenant '{tenant}' has no feed '{feed}'{near} (feeds: {', '.join(feeds) or 'none yet'})")
    return feeds[feed]


def asked(drop: Drop, staging: Path, outcome: Outcome, settings: Settings) -> Outcome:
    """The outcome with what the store would make of it; its report says so where the store cannot be read.

    Nothing is written but below `staging`, and no lock is needed: each table is read as of a whole commit.
    """
    from gateway.pipeline.rehearsal import rehearsed

    if outcome.contributed is None or not outcome.contributed.rows:
        return outcome
    try:
        return rehearsed(drop, staging, outcome, opened_store(settings, drop.tenant))
    except StoreError:
        return rehearsed(drop, staging, outcome, None)
