"""What a name in the inbox stands for, before and after the claim (DESIGN.md, invariant 6)."""

from __future__ import annotations

import asyncssh
import pytest

from gateway.pickup.claim import original_path
from tests.conftest import standing
from tests.sftp.conftest import Running, shown


async def put(client: asyncssh.SFTPClient, name: str, content: bytes = b"first\n", feed: str = "events") -> None:
    async with client.open(f"inbox/{feed}/{name}", "wb") as file:
        await file.write(content)


async def read(client: asyncssh.SFTPClient, name: str) -> bytes:
    async with client.open(f"inbox/events/{name}", "rb") as file:
        content: bytes = await file.read()
        return content


async def test_a_claimed_name_is_still_listed_statted_and_read(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        server.claim()
        assert not server.inbox("a.csv").exists()
        assert await shown(client, "inbox/events") == ["a.csv"]
        assert (await client.stat("inbox/events/a.csv")).size == 6
        assert await read(client, "a.csv") == b"first\n"


async def test_a_claimed_name_is_gone_after_the_grace_period(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        server.claim()
        with server.ledger.transaction() as connection:
            connection.execute("UPDATE drops SET claimed_at = '2020-01-01T00:00:00.000000Z'")
        assert await shown(client, "inbox/events") == []
        assert not await client.exists("inbox/events/a.csv")


async def test_times_of_a_claimed_file_are_taken_and_shown(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        server.claim()
        await client.utime("inbox/events/a.csv", (1_700_000_000, 1_700_000_000))
        assert (await client.stat("inbox/events/a.csv")).mtime == 1_700_000_000
    row = server.ledger.row("SELECT client_mtime FROM drops")
    assert row is not None
    assert row["client_mtime"] == "2023-11-14T22:13:20.000000Z"


async def test_removing_a_claimed_name_hides_it_and_leaves_the_job(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        server.claim()
        await client.remove("inbox/events/a.csv")
        assert await shown(client, "inbox/events") == []
    assert server.drops() == [("a.csv", 1, "claimed", 6)]


async def test_a_removed_name_brings_no_earlier_generation_to_light(server: Running) -> None:
    async with server.client() as client:
        for _ in range(2):
            await put(client, "a.csv")
            server.claim()
        await put(client, "a.csv", b"third\n")
        await client.remove("inbox/events/a.csv")
        assert not await client.exists("inbox/events/a.csv")
        assert await shown(client, "inbox/events") == []
    assert [state for _, _, state, _ in server.drops()] == ["claimed", "claimed", "withdrawn"]


@pytest.mark.parametrize("is_claimed", [False, True])
async def test_a_name_that_was_renamed_brings_no_earlier_generation_to_light(server: Running, is_claimed: bool) -> None:
    async with server.client() as client:
        for content in (b"first\n", b"second\n"):
            await put(client, "a.csv", content)
            if is_claimed or content == b"first\n":
                server.claim()
        await client.rename("inbox/events/a.csv", "inbox/events/b.csv")
        assert await shown(client, "inbox/events") == ["b.csv"]
        assert not await client.exists("inbox/events/a.csv")
        assert await read(client, "b.csv") == b"second\n"


async def test_renaming_a_claimed_name_within_its_feed_is_remembered(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        server.claim()
        await client.rename("inbox/events/a.csv", "inbox/events/b.csv")
        assert await shown(client, "inbox/events") == ["b.csv"]
        assert await read(client, "b.csv") == b"first\n"
        assert not await client.exists("inbox/events/a.csv")
    assert server.drops() == [("a.csv", 1, "claimed", 6)]


async def test_renaming_a_claimed_name_into_another_feed_is_refused(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        server.claim()
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="being processed for feed events"):
            await client.rename("inbox/events/a.csv", "inbox/small/a.csv")


async def test_appending_to_a_claimed_name_is_the_next_generation_with_all_bytes(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        server.claim()
        async with client.open("inbox/events/a.csv", "ab") as file:
            await file.write(b"second\n")
    assert server.drops() == [("a.csv", 1, "claimed", 6), ("a.csv", 2, "landed", 13)]
    assert server.inbox("a.csv").read_bytes() == b"first\nsecond\n"


async def test_uploading_a_claimed_name_again_is_the_next_generation(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        server.claim()
        await put(client, "a.csv", b"other\n")
        assert await read(client, "a.csv") == b"other\n"
    assert [drop[:3] for drop in server.drops()] == [("a.csv", 1, "claimed"), ("a.csv", 2, "landed")]
    row = server.ledger.row("SELECT id FROM jobs")
    assert row is not None
    assert original_path(server.live.current, row["id"]).read_bytes() == b"first\n"


@pytest.mark.parametrize("method", ["rename", "posix_rename"])
async def test_a_temporary_name_can_take_a_claimed_one(server: Running, method: str) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        server.claim()
        await put(client, "a.csv.part", b"other\n")
        await getattr(client, method)("inbox/events/a.csv.part", "inbox/events/a.csv")
    assert [drop[:3] for drop in server.drops()] == [("a.csv", 1, "claimed"), ("a.csv", 2, "landed")]


async def test_a_plain_rename_does_not_overwrite_and_a_posix_rename_does(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        await put(client, "b.csv", b"other\n")
        with pytest.raises(asyncssh.SFTPFailure, match="this name is taken"):
            await client.rename("inbox/events/a.csv", "inbox/events/b.csv")
        await client.posix_rename("inbox/events/a.csv", "inbox/events/b.csv")
        assert await shown(client, "inbox/events") == ["b.csv"]
        assert await read(client, "b.csv") == b"first\n"
    assert sorted(drop[2] for drop in server.drops()) == ["landed", "superseded"]


async def test_a_landed_file_can_be_renamed_into_another_feed(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        await client.rename("inbox/events/a.csv", "inbox/small/b.csv")
        assert await shown(client, "inbox/small") == ["b.csv"]
    row = server.ledger.row("SELECT feed, path, state FROM drops")
    assert row is not None
    assert tuple(row) == ("small", "b.csv", "settling")
    server.claim()


async def test_removing_a_landed_file_withdraws_it(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        await client.remove("inbox/events/a.csv")
        assert await shown(client, "inbox/events") == []
    assert server.drops() == [("a.csv", 1, "withdrawn", 6)]
    assert server.scan.claim_settled() == 0


async def test_a_touch_restarts_settling(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        with server.ledger.transaction() as connection:
            connection.execute("UPDATE drops SET settles_at = '2020-01-01T00:00:00.000000Z'")
        await client.utime("inbox/events/a.csv", (1_700_000_000, 1_700_000_000))
        assert (await client.stat("inbox/events/a.csv")).mtime == 1_700_000_000
    row = server.ledger.row("SELECT settles_at, client_mtime FROM drops")
    assert row is not None
    assert row["settles_at"] > "2021"
    assert row["client_mtime"] == "2023-11-14T22:13:20.000000Z"


async def test_times_set_through_the_handle_are_the_drops(server: Running) -> None:
    async with server.client() as client:
        async with client.open("inbox/events/a.csv", "wb") as file:
            await file.write(b"first\n")
            await file.utime((1_700_000_000, 1_700_000_000))
        assert (await client.stat("inbox/events/a.csv")).mtime == 1_700_000_000
    row = server.ledger.row("SELECT client_mtime FROM drops")
    assert row is not None
    assert row["client_mtime"] == "2023-11-14T22:13:20.000000Z"


async def test_owners_and_modes_are_taken_as_done(server: Running) -> None:
    async with server.client() as client:
        await put(client, "a.csv")
        await client.chmod("inbox/events/a.csv", 0o777)
        await client.chown("inbox/events/a.csv", uid=0, gid=0)
    assert server.inbox("a.csv").stat().st_mode & 0o777 == 0o640


async def test_a_size_set_by_name_cuts_the_file(server: Running) -> None:
    """sshfs empties a file this way before it writes it anew."""
    async with server.client() as client:
        await put(client, "a.csv")
        await client.truncate("inbox/events/a.csv", 3)
    assert server.inbox("a.csv").read_bytes() == b"fir"
    assert server.drops() == [("a.csv", 1, "landed", 3)]


async def test_a_file_of_a_local_program_is_seen_and_can_be_renamed_and_removed(server: Running) -> None:
    server.inbox("local.csv").write_bytes(b"local\n")
    async with server.client() as client:
        assert await read(client, "local.csv") == b"local\n"
        await client.rename("inbox/events/local.csv", "inbox/events/other.csv")
        await client.remove("inbox/events/other.csv")
    assert server.drops() == []
    assert standing(server.inbox("")) == []


async def test_an_empty_folder_can_be_renamed_and_a_full_one_not(server: Running) -> None:
    async with server.client() as client:
        await client.mkdir("inbox/events/one")
        await client.rename("inbox/events/one", "inbox/events/two")
        await put(client, "two/a.csv")
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="keeps its name"):
            await client.rename("inbox/events/two", "inbox/events/three")


async def test_results_in_the_outbox_can_be_listed_read_and_removed(server: Running) -> None:
    server.tree("outbox", "events", "a.csv.report.json").write_bytes(b"{}")
    async with server.client() as client:
        assert await client.listdir("outbox/events") == ["a.csv.report.json"]
        assert (await client.stat("outbox/events/a.csv.report.json")).size == 2
        await client.remove("outbox/events/a.csv.report.json")
        assert await client.listdir("outbox/events") == []
