"""A gateway's directory with one tenant, its ledger, and real pickups over it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import clock
from gateway.config import LiveSettings, Settings
from gateway.engine import Engine
from gateway.ledger import Ledger, drops, jobs, uploads
from gateway.ledger.drops import DropRow
from gateway.ledger.jobs import JobRow
from gateway.pickup.folder import inbox, make_folders
from gateway.pickup.landing import land, spool_path
from gateway.pickup.pickup import Pickup
from tests.waiting import until

PROFILES = b"identity,Name\nann,Ann\nbob,Bob\n"

TENANT = """
[users.ann]
email = "ann@acme.example"
role = "admin"

[feeds.profiles]
contract = "clevertap-profiles"

[feeds.repeats]
contract = "clevertap-profiles"
on_duplicate = "process"

[feeds.events]
contract = "clevertap-events"

[feeds.marked]
contract = "clevertap-profiles"
complete_on = "done_marker"

[feeds.summed]
contract = "clevertap-profiles"
complete_on = "sha256"

[feeds.renamed]
contract = "clevertap-profiles"
complete_on = "rename"

[feeds.latest]
contract = "clevertap-profiles"
on_overwrite = "replace"

[feeds.lenient]
contract = "clevertap-profiles"
on_suspect = "process"
"""


class SharedEngine(Engine):
    """One warm worker for all tests that ask for no engine of their own: to warm one up takes a second."""

    is_stopped = False

    def stop(self) -> None:
        self.is_stopped = True
        super().stop()


class Site:
    """One data directory, and what the tests do with it."""

    def __init__(
        self, root: Path, settle_seconds: float, scan_seconds: float, workers: int, engine: Callable[[], Engine]
    ) -> None:
        self.root = root
        self._shared_engine = engine
        (root / "tenants").mkdir(parents=True, exist_ok=True)
        (root / "tenants" / "acme.toml").write_text(TENANT)
        (root / "gateway.toml").write_text(
            f"[pickup]\nsettle_seconds = {settle_seconds}\nscan_seconds = {scan_seconds}\nretry_seconds = 0\n"
            f"[engine]\nworkers = {workers}\n"
        )
        self.live = LiveSettings(root)
        make_folders(self.settings)
        self.ledger = Ledger(self.settings.ledger_path)

    @property
    def settings(self) -> Settings:
        return self.live.current

    @property
    def inbox(self) -> Path:
        return inbox(self.settings, "acme", "profiles")

    @property
    def outbox(self) -> Path:
        return self.settings.tenant_dir("acme") / "outbox" / "profiles"

    def upload(self, path: str, content: bytes = PROFILES, feed: str = "profiles", tenant: str = "acme") -> str:
        """Land a file as the SFTP server does; the drop's id."""
        upload_id = self.spool(path, content, feed, tenant)
        return land(
            self.settings, self.ledger, upload_id=upload_id, tenant=tenant, feed=feed, path=path, username="ann"
        )

    def spool(self, path: str, content: bytes = PROFILES, feed: str = "profiles", tenant: str = "acme") -> str:
        """An upload whose bytes are in the spool; its id."""
        upload, _ = uploads.open_upload(
            self.ledger, tenant=tenant, username="ann", feed=feed, path=path, address=None, client=None
        )
        spool_path(self.settings, upload.id).write_bytes(content)
        return upload.id

    def drop(self, drop_id: str) -> DropRow:
        return drops.get(self.ledger, drop_id)

    def jobs(self) -> list[JobRow]:
        """All jobs, the oldest first."""
        return jobs.select(self.ledger)[::-1]

    def ended(self, count: int = 1) -> list[JobRow]:
        """Wait until so many jobs have ended; all jobs."""
        until(lambda: sum(job.status in jobs.ENDED for job in self.jobs()) >= count)
        return self.jobs()

    def transitions(self, subject: str) -> list[str]:
        found = self.ledger.rows("SELECT new FROM transitions WHERE subject = ? ORDER BY id", (subject,))
        return [row["new"] for row in found]

    def report(self, name: str, feed: str = "profiles") -> dict[str, Any]:
        return self.outbox_json(f"{name}.report.json", feed)

    def status(self, name: str, feed: str) -> dict[str, Any]:
        """What the partner is told of a drop that is held."""
        path = self.outbox.parent / feed / f"{name}.status.json"
        until(path.exists)
        return self.outbox_json(path.name, feed)

    def outbox_json(self, name: str, feed: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.outbox.parent / feed / name).read_text())
        return found

    def outbox_names(self, feed: str) -> list[str]:
        return sorted(path.name for path in (self.outbox.parent / feed).iterdir())

    def add_tenant(self, name: str) -> None:
        """Another tenant, with the same feeds."""
        (self.root / "tenants" / f"{name}.toml").write_text(TENANT.replace("users.ann", f"users.{name}-ann"))
        self.live.refresh()
        make_folders(self.settings)

    def set_policy(self, feed: str, **policies: str | float) -> None:
        """A feed has these policies from now on."""
        path, lines = self.root / "tenants" / "acme.toml", [f"{key} = {json.dumps(policies[key])}" for key in policies]
        path.write_text(path.read_text().replace(f"[feeds.{feed}]\n", "\n".join([f"[feeds.{feed}]", *lines, ""])))
        self.live.refresh()

    def state(self, drop_id: str) -> str:
        return self.drop(drop_id).state

    def end_the_wait(self, drop_id: str) -> None:
        """The time of a hold passes."""
        drops.change(self.ledger, drop_id, "state = 'held'", held_until=clock.now())

    @contextmanager
    def picking_up(self, engine: Engine | None = None) -> Iterator[Pickup]:
        """A real pickup with a real worker process; an engine of the test's own is started and stopped.

        It has no storekeeper: the store is switched off.
        """
        gateway = self.settings.gateway
        off = gateway.model_copy(update={"store": gateway.store.model_copy(update={"enabled": False})})
        self.live.current = self.settings.model_copy(update={"gateway": off})
        if engine is not None:
            engine.start()
        pickup = Pickup(self.live, self.ledger, engine or self._shared_engine())
        pickup.finish_earlier()
        pickup.start()
        try:
            yield pickup
        finally:
            pickup.stop()
            if engine is not None:
                engine.stop()


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[Callable[[], Engine]]:
    """An engine that runs; one that a pickup has stopped, because a job did not end, is replaced."""
    made: list[SharedEngine] = []

    def take() -> Engine:
        if not made or made[-1].is_stopped:
            made.append(SharedEngine(1))
            made[-1].start()
        return made[-1]

    yield take
    for engine in made:
        engine.stop()


@pytest.fixture
def make_site(tmp_path: Path, shared_engine: Callable[[], Engine]) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(settle_seconds: float = 0.0, scan_seconds: float = 0.5, workers: int = 1) -> Site:
        made.append(Site(tmp_path / "gateway", settle_seconds, scan_seconds, workers, shared_engine))
        return made[-1]

    yield make
    for site in made:
        site.ledger.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """A gateway whose drops settle at once."""
    return make_site()
