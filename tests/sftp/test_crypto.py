"""What is offered to clients, as ssh-audit and clients see it; host keys that change while clients look on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.conftest import command, made_once
from tests.sftp.conftest import Running
from tests.sftp.test_clients import PARTNERS

# Each with the clients for which it is there; nothing else may be warned of.
MAY_WARN = {
    "curve25519-sha256",  # OpenSSH before 9.9, PuTTY, libssh2, Go, ssh2 of npm: no post-quantum exchange.
    "curve25519-sha256@libssh.org",  # The same under its older name.
    "hmac-sha2-256",  # libssh2 1.10 (curl): neither GCM nor encrypt-then-MAC.
    "hmac-sha2-512",
}
SSH_AUDIT = Path(sys.executable).with_name("ssh-audit")


@pytest.fixture
def root(root: Path) -> Path:
    """With host keys of both kinds, as `gateway init` makes them."""
    for name, content in made_once().items():
        new = root / name
        new.write_bytes(content)
        new.chmod(0o600)
    toml = (root / "gateway.toml").read_text()
    keys = '["ssh_host_ed25519_key", "ssh_host_rsa_key"]'
    (root / "gateway.toml").write_text(toml.replace('["host_key"]', keys))
    (root / "host_key.pub").write_bytes(made_once()["ssh_host_ed25519_key.pub"])
    return root


@pytest.fixture
def strict(root: Path) -> None:
    """Ask for before `server`."""
    toml = (root / "gateway.toml").read_text()
    (root / "gateway.toml").write_text(toml.replace("[sftp]\n", '[sftp]\ncrypto = "strict"\n'))


@pytest.fixture
def from_outside(root: Path) -> None:
    """This machine is treated as any other: by default it is never banned. Ask for it before `server`."""
    with (root / "gateway.toml").open("a") as toml:
        toml.write("[defender]\nallow = []\n")


async def audited(server: Running) -> dict[str, Any]:
    """What ssh-audit finds, with its test of how fast one can connect."""
    ended = await server.run(str(SSH_AUDIT), "--json", "-p", str(server.port), "127.0.0.1")
    found: dict[str, Any] = json.loads(ended.out)
    return found


def named(found: dict[str, Any], level: str) -> set[str]:
    """The algorithms of which ssh-audit says something of that level."""
    return {
        entry["algorithm"]
        for kind in ("kex", "key", "enc", "mac")
        for entry in found[kind]
        if entry.get("notes", {}).get(level)
    }


def names(found: dict[str, Any], kind: str) -> list[str]:
    return [entry["algorithm"] for entry in found[kind]]


@pytest.mark.usefixtures("from_outside")
async def test_ssh_audit_fails_nothing_and_warns_of_what_is_there_for_old_clients_only(server: Running) -> None:
    found = await audited(server)
    assert named(found, "fail") == set()
    assert named(found, "warn") == MAY_WARN
    # It opens 38 connections at once, which would be a note; the defender turns it away in the middle.
    assert (found["additional_notes"], found.get("cves", [])) == ([], [])
    # The best come first, strict key exchange is on, and SHA-1 is nowhere.
    assert names(found, "kex")[0] == "mlkem768x25519-sha256"
    assert "kex-strict-s-v00@openssh.com" in names(found, "kex")
    assert names(found, "enc")[:2] == ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"]
    assert not any("chacha20" in name or "cbc" in name for name in names(found, "enc"))
    assert set(names(found, "key")) == {"ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512"}
    assert {entry["keysize"] for entry in found["key"] if "rsa" in entry["algorithm"]} == {3072}


@pytest.mark.usefixtures("from_outside", "strict")
async def test_the_strict_setting_is_not_even_warned_of_and_an_old_client_is_told(server: Running) -> None:
    found = await audited(server)
    assert (named(found, "fail"), named(found, "warn"), found["additional_notes"]) == (set(), set(), [])
    assert "kex-strict-s-v00@openssh.com" in names(found, "kex")
    async with server.connected() as connection:
        assert connection.get_extra_info("send_cipher") in ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
    old = server.sftp_command("-o", "KexAlgorithms=curve25519-sha256")
    old.remove("-q")
    ended = await server.run(*old, given="ls\n")
    assert ended.code != 0
    assert "no matching key exchange method found. Their offer: mlkem768x25519-sha256" in ended.err


async def test_clients_that_want_other_signatures_of_the_rsa_key_do_not_disturb_each_other(server: Running) -> None:
    async def host_key(algorithm: str) -> str:
        (server.root / "known_hosts").write_text(
            f"[127.0.0.1]:{server.port} {public(server.root / 'ssh_host_rsa_key')}"
        )
        async with server.connected(server_host_key_algs=[algorithm]) as connection:
            key = connection.get_server_host_key()
            assert key is not None
            return key.get_algorithm()

    algorithms = ["rsa-sha2-256", "rsa-sha2-512"] * 3
    assert await asyncio.gather(*map(host_key, algorithms)) == ["ssh-rsa"] * 6
    with pytest.raises(asyncssh.KeyExchangeFailed):
        await host_key("ssh-rsa")


async def test_all_clients_come_in_by_whichever_host_key_they_prefer(server: Running, tmp_path: Path) -> None:
    """Each knows both keys, as a partner does who was sent both, or who took what ssh-keyscan shows."""
    lines = [f"[127.0.0.1]:{server.port} {public(server.root / f'ssh_host_{kind}_key')}" for kind in ("ed25519", "rsa")]
    (server.root / "known_hosts").write_text("".join(lines))
    source = tmp_path / "source.csv"
    source.write_bytes(b"a,b\n1,2\n")
    for kind in PARTNERS:
        partner = kind(server)
        await partner.start()
        try:
            await partner.do(partner.putting(source, f"/inbox/events/{kind.__name__}.csv"))
        finally:
            await partner.stop()
    assert {path for path, *_ in server.drops()} == {f"{kind.__name__}.csv" for kind in PARTNERS}


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
async def test_openssh_learns_the_next_key_while_it_trusts_the_old_one(root: Path, kind: str) -> None:
    known = root / "partner_hosts"

    async def serve_once(expected: list[str]) -> None:
        """A gateway of that moment, on the port of the first; the client knows it, and then just these keys."""
        running = Running(root)
        await running.start()
        fix_port(root, running.port)
        try:
            if not known.exists():
                known.write_text(f"[127.0.0.1]:{running.port} {public(root / f'ssh_host_{kind}_key')}")
            options = ["-o", f"UserKnownHostsFile={known}", "-o", "UpdateHostKeys=yes"]
            base = running.sftp_command()
            ended = await running.run(base[0], *options, *base[1:], given="ls\nls\n")
            assert ended.code == 0, ended.err
            assert sorted(fingerprints(known)) == sorted(fingerprint(root / name) for name in expected)
        finally:
            await running.listener.stop(0)
            running.ledger.close()

    both = ["ssh_host_ed25519_key", "ssh_host_rsa_key"]
    await serve_once(both)
    operate(root, "rotate", kind)
    [new] = [path.name for path in root.glob(f"ssh_host_{kind}_key_*") if path.suffix != ".pub"]
    await serve_once([*both, new])
    operate(root, "retire", f"ssh_host_{kind}_key")
    remaining = [name for name in both if kind not in name]
    await serve_once([*remaining, new])


def operate(root: Path, *arguments: str) -> None:
    """`gateway host-keys ...`, as an operator types it."""
    subprocess.run(command("host-keys", *arguments, "--config", root), check=True, capture_output=True, timeout=60)


def fix_port(root: Path, port: int) -> None:
    toml = (root / "gateway.toml").read_text()
    (root / "gateway.toml").write_text(toml.replace("port = 0\n", f"port = {port}\n"))


def public(path: Path) -> str:
    return path.with_name(f"{path.name}.pub").read_text()


def fingerprint(path: Path) -> str:
    return asyncssh.import_public_key(public(path)).get_fingerprint()


def fingerprints(known_hosts: Path) -> list[str]:
    lines = known_hosts.read_text().splitlines()
    return [asyncssh.import_public_key(line.partition(" ")[2]).get_fingerprint() for line in lines]
