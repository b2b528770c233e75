"""Who fails to log in again and again is refused, and nobody else. Sources are addresses of the loopback network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from gateway import clock
from gateway.cli.bans import subjects
from gateway.ledger import audit, bans
from gateway.sftp.defender import subject_of
from tests.sftp.conftest import PASSWORD, Running, until

ATTACKER, PARTNER = "127.0.0.5", "127.0.0.6"
SETTINGS = "[defender]\nallow = []\nthreshold = 10\nconnections_at_once = 100\nknown_factor = 3\n"


@pytest.fixture
async def guarded(root: Path) -> AsyncIterator[Running]:
    with (root / "gateway.toml").open("a") as file:
        file.write(SETTINGS)
    running = Running(root)
    await running.start()
    yield running
    await running.listener.stop(0)
    running.ledger.close()


async def guess(server: Running, user: str, source: str = ATTACKER, times: int = 5) -> None:
    """Wrong passwords, each in a connection of its own."""
    for _ in range(times):
        with pytest.raises((asyncssh.Error, OSError)):
            async with server.connected(user, client_keys=[], password="wrong", local_addr=(source, 0)):
                pass


def lines(server: Running, source: str) -> bytes:
    """What the server says by itself, up to its end; the first line is enough where it goes on."""
    with socket.create_connection(("127.0.0.1", server.port), 20, (source, 0)) as client:
        said = b""
        while not said.startswith(b"SSH-") and (more := client.recv(1000)):
            said += more
        return said


async def test_an_address_over_the_threshold_is_told_until_when_before_any_version(guarded: Running) -> None:
    await guess(guarded, "acme-word")
    said = await asyncio.to_thread(lines, guarded, ATTACKER)
    assert said.startswith(b"Too many failed logins from your address; try again after 20")
    assert b"SSH-" not in said


async def test_openssh_with_a_good_key_is_refused_from_a_banned_address_and_served_from_another(
    guarded: Running,
) -> None:
    await guess(guarded, "nobody", times=2)
    command = guarded.sftp_command("-v", "-o", f"BindAddress={ATTACKER}")
    refused = await guarded.run(*[part for part in command if part != "-q"], given="ls\n")
    assert refused.code != 0
    assert "Too many failed logins from your address" in refused.err
    served = await guarded.run(*guarded.sftp_command("-o", f"BindAddress={PARTNER}"), given="ls\n")
    assert served.code == 0, served


async def test_a_user_who_is_guessed_can_use_the_key_and_not_the_password(guarded: Running, root: Path) -> None:
    path = root / "tenants" / "acme.toml"
    key = (root / "client.pub").read_text().strip()
    path.write_text(path.read_text().replace("\npassword =", f'\nkeys = ["{key}"]\npassword ='))
    for number in range(10, 15):
        await guess(guarded, "acme-word", f"127.0.0.{number}", times=1)
    with pytest.raises(asyncssh.PermissionDenied):
        async with guarded.connected("acme-word", client_keys=[], password=PASSWORD, local_addr=(PARTNER, 0)):
            pass
    async with guarded.client("acme-word") as client:
        assert "inbox" in await client.listdir("/")


async def test_paramiko_behind_an_attackers_address_goes_on_for_longer_once_its_key_has_logged_in(
    guarded: Running,
) -> None:
    await asyncio.to_thread(log_in_with_paramiko, guarded, ATTACKER)
    await guess(guarded, "nobody", times=3)
    await asyncio.to_thread(log_in_with_paramiko, guarded, ATTACKER)
    await guess(guarded, "nobody", times=4)
    with pytest.raises((paramiko.SSHException, EOFError, OSError)):
        await asyncio.to_thread(log_in_with_paramiko, guarded, ATTACKER)


def log_in_with_paramiko(server: Running, source: str) -> None:
    sock = socket.create_connection(("127.0.0.1", server.port), 20, (source, 0))
    transport = paramiko.Transport(sock)
    try:
        transport.connect(
            username="acme-up", pkey=paramiko.Ed25519Key.from_private_key_file(str(server.root / "client"))
        )
    finally:
        transport.close()


async def test_allowed_addresses_are_never_banned(root: Path) -> None:
    with (root / "gateway.toml").open("a") as file:
        file.write(SETTINGS.replace("[]", '["127.0.0.0/29"]'))
    server = Running(root)
    await server.start()
    await guess(server, "nobody", ATTACKER, times=6)
    assert (await asyncio.to_thread(lines, server, ATTACKER)).startswith(b"SSH-2.0-")
    await server.listener.stop(0)
    server.ledger.close()


async def test_bans_outlive_a_restart_and_an_operator_ends_them_while_the_gateway_runs(
    guarded: Running, root: Path
) -> None:
    await guess(guarded, "nobody", times=2)
    await guarded.listener.stop(0)
    again = Running(root)
    await again.start()
    assert b"Too many" in await asyncio.to_thread(lines, again, ATTACKER)
    assert [one.subject for one in bans.in_force(again.ledger, clock.now())] == [ATTACKER]
    assert [one.subject for one in bans.unban(guarded.ledger, subjects(ATTACKER), "root")] == [ATTACKER]
    await until(lambda: again.listener._defender.refusal(ATTACKER) is None)
    assert (await asyncio.to_thread(lines, again, ATTACKER)).startswith(b"SSH-2.0-")
    assert {event.action for event in audit.select(again.ledger)} >= {"ban", "unban", "login"}
    await again.listener.stop(0)
    again.ledger.close()


async def test_bytes_that_are_not_ssh_and_key_exchanges_that_end_early_score(guarded: Running) -> None:
    def scores() -> dict[str, float]:
        return {row["subject"]: row["score"] for row in guarded.ledger.rows("SELECT * FROM bans")}

    for source, sent in ((ATTACKER, b"GET / HTTP/1.1\r\n\r\n"), (PARTNER, b"SSH-2.0-x\r\n")):
        with socket.create_connection(("127.0.0.1", guarded.port), 20, (source, 0)) as client:
            client.sendall(sent)
            await asyncio.to_thread(client.recv, 100)
    await until(lambda: len(scores()) == 2)
    assert scores()[ATTACKER] > 4
    assert 0.5 < scores()[PARTNER] <= 1


async def test_a_check_that_the_port_is_open_does_not_score(guarded: Running) -> None:
    for _ in range(30):
        await asyncio.to_thread(lines, guarded, PARTNER)
    assert (await asyncio.to_thread(lines, guarded, PARTNER)).startswith(b"SSH-2.0-")


async def test_each_ban_is_twice_as_long_as_the_one_before(guarded: Running) -> None:
    defender = guarded.listener._defender
    lengths = []
    for _ in range(2):
        defender.blame("203.0.113.9", 10)
        standing = defender._standings["address", "203.0.113.9"]
        assert standing.banned_until is not None
        lengths.append(round((standing.banned_until - standing.scored_at).total_seconds()))
        defender._standings[standing.name] = replaced(standing, banned_until=standing.scored_at)
    assert lengths == [600, 1200]


def replaced(standing: bans.Standing, **values: Any) -> bans.Standing:
    from dataclasses import replace

    return replace(standing, **values)


async def test_a_flood_from_ever_new_addresses_leaves_a_bounded_number_of_rows(
    guarded: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.sftp.defender.STANDINGS_MAX", 100)
    for number in range(1000):
        guarded.listener._defender.blame(f"2001:db8:0:{number:x}::1", 2)
    await asyncio.to_thread(guarded.listener._defender._save)
    assert 0 < len(bans.names(guarded.ledger)) <= 100


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_address_stands_for_its_64_bits_and_an_ipv4_in_ipv6_for_itself(address: str, subject: str) -> None:
    assert subject_of(address) == subject
