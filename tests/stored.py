"""A directory with a tenant for tests, whose ledger has jobs and whose store has what they brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway import clock
from gateway.config import Settings, load
from gateway.ledger import Ledger, commits, drops, jobs, landings
from gateway.ledger.landings import Landing
from gateway.pickup.folder import make_folders
from gateway.store import TenantStore
from tests.conftest import give_host_keys
from tests.store.conftest import Event, Jobs, Row, Stored

TENANT = 'environment = "{}"\n[feeds.people]\ncontract = "clevertap-profiles"\n'


@dataclass
class Site:
    """Jobs are made by `bring`, which commits what they bring under the next number, in ledger and store."""

    root: Path
    environment: str = "test"
    made: Jobs = field(init=False)
    stored: Stored = field(init=False)

    def __post_init__(self) -> None:
        give_host_keys(self.root)
        (self.root / "gateway.toml").write_text("")
        (self.root / "tenants").mkdir()
        (self.root / "tenants" / "acme.toml").write_text(TENANT.format(self.environment))
        make_folders(self.settings)
        self.ledger().close()
        self.made = Jobs(self.root / "staging")
        self.stored = Stored(TenantStore(str(self.root / "data" / "store"), "acme"))

    @property
    def settings(self) -> Settings:
        return load(self.root)

    def ledger(self) -> Ledger:
        return Ledger(self.root / "data" / "ledger.db")

    def bring(
        self,
        file: str,
        profiles: Sequence[Row] = (),
        events: Sequence[Event] = (),
        *,
        is_in_ledger: bool = True,
        companies: Sequence[Row] = (),
    ) -> str:
        """A job that has ended and whose rows are stored; its id."""
        ledger = self.ledger()
        now = clock.now()
        try:
            drop = landings.record_landing(ledger, Landing("acme", "people", file, 10, 1, now, now))
            with ledger.transaction():
                job_id = jobs.create(ledger, drop, None, now)
                drops.claim(ledger, drop.id, now, sha256=f"{len(file):064d}")
            jobs.begin_next(ledger, now)
            jobs.move(ledger, job_id, ("validating",), "pending_refresh", now)
            commit = commits.begin(ledger, "acme", [{"job": job_id}], now)
            facts = self.stored.commit(self.made(profiles, events, companies=companies, job=job_id, feed="people"))
            if is_in_ledger:
                commits.resolve(ledger, commit, [{"job": job_id}], {}, facts[0].created, now)
                commits.finish(ledger, commit, now)
            ended: dict[str, Any] = {"end_time": now, "contract": "people", "contract_sha256": "c" * 64}
            jobs.move(ledger, job_id, ("pending_refresh",), "completed", now, **ended)
            drops.finish(ledger, drop.id, "done", None)
        finally:
            ledger.close()
        return job_id
