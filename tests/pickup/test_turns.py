"""Turns between tenants: many jobs of one keep nobody else from his, and a sole tenant has every worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gateway import clock
from gateway.ledger import drops, jobs, uploads
from gateway.pickup.folder import make_folders
from gateway.pickup.landing import land, spool_path
from gateway.pickup.scan import Scan
from gateway.pickup.turns import LATELY_SECONDS, Turns
from tests.pickup.conftest import PROFILES, TENANT


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 0.001
        return self.seconds


def test_a_sole_tenant_has_every_worker() -> None:
    turns = Turns(3, now=Clock())
    for _ in range(3):
        assert turns.order(["acme"]) == ["acme"]
        turns.begin("acme")
    assert turns.order(["acme"]) == []


def test_tenants_take_turns() -> None:
    turns = Turns(1, now=Clock())
    begun = []
    for _ in range(6):
        tenant = turns.order(["acme", "rival", "third"])[0]
        turns.begin(tenant)
        turns.end(tenant)
        begun.append(tenant)
    assert sorted(begun[:3]) == ["acme", "rival", "third"]
    assert begun[3:] == begun[:3]


def test_a_worker_is_kept_for_a_tenant_who_had_work_lately_and_not_for_ever() -> None:
    clock = Clock()
    turns = Turns(2, now=clock)
    turns.begin("rival")
    turns.end("rival")
    turns.begin("acme")
    assert turns.order(["acme"]) == []
    assert turns.order(["acme", "rival"]) == ["rival"]
    clock.seconds += LATELY_SECONDS + 1
    assert turns.order(["acme"]) == ["acme"]


def test_whose_files_are_mostly_refused_has_the_patient_worker_only_and_the_others_all_the_rest() -> None:
    turns = Turns(2, now=Clock())
    assert turns.order(["acme"], patient=True) == [], "alone there is nobody to be patient for"
    turns.begin("acme")
    turns.end("acme")
    turns.spend("acme", 2.0, refused=1.0)
    assert turns.order(["acme"]) == ["acme"], "alone it keeps the workers"
    assert turns.order(["acme", "rival"]) == ["rival"]
    assert turns.order(["acme", "rival"], patient=True) == ["acme", "rival"]
    turns.begin("acme", patient=True)
    for _ in range(2):
        assert turns.order(["acme", "rival"]) == ["rival"]
        turns.begin("rival")
    turns.end("acme", patient=True)
    turns.spend("acme", 10.0, refused=0.0)
    assert not turns.wastes("acme"), "good files are worth as much as bad ones cost"


def upload_of_rival(site: Any, path: str) -> None:
    (site.root / "tenants" / "rival.toml").write_text(TENANT.replace("users.ann", "users.rita"))
    site.live.refresh()
    make_folders(site.settings)
    upload, _ = uploads.open_upload(
        site.ledger, tenant="rival", username="rita", feed="profiles", path=path, address=None, client=None
    )
    spool_path(site.settings, upload.id).write_bytes(PROFILES)
    land(site.settings, site.ledger, upload_id=upload.id, tenant="rival", feed="profiles", path=path, username="rita")


def test_a_tenant_keeps_the_order_of_his_own_jobs(site: Any) -> None:
    for name in ("a.csv", "b.csv"):
        site.upload(name)
    Scan(site.live, site.ledger).claim_settled()
    assert jobs.waiting_tenants(site.ledger) == ["acme"]
    assert jobs.begin_next(site.ledger, clock.now(), "rival") == []
    begun = [job for _ in range(2) for job in jobs.begin_next(site.ledger, clock.now(), "acme")]
    assert [job.filename for job in begun] == ["a.csv", "b.csv"]
    assert jobs.waiting_tenants(site.ledger) == []


def test_the_one_drop_of_a_tenant_is_claimed_before_all_those_of_another(site: Any) -> None:
    for number in range(8):
        site.upload(f"{number}.csv", b"identity\n%d\n" % number)
    upload_of_rival(site, "one.csv")
    later = clock.now() + timedelta(seconds=60)
    found = drops.settled(site.ledger, clock.now(), later, 4)
    assert [(drop.tenant, drop.path) for drop in found] == [("acme", "0.csv"), ("acme", "1.csv"), ("rival", "one.csv")]
    assert Scan(site.live, site.ledger).claim_settled() == 9


def test_the_one_job_of_a_tenant_does_not_wait_for_all_those_of_another(site: Any) -> None:
    for number in range(8):
        site.upload(f"{number}.csv", b"identity\n%d\n" % number)
    upload_of_rival(site, "one.csv")
    Scan(site.live, site.ledger).claim_settled()
    with site.picking_up():
        begun = sorted(site.ended(9), key=lambda job: job.start_time or clock.now())
    assert "rival" in [job.tenant for job in begun[:2]]
