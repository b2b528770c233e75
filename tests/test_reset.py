"""`gateway tenant reset`: a tenant for tests begins anew; of a production tenant nothing is ever removed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gateway import clock, reset
from gateway.cli.doctor import findings
from gateway.cli.doctor.findings import Site as Installation
from gateway.config import Settings
from gateway.errors import ResetRefused
from gateway.ledger import audit, drops, earlier, jobs, landings, resets, uploads
from gateway.ledger.landings import Landing
from gateway.locks import alone_in
from gateway.pickup.landing import spool_path
from tests.conftest import Run
from tests.store.conftest import Event, Row, contents
from tests.stored import Site

pytestmark = pytest.mark.timeout(100)
PACKAGE = Path(reset.__file__).parent


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A tenant for tests, with rows in the store, a file in the inbox that waits, results, and an upload cut off."""
    site = Site(tmp_path / "site")
    site.bring("a.csv", [Row("ann", {"Name": '"Ann"'})], [Event("ann")], companies=[Row("c", {}, 0, "company_id")])
    data = site.root / "data"
    (data / "tenants/acme/outbox/people/2024").mkdir()
    (data / "tenants/acme/outbox/people/2024/a.csv.report.json").write_text("{}")
    (data / "tenants/acme/outbox/people/a.csv.report.json").write_text("{}")
    waiting = data / "tenants/acme/inbox/people/b.csv"
    waiting.write_text("identity\nbob\n")
    (data / "tenants/acme/inbox/people/c.csv.part").write_text("ident")
    ledger = site.ledger()
    now = clock.now()
    found = waiting.stat()
    landings.record_landing(ledger, Landing("acme", "people", "b.csv", found.st_size, found.st_ino, now, now))
    upload, _ = uploads.open_upload(
        ledger, tenant="acme", username="ann", feed="people", path="d.csv", address=None, client=None
    )
    spool_path(site.settings, upload.id).write_text("identity\nca")
    uploads.interrupt(ledger, upload.id, 11, "the connection was lost")
    ledger.close()
    return site


def files_of(site: Site) -> list[str]:
    folders = (site.settings.tenant_dir("acme"), site.root / "data" / "spool" / "uploads")
    return sorted(path.name for folder in folders for path in folder.rglob("*") if path.is_file())


def rows(site: Site) -> int:
    return sum(len(found) for found in contents(site.stored.store).values())


@pytest.mark.rule("F20", "F21")
def test_a_tenant_for_tests_begins_anew_and_its_history_stays(gateway: Run, site: Site) -> None:
    assert files_of(site) != []
    done = gateway("tenant", "reset", "acme", "--config", site.root, given="acme\n")
    assert done.returncode == 0, done.stderr
    assert "stored: 1 profiles, 1 companies, 1 events" in done.stdout
    assert "files: 2 in the inbox, 2 in the outbox" in done.stdout
    assert "unfinished uploads: 1" in done.stdout
    assert "duplicates when they come again: 1" in done.stdout
    assert (files_of(site), rows(site)) == ([], 0)
    assert list((site.root / "data" / "store").rglob("*.parquet")) == []
    ledger = site.ledger()
    assert [job.status for job in jobs.select(ledger)] == ["completed"]
    assert {drop.path: drop.state for drop in drops.select(ledger, tenant="acme", feed=None, state=None, limit=9)} == {
        "a.csv": "done", "b.csv": "withdrawn",
    }  # fmt: skip
    assert [one.state for one in uploads.select(ledger, tenant="acme", feed=None, state=None, limit=9)] == ["expired"]
    [event] = audit.select(ledger, username=None, tenant=None, action="command", since=None, limit=9)
    assert (event.subject, event.result, event.detail) == ("tenant reset", "ok", "name=acme")
    ledger.close()
    site.bring("later.csv", [Row("zoe", {})])
    assert site.stored.values() == {("identity", "zoe"): {}}, "the store goes on under its numbers"


def test_nothing_is_changed_unless_the_name_is_typed(gateway: Run, site: Site) -> None:
    before = files_of(site), rows(site)
    done = gateway("tenant", "reset", "acme", "--config", site.root, given="amce\n")
    assert (done.returncode, "Nothing was changed." in done.stdout) == (1, True)
    assert (files_of(site), rows(site)) == before


@pytest.mark.rule("F22", "F23")
def test_a_production_tenant_is_not_reset(gateway: Run, tmp_path: Path) -> None:
    site = Site(tmp_path / "site", "production")
    site.bring("a.csv", [Row("ann", {})])
    done = gateway("tenant", "reset", "acme", "--yes", "--config", site.root)
    assert (done.returncode, done.stdout) == (3, "")
    assert "tenant 'acme' is for production: what it has imported is never removed or edited" in done.stderr
    with pytest.raises(ResetRefused):
        reset.reset(site.settings, site.ledger(), "acme")
    assert rows(site) == 1


@pytest.mark.rule("F22", "F23")
def test_nothing_but_the_reset_removes_rows_from_a_store() -> None:
    importing = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "gateway.store.emptying"
    ]
    assert importing == ["reset.py"]
    deleting = [path.name for path in PACKAGE.rglob("*.py") if "delta.delete(" in path.read_text()]
    assert deleting == ["emptying.py"]


def test_a_tenant_at_work_is_not_reset(site: Site) -> None:
    ledger = site.ledger()
    now = clock.now()
    drop = drops.newest(ledger, "acme", "people", "b.csv")
    assert drop is not None
    with ledger.transaction():
        job_id = jobs.create(ledger, drop, None, now)
        drops.claim(ledger, drop.id, now)
    jobs.begin_next(ledger, now)
    with pytest.raises(ResetRefused, match=f"job {job_id} .people/b.csv. is validating. Try again when it has ended"):
        reset.plan(site.settings, ledger, "acme")
    jobs.return_to_queue(ledger, job_id, "for a test", now)
    reset.plan(site.settings, ledger, "acme")
    uploads.open_upload(ledger, tenant="acme", username="ann", feed="people", path="e", address=None, client=None)
    with pytest.raises(ResetRefused, match="people/e is being uploaded"):
        reset.reset(site.settings, ledger, "acme")
    assert rows(site) > 0
    ledger.close()


def test_beside_a_serving_gateway_its_users_must_be_shut_out_first(site: Site) -> None:
    ledger = site.ledger()
    with alone_in(site.root / "data"):
        with pytest.raises(ResetRefused, match="gateway tenant disable acme"):
            reset.plan(site.settings, ledger, "acme")
        path = site.root / "tenants" / "acme.toml"
        path.write_text("disabled = true\n" + path.read_text())
        reset.reset(site.settings, ledger, "acme")
    ledger.close()
    assert rows(site) == 0


class Cut(Exception):
    """As a kill: nothing behind it is done."""


@pytest.mark.parametrize("step", ["empty", "spool_path", "take_leaving", "empty_folder"])
def test_a_reset_that_was_cut_short_is_told_and_finished_by_a_repeat(
    site: Site, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise Cut

    ledger = site.ledger()
    with monkeypatch.context() as patched:
        patched.setattr(reset, step, cut)
        with pytest.raises(Cut):
            reset.reset(site.settings, ledger, "acme")
    assert resets.cut_short(ledger) == ["acme"]
    assert "the reset of tenant 'acme' was cut short" in told(site)
    reset.reset(site.settings, ledger, "acme")
    assert (files_of(site), rows(site), resets.cut_short(ledger)) == ([], 0, [])
    assert "cut short" not in told(site)
    ledger.close()


def told(site: Site) -> str:
    installation = Installation(site.root)
    try:
        return "\n".join(found.what for found in findings(installation) if found.section == "store")
    finally:
        installation.close()


def test_bytes_from_before_a_reset_do_not_count_as_seen(site: Site) -> None:
    ledger = site.ledger()
    again = landings.record_landing(ledger, Landing("acme", "people", "z.csv", 10, 1, clock.now(), clock.now()))
    sha256 = f"{len('a.csv'):064d}"
    assert earlier.original_of(ledger, again, sha256, "c" * 64) is not None
    reset.reset(site.settings, ledger, "acme")
    assert earlier.original_of(ledger, again, sha256, "c" * 64) is None
    assert resets.marks(ledger, "acme") == 0
    ledger.close()
    site.bring("b.csv", [Row("ann", {})])
    ledger = site.ledger()
    assert earlier.original_of(ledger, again, sha256, "c" * 64) is not None, "what came since counts"
    ledger.close()


def test_the_doctor_tells_sizes_and_a_store_that_is_older_than_the_ledger(site: Site) -> None:
    assert "acme: 1 profiles, 1 companies, 1 events" in told(site)
    settings: Settings = site.settings
    (site.root / "data" / "store").rename(site.root / "data" / "elsewhere")
    assert "there is no store yet" in told(site)
    assert "acme: the ledger has commit 1, and the last in the store is 0" in told(site)
    assert settings.gateway.store.enabled
    (site.root / "data" / "elsewhere").rename(site.root / "data" / "store")
    assert "the ledger has commit" not in told(site)
    (site.root / "gateway.toml").write_text("[store]\nenabled = false\n")
    assert told(site) == "the store is off"
