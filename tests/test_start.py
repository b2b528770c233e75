"""What is imported at start, and what is not: how long a command takes follows from that.

The seconds themselves are measured by scripts/benchmarks/start.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gateway.engine import START_TRIES, Engine
from gateway.errors import WorkerDied
from gateway.ledger import Ledger, connection

# What takes a tenth of a second and more, and whose work is done elsewhere or later.
ROWS = {"polars", "numpy", "jinja2", "langcodes", "pycountry", "ua_parser", "zstandard"}
NETWORK = {"asyncssh", "paramiko"}


def packages_after(statement: str) -> set[str]:
    """The packages that a new Python has imported after a statement."""
    told = "import sys; print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{statement}; {told}"], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_imports_nothing_but_click() -> None:
    found = packages_after("from gateway.cli import gateway; gateway(['--help'], standalone_mode=False)")
    assert found - packages_after("import click") - set(sys.stdlib_module_names) == {"gateway"}


def test_the_gateways_own_process_serves_without_what_reads_rows() -> None:
    found = packages_after("import gateway.cli.serve, gateway.serve")
    assert "asyncssh" in found
    assert found & (ROWS | {"sqlite_utils", "paramiko"}) == set()


def test_a_built_in_contract_is_loaded_and_explained_without_what_reads_rows() -> None:
    loads = "contracts.load('userpilot-import')"
    found = packages_after(f"from gateway import contracts; from gateway.contracts import samples; {loads}")
    assert found & ROWS == set()


@pytest.mark.parametrize("module", ["jobs", "uploads", "drops", "audit", "bans", "tenant", "user", "feed", "contract"])
def test_commands_that_list_and_change_import_neither_rows_nor_network(module: str) -> None:
    assert packages_after(f"import gateway.cli.{module}") & (ROWS | NETWORK) == set()


def test_a_ledger_that_is_up_to_date_is_opened_without_sqlite_utils(tmp_path: Path) -> None:
    opens = f"from pathlib import Path; from gateway.ledger import Ledger; Ledger(Path('{tmp_path}/ledger.db'))"
    assert "sqlite_utils" in packages_after(opens)
    assert "sqlite_utils" not in packages_after(opens)


def test_a_ledger_knows_how_many_migrations_it_has_had(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    (version,) = ledger.rows("PRAGMA user_version")
    applied = ledger.rows("SELECT name FROM _sqlite_migrations")
    ledger.close()
    assert version[0] == len(applied) == connection.MIGRATIONS


def test_a_started_engine_has_a_worker_that_is_warm() -> None:
    engine = Engine(1)
    engine.launch()
    engine.start()
    (pid,) = engine.worker_pids()
    # Polars' threads are there as soon as it has computed something.
    threads = {path.read_text().strip() for path in Path(f"/proc/{pid}/task").glob("*/comm")}
    assert {"polars-0"} <= threads
    engine.stop()


def test_a_worker_that_is_killed_while_it_warms_up_is_replaced() -> None:
    engine = Engine(1)
    engine.launch()
    (killed,) = engine.worker_pids()
    os.kill(killed, signal.SIGKILL)
    engine.start()
    (pid,) = engine.worker_pids()
    assert pid != killed
    engine.stop()


def test_an_engine_gives_up_when_no_worker_gets_warm() -> None:
    engine = Engine(1)
    engine.launch()
    killed: set[int] = set()

    def kill() -> None:
        """Each worker as soon as there is one."""
        while len(killed) < START_TRIES:
            for pid in set(engine.worker_pids()) - killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(WorkerDied):
        engine.start()
    killer.join()
    engine.stop()
