"""What comes from the network is given on in whole packets; however it is cut, nothing is lost or moved."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sftp.inlet import LENGTH_BYTES, PACKET_BYTES_MAX, PIECE_BYTES, Frame, tag_bytes
from tests.sftp.conftest import Running

TAG = 16
SIZES = st.one_of(st.integers(0, 200), st.integers(30_000, 140_000))


def stream_of(sizes: list[int]) -> tuple[bytes, list[int]]:
    """Packets of those sizes, and where each ends."""
    packets = [size.to_bytes(LENGTH_BYTES, "big") + os.urandom(size + TAG) for size in sizes]
    return b"".join(packets), list(itertools.accumulate(map(len, packets)))


def taken_apart(frame: Frame, stream: bytes, reads: list[int]) -> list[bytes]:
    """The pieces of a stream that comes in reads of those sizes, again and again."""
    pieces, start, sizes = [], 0, itertools.cycle(reads)
    while start < len(stream):
        read = memoryview(stream[start : start + next(sizes)])
        pieces += [bytes(read[first:last]) for first, last in frame.pieces(read, len(read))]
        start += len(read)
    return pieces


@given(st.lists(SIZES, min_size=1, max_size=12), st.lists(st.integers(2_000, 300_000), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_all_bytes_are_given_on_in_order_and_small_packets_never_pile_up(sizes: list[int], reads: list[int]) -> None:
    stream, _ = stream_of(sizes)
    for frame in (Frame(TAG), Frame(None), Frame(TAG + 7)):
        pieces = taken_apart(frame, stream, reads)
        assert b"".join(pieces) == stream
        assert all(pieces)
        assert max(map(len, pieces)) <= PIECE_BYTES + PACKET_BYTES_MAX


@given(st.lists(SIZES, min_size=1, max_size=12))
@settings(deadline=None, max_examples=50)
def test_of_one_read_every_piece_ends_with_a_packet(sizes: list[int]) -> None:
    stream, ends = stream_of(sizes)
    pieces = taken_apart(Frame(TAG), stream, [len(stream)])
    assert set(itertools.accumulate(map(len, pieces))) <= set(ends)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=6), st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_a_length_that_comes_byte_by_byte_is_understood(sizes: list[int], at_once: int) -> None:
    stream, _ = stream_of(sizes)
    frame = Frame(TAG)
    # The first packets a few bytes at a time; what follows them in one read is cut where packets end.
    taken_apart(frame, stream, [at_once])
    more, more_ends = stream_of([100_000, 100_000])
    pieces = taken_apart(frame, more, [len(more)])
    assert list(itertools.accumulate(map(len, pieces))) == more_ends


@pytest.mark.parametrize(
    ("cipher", "mac", "found"),
    [
        ("aes128-gcm@openssh.com", "", 16),
        ("aes128-ctr", "hmac-sha2-512-etm@openssh.com", 64),
        ("aes128-ctr", "hmac-sha2-256", None),
    ],
)
def test_lengths_are_read_where_the_algorithms_leave_them_in_the_clear(
    cipher: str, mac: str, found: int | None
) -> None:
    assert tag_bytes({"recv_cipher": cipher, "recv_mac": mac}.__getitem__) == found


@pytest.mark.parametrize(
    ("cipher", "mac"),
    [
        ("aes256-gcm@openssh.com", "hmac-sha2-256"),
        ("aes128-ctr", "hmac-sha2-256"),
        ("aes256-ctr", "hmac-sha2-512-etm@openssh.com"),
    ],
)
async def test_a_large_file_is_the_same_there_and_back_with_every_kind_of_cipher(
    server: Running, cipher: str, mac: str
) -> None:
    content = os.urandom(3_000_017)
    async with (
        server.connected(encryption_algs=[cipher], mac_algs=[mac], rekey_bytes=1_000_000) as connection,
        connection.start_sftp_client() as client,
    ):
        async with client.open("/inbox/events/large.csv", "wb") as file:
            await file.write(content)
        assert server.inbox("large.csv").read_bytes() == content
        async with client.open("/inbox/events/large.csv", "rb") as file:
            found: Any = await file.read()
        assert found == content
