"""Which keys log in, with which signatures, from where, and until when."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from gateway.errors import ConfigError
from gateway.sftp.certificates import SIGNATURES
from tests.sftp.conftest import Running
from tests.sftp.logins import UNTOUCHED, Token, add, head, logs_in, public, reasons, user

ANN = "ann"


@pytest.fixture(scope="module")
def rsa() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-rsa", key_size=3072)


async def test_keys_of_every_kind_that_is_taken_log_in(server: Running, root: Path, rsa: asyncssh.SSHKey) -> None:
    kinds = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
    keys = [rsa, *(asyncssh.generate_private_key(kind) for kind in kinds)]
    tokens = [Token(b"sk-ssh-ed25519@openssh.com"), Token(b"sk-ecdsa-sha2-nistp256@openssh.com")]
    add(root, user(ANN, *map(public, keys), *(token.line for token in tokens)))
    offered: list[asyncssh.SSHKey | asyncssh.SSHKeyPair] = [*keys, *tokens]
    for key in offered:
        assert await logs_in(server, ANN, key), key.algorithm
    for algorithm in ("rsa-sha2-256", "rsa-sha2-512"):
        assert await logs_in(server, ANN, rsa, signature_algs=[algorithm])


@pytest.mark.parametrize("kind", [b"sk-ssh-ed25519@openssh.com", b"sk-ecdsa-sha2-nistp256@openssh.com"])
async def test_a_fido_key_that_nobody_touched_logs_nobody_in(server: Running, root: Path, kind: bytes) -> None:
    token = Token(kind, UNTOUCHED)
    add(root, user(ANN, token.line))
    assert not await logs_in(server, ANN, token)
    assert (await reasons(server, ANN))[0].startswith("the signature is wrong: SHA256:")


async def test_a_signature_with_sha_1_logs_nobody_in(
    server: Running, root: Path, rsa: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(root, user(ANN, public(rsa)))
    assert not await logs_in(server, ANN, rsa, signature_algs=["ssh-rsa"])
    assert (await reasons(server, ANN))[0].startswith("signed with 'ssh-rsa', which is not taken: SHA256:")
    # It is this check that refuses it: asyncssh itself takes the signature.
    monkeypatch.setattr("gateway.sftp.proving.SIGNATURES", SIGNATURES | {"ssh-rsa"})
    assert await logs_in(server, ANN, rsa, signature_algs=["ssh-rsa"])


async def test_a_known_key_with_a_wrong_signature_counts_as_a_try(server: Running, root: Path) -> None:
    known, other = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))

    class Liar(asyncssh.SSHKeyPair):
        """Shows one key, and signs with another."""

        def sign(self, data: bytes) -> bytes:
            return other.sign(data, b"ssh-ed25519")

    add(root, user(ANN, public(known)))
    kind = b"ssh-ed25519"
    liars = [Liar(kind, kind, (kind,), (kind,), known.public_data, None) for _ in range(6)]
    with pytest.raises(asyncssh.DisconnectError, match="6 keys and passwords were wrong"):
        await logs_in(server, ANN, *liars)
    assert (await reasons(server, ANN))[0].startswith("the signature is wrong: SHA256:")


async def test_a_key_counts_until_its_time_and_from_its_addresses(server: Running, root: Path) -> None:
    past, future, near, far = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(4))
    add(
        root,
        user(
            ANN,
            f'expiry-time="20200101" {public(past)}',
            f'expiry-time="20990101",from="127.0.0.0/8,::1" {public(future)}',
            f'from="127.0.0.1" {public(near)} a comment',
            f'from="203.0.113.0/24" {public(far)}',
        ),
    )
    assert [await logs_in(server, ANN, key) for key in (past, future, near, far)] == [False, True, True, False]
    expired, elsewhere = await reasons(server, ANN, 2)
    assert expired == f"this key has expired: {past.get_fingerprint()}"
    assert elsewhere == f"this key does not count from this address: {far.get_fingerprint()}"


async def test_users_tenants_and_the_gateway_say_from_where_one_may_log_in(server: Running, root: Path) -> None:
    key = asyncssh.read_private_key(root / "client")
    add(root, user(ANN, public(key), allow_from='["127.0.0.5", "2001:db8::/32"]'))
    assert not await logs_in(server, ANN, key)
    assert await logs_in(server, ANN, key, local_addr=("127.0.0.5", 0))
    head(root, 'allow_from = ["203.0.113.7", "::ffff:127.0.0.1"]')
    assert not await logs_in(server, ANN, key, local_addr=("127.0.0.5", 0))
    assert await logs_in(server, "acme-up", key)
    said = await reasons(server, ANN, 2)
    assert said[0].startswith("the address is not in allow_from of the user: SHA256:")
    assert said[1].startswith("the address is not in allow_from of tenant acme: SHA256:")


async def test_the_gateways_own_list_is_for_everybody(root: Path) -> None:
    with (root / "gateway.toml").open("a") as file:
        file.write('[login]\nallow_from = ["127.0.0.6"]\n')
    server = Running(root)
    await server.start()
    key = asyncssh.read_private_key(root / "client")
    assert not await logs_in(server, "acme-up", key)
    assert await logs_in(server, "acme-up", key, local_addr=("127.0.0.6", 0))
    assert (await reasons(server, "acme-up"))[0].startswith("the address is not in allow_from of gateway.toml: ")
    await server.listener.stop(0)
    server.ledger.close()


async def test_disabled_and_expired_users_and_those_of_a_disabled_tenant_cannot_log_in(
    server: Running, root: Path
) -> None:
    key = asyncssh.read_private_key(root / "client")
    add(root, user("off", public(key), disabled="true"), user("old", public(key), expires="2020-01-01"))
    add(root, user("good", public(key), expires="2099-01-01"))
    assert [await logs_in(server, name, key) for name in ("off", "old", "good")] == [False, False, True]
    head(root, "disabled = true")
    assert not await logs_in(server, "good", key)
    said = [(await reasons(server, name))[0] for name in ("off", "old", "good")]
    assert [reason.partition(":")[0] for reason in said] == [
        "the user is disabled",
        "the user has expired",
        "the tenant is disabled",
    ]


async def test_an_asyncssh_that_logs_in_in_another_way_is_refused_at_the_start(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(self: asyncssh.SSHServerConnection, partial: bool, methods: bytes) -> None:
        """What a version to come may have."""

    monkeypatch.setattr(asyncssh.SSHServerConnection, "send_userauth_failure", another)
    with pytest.raises(ConfigError, match=r"SSHServerConnection\.send_userauth_failure takes self, partial, methods"):
        await Running(root).listener.start()
