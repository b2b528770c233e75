"""A client that has AES-GCM gets it, whatever it prefers; all others get in as before."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

import asyncssh
import paramiko
import pytest

from gateway.sftp.vestibule import ciphers_in
from tests.sftp.conftest import Running

GCM, CTR = b"aes128-gcm@openssh.com", b"aes128-ctr"
LISTS = [b"curve25519-sha256", b"ssh-ed25519", CTR + b"," + GCM, CTR + b"," + GCM, b"hmac-sha2-256", b"hmac-sha2-256"]
LISTS += [b"none", b"none", b"", b""]


def kexinit(lists: list[bytes]) -> bytes:
    """The first packet of a client (RFC 4253, section 7.1)."""
    payload = b"\x14" + bytes(16) + b"".join(len(one).to_bytes(4, "big") + one for one in lists) + bytes(5)
    padding = 8 - (5 + len(payload)) % 8 + 8
    return (1 + len(payload) + padding).to_bytes(4, "big") + bytes([padding]) + payload + bytes(padding)


async def offered_to(server: Running, *pieces: bytes) -> list[bytes]:
    """The ciphers in the gateway's list, after a client has sent these pieces one by one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert await reader.readline() == b"SSH-2.0-gateway\r\n"
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    length = int.from_bytes(await reader.readexactly(4), "big")
    [ciphers, _] = ciphers_in(length.to_bytes(4, "big") + await reader.readexactly(length)) or [set(), set()]
    writer.close()
    return sorted(ciphers)


async def cipher_of(server: Running, *options: str) -> str:
    """What OpenSSH's sftp and the gateway agree on."""
    command = server.sftp_command("-v", *options)
    command.remove("-q")
    ended = await server.run(*command, given="ls\n")
    assert ended.code == 0, ended.err
    found = re.search(r"client->server cipher: (\S+)", ended.err)
    assert found is not None, ended.err
    return found[1]


async def test_openssh_gets_gcm_by_its_defaults_and_ctr_where_it_has_nothing_else(server: Running) -> None:
    assert await cipher_of(server) == GCM.decode()
    assert await cipher_of(server, "-o", "Ciphers=aes256-ctr,aes256-gcm@openssh.com") == "aes256-gcm@openssh.com"
    assert await cipher_of(server, "-o", "Ciphers=aes256-ctr") == "aes256-ctr"


async def test_paramiko_gets_gcm_too(server: Running) -> None:
    def cipher() -> Any:
        transport: Any = paramiko.Transport(("127.0.0.1", server.port))
        with contextlib.closing(transport):
            transport.start_client(timeout=20)
            return transport.remote_cipher

    assert await asyncio.to_thread(cipher) == GCM.decode()


async def test_another_client_is_given_what_it_prefers(server: Running) -> None:
    async with server.connected(encryption_algs=["aes256-ctr", "aes128-gcm@openssh.com"]) as connection:
        assert connection.get_extra_info("send_cipher") == "aes256-ctr"


@pytest.mark.parametrize("step", [1, 7, 2000])
async def test_a_list_that_comes_in_pieces_is_waited_for(server: Running, step: int) -> None:
    sent = b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n" + kexinit(LISTS)
    pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
    assert await offered_to(server, *pieces) == [GCM, b"aes256-gcm@openssh.com"]


async def test_a_client_that_waits_for_our_list_gets_it_whole(server: Running) -> None:
    assert CTR in await offered_to(server, b"SSH-2.0-OpenSSH_9.2p1\r\n")


@pytest.mark.parametrize(
    "rest", [b"\xff" * 64, kexinit([])[:30] + b"\xff" * 70_000, b"\x00\x00\x00\x0c\x0a\x02" + bytes(64)]
)
async def test_what_is_no_list_is_left_to_asyncssh_which_ends_it(server: Running, rest: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n" + rest)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            await reader.read(-1)
    writer.close()
    async with server.connected() as connection:
        assert isinstance(connection, asyncssh.SSHClientConnection)
