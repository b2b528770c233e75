"""Every limit of `[limits]` is hit with a real client, and the client is told in words."""

from __future__ import annotations

import asyncio
import shlex
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from gateway.config import LimitSettings
from gateway.sftp.limits import Doors
from tests.sftp.conftest import Ended, Running, string, until

Limited = Callable[..., Any]
ADDRESSES = ("127.0.0.1", "127.0.0.2")


@pytest.fixture
def limited(root: Path) -> Limited:
    """`limited(connections_max=2)`: a listener with these limits."""

    @asynccontextmanager
    async def call(**limits: float) -> AsyncIterator[Running]:
        path = root / "gateway.toml"
        lines = "".join(f"{key} = {value}\n" for key, value in limits.items())
        path.write_text(f"{path.read_text()}[limits]\n{lines}")
        running = Running(root)
        await running.start()
        try:
            yield running
        finally:
            await running.listener.stop(0)
            running.ledger.close()

    return call


async def openssh(server: Running, *options: str, user: str = "acme-up") -> Ended:
    """OpenSSH's sftp, as loud as it is for people."""
    command = [part for part in server.sftp_command(*options, user=user) if part != "-q"]
    return await server.run(*command, given="pwd\n")


async def test_an_address_may_have_so_many_connections_and_another_still_comes_in(limited: Limited) -> None:
    async with limited(connections_max_per_address=2) as server, server.connected(), server.connected():
        refused = await openssh(server)
        assert refused.code == 255
        assert "your address has 2 connections already; close a connection that you do not need" in refused.err
        other = await openssh(server, "-o", f"BindAddress={ADDRESSES[1]}")
        assert (other.code, other.err) == (0, "")


async def test_the_gateway_takes_so_many_connections_in_all(limited: Limited) -> None:
    limits = {"connections_max": 2, "connections_max_per_address": 1, "connections_max_per_tenant": 1}
    # The second address cannot be told apart from a second tenant here: it stays logged out.
    async with limited(**limits) as server, server.connected(), silent(server, ADDRESSES[1]):
        refused = await openssh(server, "-o", "BindAddress=127.0.0.3")
        assert refused.code == 255
        assert "the gateway has as many connections as it takes; try again in a minute" in refused.err


async def test_those_who_do_not_log_in_leave_room_for_other_addresses(limited: Limited) -> None:
    async with limited(unauthenticated_max=3, unauthenticated_max_per_address=2) as server, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(silent(server, ADDRESSES[0]))
        refused = await openssh(server)
        assert "2 connections of your address are logging in" in refused.err
        other = await openssh(server, "-o", f"BindAddress={ADDRESSES[1]}")
        assert other.code == 0, other.err
        await until(lambda: server.listener._doors.unauthenticated == 2)
        async with silent(server, ADDRESSES[1]):
            refused = await openssh(server, "-o", "BindAddress=127.0.0.3")
            assert "the gateway has as many connections as it takes; try again in a minute" in refused.err


async def test_a_tenant_that_opens_every_connection_it_may_does_not_keep_another_out(
    limited: Limited, root: Path
) -> None:
    text = (root / "tenants" / "acme.toml").read_text()
    (root / "tenants" / "other.toml").write_text(text.replace("acme", "other"))
    limits = {"connections_max": 4, "connections_max_per_address": 3, "connections_max_per_tenant": 3}
    async with limited(**limits) as server, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(server.connected())
        own = await openssh(server, "-o", f"BindAddress={ADDRESSES[1]}", user="acme-two")
        assert own.code == 255
        assert "your tenant has 3 connections already" in own.err
        other = await openssh(server, "-o", f"BindAddress={ADDRESSES[1]}", user="other-up")
        assert other.code == 0, other.err


async def test_a_user_may_have_so_many_connections_and_gets_the_next_when_one_has_ended(limited: Limited) -> None:
    async with limited(connections_max_per_user=1) as server:
        async with server.connected():
            refused = await openssh(server)
            assert "you have 1 connections already" in refused.err
            assert (await openssh(server, user="acme-two")).code == 0
        await until(lambda: server.listener._doors.connections == 0)
        assert (await openssh(server)).code == 0


async def test_who_is_turned_away_takes_no_place_of_others(limited: Limited) -> None:
    limits = {"connections_max": 5, "connections_max_per_address": 2, "connections_max_per_tenant": 4}
    async with limited(**limits) as server, server.connected(), server.connected(), AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(silent(server, ADDRESSES[0]))
        other = await openssh(server, "-o", f"BindAddress={ADDRESSES[1]}")
        assert (other.code, other.err) == (0, "")
        await until(lambda: server.listener._doors.connections == 2)
    await until(lambda: server.listener._doors.connections == 0)
    assert server.listener._doors.unauthenticated == 0


async def test_who_is_over_the_limit_of_a_user_takes_no_place_of_the_tenants(limited: Limited) -> None:
    async with limited(connections_max_per_user=1, connections_max_per_tenant=2) as server, server.connected():
        refused = await asyncio.gather(*(openssh(server) for _ in range(4)))
        assert ["you have 1 connections already" in ended.err for ended in refused] == [True] * 4
        other = await openssh(server, user="acme-two")
        assert (other.code, other.err) == (0, "")


def test_the_addresses_of_one_ipv6_subscriber_count_as_one() -> None:
    doors, limits = Doors(), LimitSettings(connections_max_per_address=2)
    assert doors.come("2001:db8::1", limits) is None
    assert doors.come("2001:db8::2:3:4:5", limits) is None
    assert "your address has 2 connections already" in str(doors.come("2001:db8:0:0:ffff::%eth0", limits))
    assert doors.come("2001:db8:0:1::1", limits) is None
    for address in ("2001:db8::1", "2001:db8::2:3:4:5", "2001:db8:0:0:ffff::", "2001:db8:0:1::1"):
        doors.go(address, named=False)
    assert (doors.connections, doors.unauthenticated) == (0, 0)
    assert doors.come("2001:db8::3", limits) is None


async def test_who_does_not_log_in_in_time_is_told(root: Path) -> None:
    path = root / "gateway.toml"
    path.write_text(path.read_text().replace("[sftp]\n", "[sftp]\nlogin_seconds_max = 0.3\n"))
    server = Running(root)
    await server.start()

    class Hesitating(asyncssh.SSHClient):
        async def password_auth_requested(self) -> str:
            return await asyncio.Future()

    with pytest.raises(asyncssh.DisconnectError, match=r"you have not logged in within 0\.3 seconds; connect again"):
        async with server.connected("acme-word", client_factory=Hesitating, client_keys=[]):
            pass
    async with server.client() as client:
        await until(lambda: len(server.listener._connections) == 1)
        assert await client.listdir("/inbox") == ["events", "small"]
    await server.listener.stop(0)
    server.ledger.close()


async def test_a_request_that_is_too_long_ends_its_session_with_a_sentence(limited: Limited) -> None:
    async with limited() as server:
        command = ["ssh", *server.options(), "-p", str(server.port), "-s", "acme-up@127.0.0.1", "sftp"]
        packets = "\0\0\0\5\1\0\0\0\3" + "\x7f\0\0\0\6"
        ended = await server.run("sh", "-c", f"{shlex.join(command)} >/dev/null", given=packets)
        assert "a packet of 2130706432 bytes came, and a request may have 4195328; the session is ended" in ended.err


async def test_a_tenant_may_have_so_many_sessions(limited: Limited) -> None:
    async with limited(sessions_max_per_tenant=2) as server, server.client(), server.client("acme-two"):
        refused = await openssh(server)
        assert refused.code == 255
        assert "your tenant has 2 sessions already; end one first" in refused.err


async def test_what_many_sessions_send_ahead_stays_small(limited: Limited) -> None:
    request = struct.pack(">IBI", 10, 17, 1) + string(b"/")
    async with limited() as server, server.connected() as connection:
        sessions = [await connection.create_process(subsystem="sftp", encoding=None, window=1) for _ in range(10)]
        for session in sessions:
            session.stdin.write(struct.pack(">IBI", 5, 1, 3) + request * 200_000)
        waiting = await until(lambda: [session for session in server.listener._sessions if session._paused])
        assert waiting
        unsent = [session.channel.get_write_buffer_size() for session in sessions]
        # Of 2.6 MB that each wants to send: what is not taken at once stays with the client.
        assert min(unsent[8:]) > 1_000_000
        connection.abort()
    await until(lambda: not server.listener._sessions_by_tenant._by_tenant["acme"])


async def test_the_sessions_of_a_tenant_may_have_so_many_files_open(limited: Limited, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n")
    async with limited(handles_max_per_tenant=2) as server, server.client() as client:
        server.tree("outbox", "events", "a").write_bytes(b"a\n")
        for _ in range(3):  # What cannot be opened does not count.
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await client.open("/outbox/events/other", "rb")
        reading = await client.open("/outbox/events/a", "rb")
        writing = await client.open("/inbox/events/b.csv", "wb")
        told = "your tenant has 2 files open already; close one first"
        refused = await server.sftp(f"put {tmp_path}/a.csv inbox/events/a.csv", user="acme-two")
        assert (refused.code, told in refused.err) == (1, True)
        async with server.connected() as connection:
            assert told in str((await connection.run("md5sum /outbox/events/a")).stderr)
        await reading.close()
        assert (await server.sftp(f"put {tmp_path}/a.csv inbox/events/a.csv", user="acme-two")).code == 0
        await writing.close()
        async with server.raw() as raw:
            await raw.open("/inbox/events/c.csv")
            await raw.open("/inbox/events/d.csv")
        await until(lambda: not server.listener._handles._by_tenant)


async def test_a_connection_may_try_so_many_keys(limited: Limited) -> None:
    async with limited(tries_max=1) as server:
        refused = await openssh(server, user="nobody")
        assert refused.code == 255
        assert "1 keys and passwords were wrong; check which one is yours" in refused.err


async def test_a_connection_may_try_so_many_passwords(limited: Limited) -> None:
    async with limited(tries_max=1) as server:
        with pytest.raises(asyncssh.DisconnectError, match="1 keys and passwords were wrong"):
            async with server.connected("acme-word", password="wrong", client_keys=[]):
                pass


async def test_a_connection_may_have_so_many_sessions(limited: Limited) -> None:
    async with limited(sessions_max_per_connection=1) as server, server.connected() as connection:
        async with connection.start_sftp_client():
            with pytest.raises(asyncssh.ChannelOpenError, match="this connection has 1 sessions already; end one"):
                await connection.run("sha256sum")
        await until(lambda: not server.listener._sessions)
        assert (await connection.run("sha256sum")).exit_status == 0


async def test_scp_and_a_cut_by_name_are_told_the_largest_file_of_a_feed(server: Running, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x" * 100_001)
    to = ["-P", str(server.port), f"{tmp_path}/a.csv", "acme-up@127.0.0.1:/inbox/small/a.csv"]
    ended = await server.run("scp", *server.options(), *to)
    assert ended.code == 1
    assert "/inbox/small/a.csv: a file of this feed may have 100000 bytes; split it" in ended.err
    async with server.client() as client:
        async with client.open("/inbox/small/b.csv", "wb") as file:
            await file.write(b"a\n")
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="may have 100000 bytes; split it"):
            await client.truncate("/inbox/small/b.csv", 100_001)
    assert [(path, size) for path, _, _, size in server.drops()] == [("b.csv", 2)]


async def test_a_session_that_asks_for_nothing_is_ended_with_a_sentence(limited: Limited) -> None:
    async with limited(idle_seconds=0.2) as server:
        command = ["ssh", *server.options(), "-p", str(server.port), "-s", "acme-up@127.0.0.1", "sftp"]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stderr is not None
        err = await asyncio.wait_for(process.stderr.read(), 20)
        process.stdin.close()
        await process.wait()
        assert b"nothing was asked for 0.2 seconds, so the session is ended; connect again" in err
        await until(lambda: not server.listener._sessions)


async def test_a_session_with_an_open_upload_is_not_idle(limited: Limited) -> None:
    async with limited(idle_seconds=0.05) as server, server.raw() as raw:
        handle = await raw.open("inbox/events/a.csv")
        looked = 0
        (session,) = server.listener._sessions
        look = session._look_for_idleness

        def counted() -> None:
            nonlocal looked
            looked += 1
            look()

        session._look_for_idleness = counted
        await until(lambda: looked >= 3)
        raw.close(handle)
        assert (await raw.status())[1] == 0


@pytest.mark.parametrize("key", ["connections_max_per_address", "connections_max_per_tenant"])
def test_limits_that_leave_nothing_for_others_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"{key} = 512 leaves nothing of connections_max = 512 for others"):
        LimitSettings(**{key: 512})


@asynccontextmanager
async def silent(server: Running, address: str) -> AsyncIterator[None]:
    """A connection that is open and does not log in."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(address, 0))
    assert await reader.readline() == b"SSH-2.0-gateway\r\n"
    try:
        yield
    finally:
        writer.close()
