"""SFTP packets as no good client sends them: gaps, trailing bytes, broken frames, a close that never comes."""

from __future__ import annotations

import asyncio
import struct

import pytest

from gateway.sftp.backlog import Backlog
from tests.sftp.conftest import APPEND_FLAG, CREATE_FLAG, OPEN, READ_FLAG, WRITE_FLAG, Raw, Running, string, until

FSETSTAT, FSTAT, READ, REALPATH, STAT, EXTENDED = 10, 8, 5, 16, 17, 200
OK, EOF, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 1, 4, 5, 8


async def replies(raw: Raw, count: int) -> list[int]:
    """The codes of the next replies."""
    return [(await raw.status())[1] for _ in range(count)]


async def test_bytes_after_the_data_of_a_write_are_ignored(server: Running) -> None:
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        raw.write(handle, 0, b"hello ", trailing=b"\0" * 7)
        raw.write(handle, 6, b"world", trailing=b"x")
        raw.close(handle)
        assert await replies(raw, 3) == [OK, OK, OK]
    assert server.inbox("a.csv").read_bytes() == b"hello world"


async def test_a_gap_makes_the_close_fail_and_no_drop(server: Running) -> None:
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        raw.write(handle, 0, b"hello")
        raw.write(handle, 6, b"world")
        raw.close(handle)
        assert await replies(raw, 2) == [OK, OK]
        _, code, message = await raw.status()
    assert code == FAILURE
    assert "bytes are missing from 5 on" in message
    assert server.drops() == []
    assert server.uploads() == [("a.csv", "incomplete", 4)]


async def test_writes_out_of_order_without_a_gap_land(server: Running) -> None:
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        for offset in (8, 4, 0, 12):
            raw.write(handle, offset, b"%04d" % offset)
        raw.close(handle)
        assert await replies(raw, 5) == [OK] * 5
    assert server.inbox("a.csv").read_bytes() == b"0000000400080012"


async def test_a_session_that_ends_without_a_close_makes_no_drop(server: Running) -> None:
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        raw.write(handle, 0, b"hello")
        assert await replies(raw, 1) == [OK]
        raw.process.stdin.write_eof()
        await raw.process.wait_closed()
    await until(lambda: server.uploads() == [("a.csv", "incomplete", 4)])
    assert server.drops() == []


async def test_only_what_has_no_gap_before_it_can_be_resumed(server: Running) -> None:
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        raw.write(handle, 0, b"hello")
        raw.write(handle, 100, b"world")
        assert await replies(raw, 2) == [OK, OK]
    await until(lambda: server.uploads() == [("a.csv", "incomplete", 4)])
    assert server.spooled()[0].read_bytes() == b"hell"


async def test_a_close_behind_unanswered_writes_counts_when_the_connection_is_gone(server: Running) -> None:
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        raw.write(handle, 0, b"hello")
        raw.close(handle)
        raw.process.stdin.write_eof()
    await until(lambda: server.drops() == [("a.csv", 1, "landed", 5)])


async def test_a_failed_write_poisons_its_handle(server: Running) -> None:
    async with server.raw() as raw:
        handle = await raw.open("/inbox/small/a.csv")
        raw.write(handle, 99_999, b"too long")
        raw.write(handle, 0, b"short")
        raw.close(handle)
        assert OK not in await replies(raw, 3)
    assert server.drops() == []


async def test_requests_are_answered_in_their_order(server: Running) -> None:
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        for round_ in range(20):
            raw.write(handle, round_ * 4, b"data")
            raw.send(STAT, string(b"/inbox/events"))
            raw.write(handle, round_ * 4, b"more")
            raw.send(FSTAT, string(handle))
        received = [struct.unpack_from(">BI", await raw.receive()) for _ in range(80)]
    requests = [request for _, request in received]
    assert requests == sorted(requests)
    assert [kind for kind, _ in received] == [101, 105, 101, 105] * 20


async def test_a_size_set_through_the_handle_cuts_what_was_there(server: Running) -> None:
    """scp 9 over a longer file: CREAT without TRUNC, writes, then fsetstat(size)."""
    async with server.client() as client, client.open("inbox/events/a.csv", "wb") as file:
        await file.write(b"a longer first version")
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv", WRITE_FLAG | CREATE_FLAG)
        raw.write(handle, 0, b"short")
        raw.send(FSETSTAT, string(handle) + struct.pack(">IQ", 1, 5))
        raw.close(handle)
        assert await replies(raw, 3) == [OK, OK, OK]
    assert server.inbox("a.csv").read_bytes() == b"short"
    assert server.drops() == [("a.csv", 1, "landed", 5)]


async def test_a_cut_off_overwrite_keeps_only_its_own_bytes_and_leaves_the_landed_file(server: Running) -> None:
    async with server.client() as client, client.open("inbox/events/a.csv", "wb") as file:
        await file.write(b"a longer first version")
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv", WRITE_FLAG | CREATE_FLAG)
        raw.write(handle, 0, b"short")
        assert await replies(raw, 1) == [OK]
    await until(lambda: server.uploads()[-1] == ("a.csv", "incomplete", 4))
    assert server.spooled()[0].read_bytes() == b"shor"
    assert server.inbox("a.csv").read_bytes() == b"a longer first version"


async def test_a_resume_without_append_goes_on_at_its_offset(server: Running) -> None:
    """As lftp -c does it."""
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        raw.write(handle, 0, b"hello")
        assert await replies(raw, 1) == [OK]
    await until(lambda: server.uploads() == [("a.csv", "incomplete", 4)])
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv", WRITE_FLAG | CREATE_FLAG)
        raw.write(handle, 4, b"o world")
        raw.close(handle)
        assert await replies(raw, 2) == [OK, OK]
    assert server.inbox("a.csv").read_bytes() == b"hello world"
    assert server.uploads() == [("a.csv", "closed", 11)]


async def test_append_writes_at_the_end_whatever_the_offset(server: Running) -> None:
    async with server.client() as client, client.open("inbox/events/a.csv", "wb") as file:
        await file.write(b"hello")
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv", WRITE_FLAG | APPEND_FLAG)
        raw.write(handle, 0, b" world")
        raw.close(handle)
        assert await replies(raw, 2) == [OK, OK]
    assert server.inbox("a.csv").read_bytes() == b"hello world"


async def half_sent(server: Running) -> None:
    """An upload that breaks off with `hell` in the spool, though a client may have seen more or less of it."""
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        raw.write(handle, 0, b"hello")
        assert (await raw.status())[1] == OK
    await until(lambda: server.uploads() == [("a.csv", "incomplete", 4)])


async def test_a_resume_behind_what_is_there_is_refused_and_can_be_made_again(server: Running) -> None:
    await half_sent(server)
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv", WRITE_FLAG | APPEND_FLAG)
        raw.write(handle, 5, b" world")
        _, code, message = await raw.status()
        assert code != OK
        assert "4 bytes are here, and the upload goes on at 5" in message
        raw.close(handle)
        assert (await raw.status())[1] == FAILURE
    assert server.drops() == []
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv", WRITE_FLAG | APPEND_FLAG)
        raw.write(handle, 3, b"lo")
        raw.write(handle, 5, b" world")
        raw.close(handle)
        assert await replies(raw, 3) == [OK, OK, OK]
    assert server.inbox("a.csv").read_bytes() == b"hello world"


async def test_a_handle_that_changed_nothing_lands_nothing(server: Running) -> None:
    async with server.client() as client, client.open("inbox/events/a.csv", "wb") as file:
        await file.write(b"hello")
    async with server.raw() as raw:
        raw.close(await raw.open("/inbox/events/a.csv", WRITE_FLAG))
        assert await replies(raw, 1) == [OK]
    assert [state for _, state, _ in server.uploads()] == ["closed", "aborted"]
    assert server.spooled() == []


async def test_a_close_that_is_malformed_closes_nothing(server: Running) -> None:
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        raw.write(handle, 0, b"hello")
        raw.send(4, string(handle) + b"x")
        assert await replies(raw, 2) == [OK, BAD_MESSAGE]
    await until(lambda: server.uploads() == [("a.csv", "incomplete", 4)])
    assert server.drops() == []


@pytest.mark.parametrize("body", [b"", b"\0\0\0\4abcd", struct.pack(">I", 2**32 - 1) + b"a" * 30])
async def test_a_malformed_write_is_refused_and_the_session_goes_on(server: Running, body: bytes) -> None:
    async with server.raw() as raw:
        request = raw.send(6, body)
        assert (await raw.status())[:2] == (request, BAD_MESSAGE)
        raw.send(REALPATH, string(b"."))
        assert (await raw.receive())[0] == 104


async def test_a_broken_frame_ends_its_own_session_only(server: Running) -> None:
    async with server.connected() as connection:
        first = await connection.create_process(subsystem="sftp", encoding=None)
        second = await connection.start_sftp_client()
        first.stdin.write(struct.pack(">IBI", 5, 1, 3) + struct.pack(">I", 2**31))
        await first.wait_closed()
        assert await second.listdir(".") == ["inbox", "outbox", "samples"]


async def test_a_session_that_ends_before_it_began_leaves_the_others_alone(server: Running) -> None:
    async with server.connected() as connection:
        first = await connection.create_process(subsystem="sftp", encoding=None)
        second = await connection.start_sftp_client()
        first.stdin.write_eof()
        await first.wait_closed()
        assert await second.listdir(".") == ["inbox", "outbox", "samples"]


async def test_a_packet_that_comes_byte_by_byte_is_one_packet(server: Running) -> None:
    async with server.raw() as raw:
        handle = await raw.open("/inbox/events/a.csv")
        packet = struct.pack(">BI", 6, 9) + string(handle) + struct.pack(">Q", 0) + string(b"x" * 600)
        for byte in struct.pack(">I", len(packet)) + packet:
            raw.process.stdin.write(bytes([byte]))
        raw.close(handle)
        assert await replies(raw, 2) == [OK, OK]
    assert server.inbox("a.csv").read_bytes() == b"x" * 600


async def test_no_more_handles_than_configured_can_be_open(server: Running) -> None:
    async with server.raw() as raw:
        for number in range(256):
            await raw.open(f"/inbox/events/{number}.csv")
        raw.send(OPEN, string(b"/inbox/events/one-more.csv") + struct.pack(">II", WRITE_FLAG | CREATE_FLAG, 0))
        _, code, message = await raw.status()
        assert code == FAILURE
        assert "256 files and folders are open" in message


async def test_an_extension_that_was_not_announced_is_not_supported(server: Running) -> None:
    async with server.raw() as raw:
        raw.send(EXTENDED, string(b"copy-data") + b"\0" * 40)
        assert await replies(raw, 1) == [UNSUPPORTED]


async def test_reading_is_answered_until_the_end_of_the_file(server: Running) -> None:
    path = server.tree("outbox", "events", "a.report.json")
    path.write_bytes(b"0123456789")
    async with server.raw() as raw:
        handle = await raw.open("/outbox/events/a.report.json", READ_FLAG)
        raw.send(READ, string(handle) + struct.pack(">QI", 4, 100))
        assert (await raw.receive())[5:] == string(b"456789")
        raw.send(READ, string(handle) + struct.pack(">QI", 10, 100))
        assert await replies(raw, 1) == [EOF]
        raw.write(handle, 0, b"no")
        assert await replies(raw, 1) == [FAILURE]


async def test_a_client_that_does_not_read_its_replies_does_not_fill_the_memory(server: Running) -> None:
    path = server.tree("outbox", "events", "big")
    path.write_bytes(b"x" * 1_000_000)
    async with server.connected() as connection:
        process = await connection.create_process(subsystem="sftp", encoding=None)
        raw = Raw(process)
        process.stdin.write(struct.pack(">IBI", 5, 1, 3))
        await raw.receive()
        handle = await raw.open("/outbox/events/big", READ_FLAG)
        for _ in range(100):
            raw.send(READ, string(handle) + struct.pack(">QI", 0, 1_000_000))
        for _ in range(100):
            assert len(await raw.receive()) == 1_000_009


async def test_a_client_that_leaves_in_the_middle_is_written_to_no_more(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    async with server.raw() as raw:
        handle = await raw.open("inbox/events/a.csv")
        for number in range(20_000):
            raw.write(handle, number * 10, b"x" * 10)
        raw.process.channel.get_connection().abort()
    await until(lambda: server.uploads()[0][1] != "open")
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize("offset", [2**63 - 1, 2**63, 2**64 - 1])
async def test_a_read_behind_every_end_is_the_end_of_the_file(server: Running, offset: int) -> None:
    server.tree("outbox", "events", "a.report.json").write_bytes(b"0123456789")
    async with server.raw() as raw:
        handle = await raw.open("/outbox/events/a.report.json", READ_FLAG)
        raw.send(READ, string(handle) + struct.pack(">QI", offset, 2**32 - 1))
        assert await replies(raw, 1) == [EOF]


async def test_answers_that_nobody_takes_are_not_kept(server: Running) -> None:
    """A client that asks for gigabytes, says that it is done, and takes nothing of it."""
    content = server.tree("outbox", "events", "big.csv")
    content.write_bytes(b"x" * 4 * 1024 * 1024)
    async with server.raw() as raw:
        handle = await raw.open("/outbox/events/big.csv", READ_FLAG)
        channel = raw.process.channel
        channel.pause_reading()
        for _ in range(200):
            raw.send(READ, string(handle) + struct.pack(">QI", 0, 4 * 1024 * 1024))
        raw.process.stdin.write_eof()
        (session,) = server.listener._sessions
        await until(lambda: session._ended and not session._writable)
        kept = session._channel.get_write_buffer_size()
        assert kept < 20 * 1024 * 1024
        raw.process.channel.abort()


async def test_a_session_with_much_to_do_lets_the_others_go_between(server: Running) -> None:
    """Writes of nothing cost nothing to send, and each costs the gateway a call of the system."""
    async with server.raw() as busy, server.client() as other:
        handle = await busy.open("/inbox/events/a.csv")
        count = 20_000
        for _ in range(count):
            busy.write(handle, 0, b"")
        longest = 0.0
        loop = asyncio.get_running_loop()
        for _ in range(5):
            began = loop.time()
            assert await other.listdir("/") == ["inbox", "outbox", "samples"]
            longest = max(longest, loop.time() - began)
        busy.close(handle)
        assert await replies(busy, count + 1) == [OK] * (count + 1)


async def test_bytes_that_come_one_by_one_wait_in_few_pieces() -> None:
    waiting = Backlog()
    for number in range(200_000):
        waiting.append((bytes([number % 256]), None))
    waiting.append((b"error", 1))
    assert len(waiting) <= 5
    pieces = []
    while waiting:
        pieces.append(waiting.pop(0))
    assert b"".join(data for data, datatype in pieces if datatype is None) == bytes(range(256)) * 781 + bytes(range(64))
    assert pieces[-1] == (b"error", 1)


async def test_a_session_keeps_what_waits_in_such_a_backlog(server: Running) -> None:
    async with server.raw():
        (session,) = server.listener._sessions
        waiting: object = session._channel._recv_buf
        assert isinstance(waiting, Backlog)
