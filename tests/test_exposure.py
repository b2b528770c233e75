"""Files that others could read or change keep a gateway from starting, or are warned of; it makes none itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway import config
from gateway.errors import ConfigError
from gateway.exposure import exposures, refuse_exposed
from gateway.ledger import Ledger
from tests.conftest import Run, give_host_keys

TENANT = '[users.ann]\nemail = "a@b.c"\nrole = "viewer"\npassword = "$argon2id$made-up"\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A configuration, made with the most open umask, as somebody may have left it who knew no better."""
    root = tmp_path / "here"
    give_host_keys(root)
    for folder in ("tenants", "data"):
        (root / folder).mkdir(mode=0o750)
    (root / "gateway.toml").write_text("")
    (root / "tenants" / "acme.toml").write_text(TENANT)
    (root / "tenants" / "acme.toml").chmod(0o600)
    Ledger(root / "data" / "ledger.db").close()
    return root


def found(root: Path) -> list[tuple[str, bool]]:
    return [(one.what, one.forbids_start) for one in exposures(config.load(root, {}))]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_init_makes_is_closed_to_others(root: Path) -> None:
    assert found(root) == []
    assert mode(root / "data" / "ledger.db") == 0o640


@pytest.mark.parametrize(
    ("path", "bits", "says"),
    [
        ("host_keys/ssh_host_rsa_key", 0o604, "others can read or change this private host key"),
        ("host_keys/ssh_host_ed25519_key", 0o640, "others can read or change this private host key"),
        ("host_keys", 0o777, "and so put their own host keys there"),
        ("gateway.toml", 0o666, "and so decide who may log in"),
        ("tenants", 0o777, "and so decide who may log in"),
        ("tenants/acme.toml", 0o602, "and so decide who may log in"),
        ("data", 0o772, "and so change the files of partners"),
        ("data/ledger.db", 0o646, "and so change what has happened"),
    ],
)
def test_what_others_could_change_is_not_started_with(root: Path, path: str, bits: int, says: str) -> None:
    (root / path).chmod(bits)
    with pytest.raises(ConfigError) as refused:
        refuse_exposed(config.load(root, {}))
    assert str(root / path) in str(refused.value)
    assert f"the mode {bits:04o}" in str(refused.value)
    assert says in str(refused.value)
    assert "chmod" in str(refused.value)


@pytest.mark.parametrize(
    ("path", "bits", "says"),
    [
        ("tenants/acme.toml", 0o644, "others can read the hashes of passwords in it"),
        ("data", 0o755, "others can read the ledger and the files of partners"),
    ],
)
def test_what_others_could_only_read_is_warned_of(root: Path, path: str, bits: int, says: str) -> None:
    (root / path).chmod(bits)
    ((what, forbids),) = found(root)
    assert (forbids, says in what, str(root / path) in what) == (False, True, True)


def test_a_key_that_somebody_else_gives_by_the_group_is_taken(root: Path) -> None:
    """As a mounted secret is: not ours, and ours to read by the group."""
    key = root / "host_keys" / "ssh_host_rsa_key"
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    key.chmod(0o440)
    os.chown(key, 12345, -1)
    assert found(root) == []


def test_the_served_gateway_says_why_it_does_not_start(gateway: Run, root: Path) -> None:
    key = root / "host_keys" / "ssh_host_ed25519_key"
    key.chmod(0o644)
    done = gateway("serve", "--port", "0", "--config", root)
    assert done.returncode == 3
    assert f"Error: {key} has the mode 0644" in done.stderr
    assert f"chmod 600 {key}" in done.stderr
