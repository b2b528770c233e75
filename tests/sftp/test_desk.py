"""What the processes of one port share: marks, counts and lines, with real files and real processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path

import pytest

from gateway.config import LiveSettings
from gateway.errors import GatewayError, UploadRefused
from gateway.ledger import Ledger
from gateway.locks import Marks
from gateway.pickup.folder import make_folders
from gateway.sftp.desk import Desk, Guest
from gateway.sftp.far import Asking, FarDefender, FarDoors, FarHandles, FarSessions
from gateway.sftp.shared import SharedNumbers
from tests.waiting import PATIENCE_SECONDS

TAKES = """
import sys
from pathlib import Path
from gateway.locks import Marks
marks = Marks(Path(sys.argv[1]))
assert marks.take("name")
print("taken", flush=True)
sys.stdin.read()
"""


class Asleep:
    """Pickup that nobody needs here."""

    def wake(self) -> None:
        pass

    def claim_now(self, drop_id: str) -> None:
        pass


@pytest.fixture
def live(tmp_path: Path) -> LiveSettings:
    (tmp_path / "gateway.toml").write_text("[limits]\nconnections_max_per_user = 2\nhandles_max_per_tenant = 1\n")
    live = LiveSettings(tmp_path)
    make_folders(live.current)
    SharedNumbers.begin_anew(live.current)
    return live


@pytest.fixture
def desk(live: LiveSettings) -> Iterator[Desk]:
    ledger = Ledger(live.current.ledger_path)
    yield Desk(live, ledger, Asleep())
    ledger.close()


class Process:
    """A process of the port, as the desk sees it: one end of a pipe."""

    def __init__(self, desk: Desk) -> None:
        ours, theirs = Pipe()
        self._pipe = ours
        self._thread = threading.Thread(target=desk.answer_counts, args=(theirs,), daemon=True)
        self._thread.start()
        self.asking = Asking(ours)

    def end(self) -> None:
        """Without a word, as one that is killed."""
        self._pipe.close()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()


def test_a_name_is_one_process_s_until_that_ends_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    marks = Marks(path)
    with subprocess.Popen(
        [sys.executable, "-c", TAKES, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        assert not marks.take("name", wait=False)
        assert marks.take("another", wait=False)
        process.kill()
        # Waits until the kernel has freed it.
        assert marks.take("name")
    marks.close()


def test_a_name_that_was_taken_twice_is_free_when_it_was_freed_twice(tmp_path: Path) -> None:
    marks, others = Marks(tmp_path / "marks"), Marks(tmp_path / "marks")
    for _ in range(2):
        marks.take("name")
    marks.free("name")
    assert not others.take("name", wait=False)
    marks.free("name")
    assert others.take("name", wait=False)


def test_threads_that_take_and_free_a_name_never_have_it_beside_another_process(tmp_path: Path) -> None:
    """The kernel's lock is one for all threads of a process: it must not go with the first that frees it."""
    ours, theirs = Marks(tmp_path / "marks"), Marks(tmp_path / "marks")
    wrong: list[int] = []

    def use() -> None:
        for turn in range(3000):
            ours.take("name")
            if theirs.take("name", wait=False):
                wrong.append(turn)
                theirs.free("name")
            ours.free("name")

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert theirs.take("name", wait=False)


def test_addresses_that_came_and_went_leave_nothing_behind_at_the_desk(desk: Desk, live: LiveSettings) -> None:
    guest = Guest(desk)
    for number in range(100):
        guest.come(f"2001:db8::{number}")
        guest.log_in(f"2001:db8::{number}", "acme", f"user-{number}")
        guest.log_out("acme", f"user-{number}")
        guest.go(f"2001:db8::{number}", named=True)
    assert not guest._connections
    assert not guest._logins


def test_what_fails_at_the_desk_is_an_error_of_one_connection(desk: Desk, live: LiveSettings) -> None:
    process = Process(desk)
    with pytest.raises(GatewayError, match=r"nonsense failed in the gateway's own process: AttributeError"):
        process.asking.ask("nonsense")
    assert FarDoors(process.asking).come("192.0.2.1", live.current.gateway.limits) is None
    process.end()


def test_what_a_process_had_is_free_when_it_has_ended(desk: Desk, live: LiveSettings) -> None:
    limits = live.current.gateway.limits
    one, other = Process(desk), Process(desk)
    for process, address in ((one, "192.0.2.1"), (other, "192.0.2.2")):
        doors = FarDoors(process.asking)
        assert doors.come(address, limits) is None
        assert doors.log_in(address, "acme", "acme-ann", limits) is None
    FarHandles(one.asking).take("acme", limits)
    sessions = FarSessions(one.asking)
    sessions.add("acme", sessions.window("acme", limits) and object())
    third = FarDoors(other.asking)
    assert third.come("192.0.2.3", limits) is None
    assert "you have 2 connections already" in str(third.log_in("192.0.2.3", "acme", "acme-ann", limits))
    third.go("192.0.2.3", named=True)
    third.log_out("acme", "acme-ann")
    with pytest.raises(UploadRefused, match="1 files open already"):
        FarHandles(other.asking).take("acme", limits)

    one.end()

    assert third.come("192.0.2.4", limits) is None
    assert third.log_in("192.0.2.4", "acme", "acme-ann", limits) is None
    FarHandles(other.asking).take("acme", limits)
    assert not desk.sessions._by_tenant["acme"]
    other.end()
    assert (desk.doors.connections, desk.doors.unauthenticated) == (0, 0)


def test_points_of_all_processes_make_one_ban(desk: Desk, live: LiveSettings) -> None:
    one, other = (FarDefender(live, Process(desk).asking) for _ in range(2))
    for defender in (one, other):
        assert defender.refusal("192.0.2.1") is None
        defender.blame("192.0.2.1", one.settings.threshold / 2)
    assert "Too many failed logins" in str(one.refusal("192.0.2.1"))
    assert "Too many failed logins" in str(other.refusal("192.0.2.1"))


def test_the_line_of_a_user_is_one_for_all_processes(live: LiveSettings) -> None:
    up, other_up = (SharedNumbers(live.current).line(1000, "up", "acme-ann") for _ in range(2))
    down = SharedNumbers(live.current).line(0, "down", "acme-ann")
    assert other_up.free_at < 0
    up.take(5000, 100.0)
    other_up.take(5000, 100.0)
    assert up.free_at == other_up.free_at == 109.0
    assert down.is_free


def test_the_counts_of_a_feed_are_those_of_all_processes(live: LiveSettings) -> None:
    one, other = (SharedNumbers(live.current).counted("acme", "events") for _ in range(2))
    with one.growing:
        one.counts.grown += 7
    assert other.counts.grown == 7
    assert SharedNumbers(live.current).counted("acme", "others").counts.grown == 0
