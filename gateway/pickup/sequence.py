"""The sequence across feeds: events are published after the profiles that landed before them (F6, F7, F15).

Reading and validating never wait; only the last step does. Events of people whom the store does not know may wait
longer, for profiles that land after them: where their feed says `unknown_identity = "hold"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from gateway import clock, contracts
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.ledger import Ledger, commits, drops, holds, jobs
from gateway.ledger.drops import DropRow
from gateway.ledger.jobs import JobRow


def profiles_before(kinds: Mapping[str, str], ledger: Ledger, drop: DropRow) -> DropRow | None:
    """The first of the unfinished profile drops that go before a drop of events; None for other drops."""
    profiles = [feed for feed, kind in kinds.items() if kind == "profiles"]
    if kinds.get(drop.feed) != "events" or not profiles:
        return None
    return holds.first_unfinished(ledger, profiles, drop)


def goes_before(settings: Settings, ledger: Ledger, drop: DropRow) -> DropRow | None:
    """As `profiles_before`, by the settings; the contracts of other feeds are looked at for a drop of events only."""
    if kinds_of_feeds(settings, drop.tenant, only=drop.feed).get(drop.feed) != "events":
        return None
    return profiles_before(kinds_of_feeds(settings, drop.tenant), ledger, drop)


def hold_behind(ledger: Ledger, drop: DropRow, profiles: DropRow) -> None:
    """The drop's results are staged and wait."""
    reason = f"profiles that landed before go first: {profiles.feed}/{profiles.path}"
    holds.hold(ledger, drop, "profiles", reason, None)


def hold_for_people(ledger: Ledger, drop_id: str, until: datetime) -> None:
    """The store does not know some of whom its events are; part of the transaction that resolves its commit."""
    reason = "there is no profile yet of some whom these events are of"
    holds.hold(ledger, drops.get(ledger, drop_id), "profiles", reason, until)


def resumed(settings: Settings, ledger: Ledger) -> list[JobRow]:
    """The jobs whose staged results may be published now, or whose events are to be looked at anew."""
    found = []
    waiting = holds.held(ledger, "profiles")
    kinds = {tenant: kinds_of_feeds(settings, tenant) for tenant in {drop.tenant for drop in waiting}}
    for drop in waiting:
        if reason := why_resumed(ledger, kinds[drop.tenant], drop):
            holds.decide(ledger, drop, drop.decided, reason, drop.settles_at)
            found.append(jobs.get(ledger, str(drop.job_id)))
    return found


def why_resumed(ledger: Ledger, kinds: Mapping[str, str], drop: DropRow) -> str:
    """Why a drop need not wait any longer, or nothing."""
    if drop.decided is not None:
        return "released by an operator"
    if drop.held_until is None:
        return "" if profiles_before(kinds, ledger, drop) else "the profiles before it are done"
    if drop.held_until <= clock.now():
        return "the profiles did not come in time"
    return "new profiles are there" if commits.has_created(ledger, drop.tenant, drop.state_since) else ""


def kinds_of_feeds(settings: Settings, tenant: str, only: str | None = None) -> dict[str, str]:
    """Whether each feed, or `only` that one, carries profiles, events or both; without those whose contract is gone."""
    kinds: dict[str, str] = {}
    configured = settings.tenants.get(tenant)
    for feed, policy in configured.feeds.items() if configured else ():
        if only in (None, feed):
            with suppress(ConfigError):
                kinds[feed] = contracts.load(policy.contract, settings.root).kind
    return kinds
