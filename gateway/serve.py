"""Serving: starts everything in order, follows the settings, and stops everything in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import structlog

from gateway import contracts
from gateway.alarm import Alarm
from gateway.config import LiveSettings, Settings, TenantSettings
from gateway.contracts import samples
from gateway.engine import Engine
from gateway.errors import ConfigError, GatewayError
from gateway.exposure import refuse_exposed
from gateway.ledger import Ledger, audit
from gateway.ledger.audit import Event
from gateway.locks import RESTORING, alone_in
from gateway.pickup import holding
from gateway.pickup.folder import make_folders
from gateway.pickup.pickup import Pickup
from gateway.retention.sweeping import Sweeping
from gateway.sftp.listener import SftpListener
from gateway.sftp.process import FOLLOW_SECONDS, be_fair
from gateway.sftp.processes import Processes
from gateway.storekeeper import Storekeeper

log = structlog.get_logger()

SESSIONS_DRAIN_SECONDS = 5.0
JOBS_DRAIN_SECONDS = 30.0
AT_ONCE = 130
"""The exit code after a second signal."""

Announce = Callable[[str], None]


async def serve(live: LiveSettings, engine: Engine, announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT, then drain: no new logins, running jobs end or go back to the queue.

    The engine may be launched already; in the end it is stopped.

    A second signal ends the process at once; the next start takes up what was left. Raises AlreadyServing,
    ConfigError, LedgerError, and GatewayError when the port cannot be had.
    """
    settings = live.current
    for exposure in refuse_exposed(settings):
        log.warning("others can read this", what=exposure.what, hint=exposure.hint)
    be_fair()
    with alone_in(settings.data_dir) as lock, holding_names(settings):
        make_folders(settings)
        check_data_dir(settings)
        ledger = Ledger(settings.ledger_path)
        keeper = keeper_of(settings)
        stopping = stop_on_signals(engine)
        try:
            await asyncio.to_thread(write_samples, settings)
            pickup = Pickup(live, ledger, engine, keeper)
            await asyncio.to_thread(pickup.finish_earlier)
            beside = (Alarm(live, ledger), Sweeping(live, ledger))
            for thread in beside:
                thread.start()
            try:
                await listen(live, ledger, pickup, engine, announce, stopping, lock)
            finally:
                await asyncio.to_thread(pickup.stop, JOBS_DRAIN_SECONDS)
                for thread in beside:
                    await asyncio.to_thread(thread.stop)
        finally:
            engine.stop()
            if keeper is not None:
                keeper.stop()
            ledger.close()
    log.info("stopped")


async def listen(
    live: LiveSettings,
    ledger: Ledger,
    pickup: Pickup,
    engine: Engine,
    announce: Announce,
    stopping: asyncio.Event,
    lock: int,
) -> None:
    """Serve SFTP until the gateway is to stop; `lock` is the descriptor of the data directory's lock.

    Who logs in meets a worker that still warms up, at the very first.
    """
    listener = listener_of(live, ledger, pickup, lock)
    taken = live.current
    sftp = live.current.gateway.sftp
    try:
        port = await listener.start()
    except OSError as error:
        raise GatewayError(f"cannot listen on {sftp.host}:{sftp.port}: {error.strerror or error}") from error
    try:
        announce(welcome(live.current, port))
        await asyncio.to_thread(audit.note, ledger, Event("start", detail=f"{sftp.host}:{port}"))
        log.info("serving", host=sftp.host, port=port, data=str(live.current.data_dir))
        await asyncio.to_thread(engine.start)
        await asyncio.to_thread(pickup.start)
        log.info("jobs run", process=os.getpid(), workers=engine.worker_pids())
        await follow_settings(live, ledger, taken, pickup, listener, stopping)
        log.info("stopping: running jobs finish; a second signal ends them at once")
    finally:
        await listener.stop(SESSIONS_DRAIN_SECONDS)


def listener_of(live: LiveSettings, ledger: Ledger, pickup: Pickup, lock: int) -> SftpListener | Processes:
    """In this process, or in several that share the port."""
    if live.current.gateway.sftp.processes == 1:
        return SftpListener(live, ledger, pickup)
    return Processes(live, ledger, pickup, lock)


def keeper_of(settings: Settings) -> Storekeeper | None:
    """Who takes jobs into the store; nobody where there is none."""
    store = settings.gateway.store
    return Storekeeper(settings.store_url, store.options) if store.enabled else None


def holding_names(settings: Settings) -> AbstractContextManager[None]:
    """In this process, or in all that serve the data directory."""
    several = settings.gateway.sftp.processes > 1
    return holding.shared(settings.data_dir / holding.FILE) if several else contextlib.nullcontext()


async def follow_settings(
    live: LiveSettings,
    ledger: Ledger,
    taken: Settings,
    pickup: Pickup,
    listener: SftpListener | Processes,
    stopping: asyncio.Event,
) -> None:
    """Take changed tenants, users and feeds while nothing stops us; `taken` are those that are in use already."""
    while not stopping.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), FOLLOW_SECONDS)
        try:
            try:
                live.refresh()
            finally:
                # Each time, because users and keys expire without a change.
                listener.look_again()
            # A login refreshes them too, so that what `refresh` returns here does not tell whether they are new.
            if taken is not live.current:
                before, taken = taken, live.current
                log.info("settings have changed", tenants=sorted(taken.tenants))
                await asyncio.to_thread(note_change, ledger, before, taken)
                await asyncio.to_thread(take_settings, taken, pickup)
        except (ConfigError, OSError) as error:
            log.error("changed settings cannot be used; those from before stay", error=str(error))


def note_change(ledger: Ledger, before: Settings, after: Settings) -> None:
    """Say in the audit what of which tenant is configured otherwise now."""
    for name in sorted(before.tenants.keys() | after.tenants.keys()):
        old, new = (settings.tenants.get(name, TenantSettings()) for settings in (before, after))
        changed = [
            *(f"user {user}" for user in differing(old.users, new.users)),
            *(f"feed {feed}" for feed in differing(old.feeds, new.feeds)),
        ]
        if old != new or (name in before.tenants) != (name in after.tenants):
            audit.note(ledger, Event("config", tenant=name, detail=", ".join(changed) or "the tenant itself"))


def differing(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def take_settings(settings: Settings, pickup: Pickup) -> None:
    make_folders(settings)
    write_samples(settings)
    pickup.follow_settings()


def stop_on_signals(engine: Engine) -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets. The second one ends the process."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            engine.stop()
            os._exit(AT_ONCE)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping


def check_data_dir(settings: Settings) -> None:
    """Landing and publishing are renames: spool and tenants must be on one file system, and writable."""
    if (settings.data_dir / RESTORING).exists():
        raise ConfigError(f"{settings.data_dir}: a restore was cut short here; run `gateway restore` again")
    tenants = settings.data_dir / "tenants"
    tenants.mkdir(mode=0o750, exist_ok=True)
    for folder in (settings.spool_dir, tenants):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ConfigError(f"{folder}: the gateway cannot write there: {error.strerror}") from error
    if settings.spool_dir.stat().st_dev != tenants.stat().st_dev:
        raise ConfigError(
            f"{settings.spool_dir} and {tenants} are on different file systems; a drop could not be moved from one to "
            "the other in one step. Put both on the same one"
        )


def write_samples(settings: Settings) -> None:
    """The sample files of every feed (C25). A contract that is broken is logged; its feed's jobs will say so."""
    for name, tenant in settings.tenants.items():
        for feed, policy in tenant.feeds.items():
            try:
                contract = contracts.load(policy.contract, settings.root)
            except ConfigError as error:
                log.error("contract cannot be used", tenant=name, feed=feed, error=str(error))
                continue
            samples.write(contract, policy, settings.tenant_dir(name) / "samples" / feed)


def welcome(settings: Settings, port: int) -> str:
    """Where the gateway listens, and the command to try."""
    host = settings.gateway.sftp.host
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    users = [
        username
        for tenant in settings.tenants.values()
        for username, user in tenant.users.items()
        if user.may_upload and tenant.feeds and not (user.disabled or tenant.disabled)
    ]
    lines = [f"Gateway listens on {host}:{port}"]
    if users:
        lines.append(f"Try it: sftp -P {port} {users[0]}@{reachable}")
    else:
        lines.append(
            "Nobody can upload yet: `gateway tenant add`, `gateway user add` and `gateway feed add` change that"
        )
    return "\n".join(lines)
