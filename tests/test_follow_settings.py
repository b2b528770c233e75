"""A running gateway takes what the tenants' files say now, whoever has looked at them first."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway import serve
from gateway.config import LiveSettings
from gateway.engine import Engine
from gateway.ledger import Ledger, audit
from gateway.pickup.pickup import Pickup
from gateway.sftp.listener import SftpListener


class Noting(Pickup):
    """Stops the following when it has reached pickup."""

    def __init__(self, live: LiveSettings, ledger: Ledger, stopping: asyncio.Event) -> None:
        super().__init__(live, ledger, Engine(1))
        self._loop = asyncio.get_running_loop()
        self._stop = stopping.set

    def follow_settings(self) -> None:
        self._loop.call_soon_threadsafe(self._stop)


async def test_a_change_that_a_login_has_taken_still_reaches_folders_samples_and_pickup(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").touch()
    (tmp_path / "tenants").mkdir()
    live = LiveSettings(tmp_path)
    taken = live.current
    (tmp_path / "tenants" / "acme.toml").write_text('[feeds.people]\ncontract = "clevertap-profiles"\n')
    assert live.refresh()  # As a login does it.
    (tmp_path / "data").mkdir()
    ledger = Ledger(live.current.ledger_path)
    stopping = asyncio.Event()
    try:
        async with asyncio.timeout(20):
            pickup = Noting(live, ledger, stopping)
            await serve.follow_settings(live, ledger, taken, pickup, SftpListener(live, ledger, pickup), stopping)
        (event,) = audit.select(ledger, action="config")
        assert (event.tenant, event.detail) == ("acme", "feed people")
    finally:
        ledger.close()
    for area in ("inbox", "outbox", "samples"):
        assert live.current.tenant_dir("acme").joinpath(area, "people").is_dir()
    assert (live.current.tenant_dir("acme") / "samples" / "people" / "CONTRACT.md").exists()
