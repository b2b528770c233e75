"""`gateway tenant reset` beside a gateway that serves: refused at first, then safe, and the gateway goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import load
from gateway.store import TenantStore
from gateway.store.table import Table
from tests.conftest import Run
from tests.test_serve import Gateway
from tests.waiting import until

pytestmark = pytest.mark.timeout(100)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path / "site")
    tenant = made.root / "tenants" / "acme.toml"
    tenant.write_text(f'environment = "test"\n{tenant.read_text()}')
    made.serve()
    yield made
    for process in made.processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def stored(serving: Gateway) -> list[str]:
    """Whom the store knows, as of now."""
    table: Table = TenantStore(load(serving.root).store_url, "acme").profiles
    return sorted(table.scan(table.files()["path"]).collect()["identity"])


@pytest.mark.rule("F20", "F21")
def test_a_reset_is_refused_until_the_tenant_is_disabled_and_safe_then(gateway: Run, serving: Gateway) -> None:
    def reset() -> str:
        done = gateway("tenant", "reset", "acme", "--config", serving.root, given="acme\n")
        return f"{done.returncode} {done.stdout}{done.stderr}"

    def report(name: str = "people.csv") -> bool:
        return (serving.outbox / f"{name}.report.json").exists()

    serving.put("people.csv")
    until(report, serving.log)
    refused = reset()
    assert refused.startswith("3 ")
    assert "a gateway serves, and users of 'acme' may log in meanwhile" in refused
    assert (stored(serving), report()) == (["ann", "bob"], True), "nothing was changed"
    tenant = serving.root / "tenants" / "acme.toml"
    tenant.write_text(f"disabled = true\n{tenant.read_text()}")
    assert reset().startswith("0 "), serving.log()
    assert (stored(serving), report()) == ([], False)
    tenant.write_text(tenant.read_text().replace("disabled = true\n", ""))
    # The same bytes are new again, and the gateway that was at work before stores them.
    serving.put("again.csv")
    until(lambda: report("again.csv"), serving.log)
    first, second = sorted(serving.ended(), key=lambda job: job.id)
    assert (second.status, second.accepted_rows, second.duplicate_of) == ("completed", 2, None)
    assert (first.commit_sequence, second.commit_sequence) == (1, 2)
    assert stored(serving) == ["ann", "bob"]
    told = json.loads((serving.outbox / "again.csv.report.json").read_text())
    assert (told["store"]["created"], told["properties"]["created"]) == (2, ["Name"])
