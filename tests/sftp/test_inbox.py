"""The inbox when a claim is quicker than the client: what was in the inbox a moment ago no longer is."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import pytest

from gateway import clock
from gateway.errors import LedgerError
from gateway.ledger import drops, jobs, uploads
from gateway.ledger.drops import DropRow
from gateway.ledger.uploads import UploadRow
from gateway.pickup.claim import archived_path
from gateway.sftp.inbox import Inbox
from gateway.sftp.logged_in import Login
from gateway.sftp.names import Found, Names
from gateway.sftp.paths import Place
from gateway.sftp.uploads import Uploads
from tests.sftp.conftest import WRITE_FLAG, Running, shown

LOGIN = Login("acme", "acme-up", "127.0.0.1", "a test")
PLACE = Place("inbox", "events", "a.csv")


class ClaimedAfterTheLook(Names):
    """Names whose file is claimed right after the first look at it."""

    server: Running | None = None

    def get(self, place: Place) -> Found:
        found = super().get(place)
        if self.server is not None:
            server, self.server = self.server, None
            server.claim()
        return found


@pytest.fixture
async def names(server: Running) -> ClaimedAfterTheLook:
    """With one landed file."""
    async with server.client() as client, client.open("inbox/events/a.csv", "wb") as file:
        await file.write(b"first\n")
    return ClaimedAfterTheLook(server.live, server.ledger, Uploads(server.live, server.ledger, server.pickup), LOGIN)


@pytest.fixture
def inbox(server: Running, names: ClaimedAfterTheLook) -> Inbox:
    names.server = server
    open_uploads = Uploads(server.live, server.ledger, server.pickup)
    return Inbox(server.live, server.ledger, server.pickup, open_uploads, names, LOGIN)


async def test_a_remove_that_comes_too_late_hides_the_name(server: Running, inbox: Inbox, names: Names) -> None:
    inbox.remove(PLACE)
    assert names.find(PLACE) is None
    assert server.drops() == [("a.csv", 1, "claimed", 6)]


async def test_a_rename_that_comes_too_late_is_remembered(server: Running, inbox: Inbox, names: Names) -> None:
    inbox.rename(PLACE, Place("inbox", "events", "b.csv"), overwrite=False)
    assert names.find(PLACE) is None
    assert names.get(Place("inbox", "events", "b.csv")).size == 6
    assert server.drops() == [("a.csv", 1, "claimed", 6)]


@pytest.fixture
def half_claimed(server: Running, names: Names) -> DropRow:
    """A drop that is claimed, and whose file still stands in the inbox: a kill came between the two."""
    (drop,) = drops.settled(server.ledger, clock.now(), clock.now(), 1)
    with server.ledger.transaction():
        jobs.create(server.ledger, drop, None, clock.now())
        drops.claim(server.ledger, drop.id, clock.now())
    assert server.inbox("a.csv").exists()
    return drops.get(server.ledger, drop.id)


async def test_a_claimed_file_that_still_stands_is_not_removed_with_its_name(
    server: Running, half_claimed: DropRow
) -> None:
    async with server.client() as client:
        await client.remove("inbox/events/a.csv")
        assert await shown(client, "inbox/events") == []
    assert archived_path(server.live.current, half_claimed).read_bytes() == b"first\n"
    assert server.drops() == [("a.csv", 1, "claimed", 6)]


@pytest.mark.parametrize("is_target", [False, True])
async def test_a_claimed_file_that_still_stands_is_neither_renamed_nor_renamed_over(
    server: Running, half_claimed: DropRow, is_target: bool
) -> None:
    async with server.client() as client:
        old, new = ("b.csv", "a.csv") if is_target else ("a.csv", "b.csv")
        if is_target:
            async with client.open("inbox/events/b.csv", "wb") as file:
                await file.write(b"second\n")
        await client.posix_rename(f"inbox/events/{old}", f"inbox/events/{new}")
    assert archived_path(server.live.current, half_claimed).read_bytes() == b"first\n"
    assert server.drops()[0] == ("a.csv", 1, "claimed", 6)


async def test_a_time_that_comes_too_late_is_the_drops_still(server: Running, inbox: Inbox, names: Names) -> None:
    inbox.set_times(PLACE, 1_700_000_000, 1_700_000_000)
    drop = names.visible_drop(PLACE)
    assert drop is not None
    assert drop.state == "claimed"
    assert drop.client_mtime == clock.moment("2023-11-14T22:13:20.000000Z")


async def test_the_time_of_a_temporary_file_goes_with_it(server: Running) -> None:
    async with server.client() as client:
        for name in ("timed", "untimed"):
            async with client.open(f"inbox/events/{name}.part", "wb") as file:
                await file.write(b"first\n")
        await client.utime("inbox/events/timed.part", (1_700_000_000, 1_700_000_000))
        for name in ("timed", "untimed"):
            await client.rename(f"inbox/events/{name}.part", f"inbox/events/{name}")
    rows = server.ledger.rows("SELECT client_mtime FROM drops ORDER BY path")
    assert [row["client_mtime"] for row in rows] == ["2023-11-14T22:13:20.000000Z", None]


def opened(server: Running) -> UploadRow:
    """A new upload, in the ledger only."""
    row, replaced = uploads.open_upload(
        server.ledger, tenant="acme", username="acme-up", feed="events", path="a.csv", address=None, client=None
    )
    assert replaced == []
    return row


async def test_an_upload_moves_between_its_states_only_as_it_may(server: Running) -> None:
    row = opened(server)
    assert row.state == "open"
    with pytest.raises(LedgerError, match="is open, so it cannot become open"):
        uploads.resume(server.ledger, row.id, in_place=False)
    assert uploads.interrupt(server.ledger, row.id, 5, "cut") == "incomplete"
    with pytest.raises(LedgerError, match="is incomplete, so it cannot become closed"):
        uploads.close_upload(server.ledger, row.id, 5)
    uploads.resume(server.ledger, row.id, in_place=False)
    uploads.close_upload(server.ledger, row.id, 9)
    closed = uploads.get(server.ledger, row.id)
    assert (closed.state, closed.bytes) == ("closed", 9)
    assert closed.ended_at is not None
    assert clock.now() - closed.ended_at < timedelta(minutes=1)
    for change in (uploads.abort, uploads.interrupt):
        with pytest.raises(LedgerError):
            change(server.ledger, row.id, *(("why",) if change is uploads.abort else (1, "why")))
    seen = server.ledger.rows("SELECT old, new FROM transitions WHERE subject = ? ORDER BY id", (row.id,))
    assert [tuple(step) for step in seen] == [
        (None, "open"),
        ("open", "incomplete"),
        ("incomplete", "open"),
        ("open", "closed"),
    ]


class DiesBeforeLanding(Uploads):
    """A gateway that ends in the middle of a rename to the final name: nothing is put right."""

    def _land(self, row: UploadRow, place: Place, client_mtime: datetime | None) -> None:
        raise KeyboardInterrupt


async def test_after_a_kill_in_the_middle_of_a_rename_the_file_is_whole_and_can_be_renamed(server: Running) -> None:
    temporary = Place("inbox", "events", "a.csv.part")
    async with server.client() as client, client.open(f"inbox/events/{temporary.path}", "wb") as file:
        await file.write(b"whole\n")
    stored = uploads.stored(server.ledger, "acme", "events", temporary.path)
    assert stored is not None
    with pytest.raises(KeyboardInterrupt):
        DiesBeforeLanding(server.live, server.ledger, server.pickup).land_stored(stored, temporary, PLACE)
    Uploads(server.live, server.ledger, server.pickup).recover()
    async with server.client() as client:
        assert await client.getsize(f"inbox/events/{temporary.path}") == 6
        await client.rename(f"inbox/events/{temporary.path}", f"inbox/events/{PLACE.path}")
    assert server.drops() == [("a.csv", 1, "landed", 6)]


async def test_after_a_kill_of_the_gateway_nothing_is_kept_of_an_upload_over_older_bytes(server: Running) -> None:
    """Half new, half old, and nobody knows any more which: it must not be resumed and land."""
    async with server.client() as client, client.open("inbox/events/a.csv", "wb") as file:
        await file.write(b"the first version")
    names = Names(server.live, server.ledger, (killed := Uploads(server.live, server.ledger, server.pickup)), LOGIN)
    killed_inbox = Inbox(server.live, server.ledger, server.pickup, killed, names, LOGIN)
    handle = killed_inbox.open_writing(PLACE, WRITE_FLAG)
    handle.write([memoryview(b"new")], 0, 3)
    os.close(handle.descriptor)
    Uploads(server.live, server.ledger, server.pickup).recover()
    assert server.uploads()[-1] == ("a.csv", "aborted", 0)
    assert server.spooled() == []
    assert server.inbox("a.csv").read_bytes() == b"the first version"


async def test_what_breaks_off_with_nothing_or_after_a_newer_one_is_not_kept(server: Running) -> None:
    older = opened(server)
    newer = opened(server)
    assert uploads.interrupt(server.ledger, older.id, 5, "cut") == "aborted"
    assert uploads.interrupt(server.ledger, newer.id, 0, "cut") == "aborted"
