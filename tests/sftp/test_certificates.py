"""OpenSSH user certificates: whose CA may issue for whom, and what a certificate must say."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from gateway.ledger import audit
from gateway.sftp import certificates
from tests.sftp.conftest import Ended, Running, until
from tests.sftp.logins import Authority, add, head, logs_in, pair, reasons, user


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def trusting(server: Running, root: Path, ca: Authority) -> Running:
    """The tenant trusts the CA, and has a user `ann` without a key of her own."""
    head(root, f'user_ca = ["{ca.line}"]')
    add(root, user("ann"))
    return server


async def why(server: Running, private: Path, name: str = "ann", **options: str) -> str:
    """Why a certificate is refused, as the newest row of the audit says it."""
    count = len(await reasons(server, name, 0)) + 1
    assert not await logs_in(server, name, pair(private), **options)
    return (await reasons(server, name, count))[-1]


async def with_openssh(server: Running, private: Path) -> Ended:
    options = ("-q", "-o", f"UserKnownHostsFile={server.root / 'known_hosts'}", "-o", "IdentitiesOnly=yes")
    command = ("sftp", *options, "-i", str(private), "-P", str(server.port), "-b", "-", "ann@127.0.0.1")
    return await server.run(*command, given="ls\n")


async def test_a_certificate_of_the_tenants_ca_logs_in_with_openssh(
    trusting: Running, root: Path, ca: Authority
) -> None:
    private = ca.issue(root / "client", "-V", "-1m:+1h", "-O", "source-address=127.0.0.0/8", principals="bob,ann")
    ended = await with_openssh(trusting, private)
    assert ended.code == 0, ended.err
    (row,) = await until(lambda: audit.select(trusting.ledger, action="login"))
    key = asyncssh.read_public_key(root / "client.pub")
    assert (row.result, row.fingerprint) == ("ok", key.get_fingerprint())
    assert str(row.detail).startswith("certificate 'a certificate' of CA SHA256:")


async def test_a_certificate_that_is_not_for_this_user_here_and_now_is_refused_and_the_audit_says_why(
    trusting: Running, root: Path, ca: Authority, tmp_path: Path
) -> None:
    key = root / "client"
    wrong = {
        "it names no principals, and would be good for everybody": ca.issue(key, principals=None),
        "the username is none of its principals": ca.issue(key, principals="annabel,ANN,*"),
        "it has expired": ca.issue(key, "-V", "-2h:-1h"),
        "it is not valid yet": ca.issue(key, "-V", "+1h:+2h"),
        "it is the certificate of a host": ca.issue(key, "-h"),
        "its source-address does not name this address": ca.issue(key, "-O", "source-address=203.0.113.0/24"),
        "it forces a command": ca.issue(key, "-O", "force-command=internal-sftp"),
        "its CA may not issue for this user's tenant": Authority(tmp_path, "other").issue(key),
    }
    for reason, private in wrong.items():
        said = await why(trusting, private)
        assert said.startswith(reason), said
        assert "certificate 'a certificate' of CA SHA256:" in said
    assert (await with_openssh(trusting, ca.issue(key, "-O", "verify-required"))).code != 0
    heard = await reasons(trusting, "ann", len(wrong) + 1)
    assert any(one.startswith("its critical option 'verify-required' is not known here: ") for one in heard)


async def test_a_ca_of_a_tenant_issues_for_no_user_of_another_and_the_gateways_own_for_all(
    root: Path, tmp_path: Path
) -> None:
    own, everybodys = Authority(tmp_path, "own"), Authority(tmp_path, "everybodys")
    with (root / "gateway.toml").open("a") as file:
        file.write(f'[login]\nuser_ca = ["{everybodys.line}"]\n')
    (root / "tenants" / "beta.toml").write_text(f'user_ca = ["{own.line}"]\n' + user("bert"))
    add(root, user("ann"))
    server = Running(root)
    await server.start()
    names = "ann,bert"
    certificate = own.issue(root / "client", principals=names)
    assert await logs_in(server, "bert", pair(certificate)) is True
    assert (await why(server, certificate)).startswith("its CA may not issue for this user's tenant: ")
    for name in ("ann", "bert"):
        assert await logs_in(server, name, pair(everybodys.issue(root / "client", principals=names)))
    await server.listener.stop(0)
    server.ledger.close()


async def test_a_ca_signs_with_sha_2_and_the_key_in_a_certificate_is_as_long_as_any(
    server: Running, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = Authority(tmp_path, kind="rsa")
    head(root, f'user_ca = ["{ca.line}"]')
    add(root, user("ann"))
    assert await logs_in(server, "ann", pair(ca.issue(root / "client", sign_with="rsa-sha2-512")))
    with_sha_1 = ca.issue(root / "client", sign_with="ssh-rsa")
    assert (await why(server, with_sha_1)).startswith("its CA has signed it with ssh-rsa; sign it with rsa-sha2-512: ")
    # It is this check that refuses it: asyncssh itself takes the certificate.
    monkeypatch.setattr(certificates, "SIGNATURES", certificates.SIGNATURES | {"ssh-rsa"})
    assert await logs_in(server, "ann", pair(with_sha_1))
    short = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    short.write_private_key(tmp_path / "short")
    short.write_public_key(tmp_path / "short.pub")
    assert (await why(server, ca.issue(tmp_path / "short"))).startswith("this RSA key has 2048 bits, and 3072 is")


async def test_the_conditions_in_front_of_a_cas_key_hold_for_what_it_issues(
    server: Running, root: Path, ca: Authority
) -> None:
    head(root, f"user_ca = ['expiry-time=\"20200101\" {ca.line}']")
    add(root, user("ann"))
    assert (await why(server, ca.issue(root / "client"))).startswith("its CA's key has expired: ")


async def test_the_key_of_a_ca_is_no_key_of_a_user_nor_the_other_way_round(
    trusting: Running, root: Path, ca: Authority, tmp_path: Path
) -> None:
    assert not await logs_in(trusting, "ann", asyncssh.read_private_key(ca.path))
    assert (await reasons(trusting, "ann"))[0].startswith("unknown key: SHA256:")
    own = Authority(tmp_path, "own")
    add(root, user("carl", own.line))
    assert (await why(trusting, own.issue(root / "client", principals="carl"), "carl")).startswith("its CA may not ")
    assert await logs_in(trusting, "carl", asyncssh.read_private_key(own.path))
