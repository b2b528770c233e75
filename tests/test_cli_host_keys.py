"""`gateway host-keys`: a new key beside the old one, and the old one taken out of use, in gateway.toml as it stands."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from gateway import config
from gateway.errors import ConfigError
from gateway.sftp import host_keys
from tests.conftest import Run, give_host_keys


@pytest.fixture
def root(gateway: Run, tmp_path: Path) -> Path:
    give_host_keys(tmp_path / "here")
    assert gateway("init", tmp_path / "here").returncode == 0
    return tmp_path / "here"


def names(root: Path) -> list[str]:
    return [path.name for path in config.load(root, {}).host_key_paths]


def test_a_new_key_is_announced_first_and_used_when_the_old_one_is_retired(gateway: Run, root: Path) -> None:
    before = (root / "gateway.toml").read_text()
    done = gateway("host-keys", "rotate", "ed25519", "--config", root)
    assert done.returncode == 0, done.stderr
    assert "gateway host-keys retire host_keys/ssh_host_ed25519_key" in done.stdout
    new = config.load(root, {}).host_key_paths[-1]
    assert host_keys.load(new).fingerprint in done.stdout
    assert new.with_name(f"{new.name}.pub").read_text().strip() in done.stdout
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    listed = json.loads(gateway("host-keys", "list", "--json", "--config", root).stdout)
    assert [(one["state"], one["kind"]) for one in listed] == [
        ("used", "ed25519"),
        ("used", "rsa"),
        ("announced", "ed25519"),
    ]
    # A second one would be announced beside the first, and the list would never get shorter.
    again = gateway("host-keys", "rotate", "ed25519", "--config", root)
    assert (again.returncode, "under way already" in again.stderr) == (3, True)
    retired = gateway("host-keys", "retire", "ssh_host_ed25519_key", "--config", root)
    assert retired.returncode == 0, retired.stderr
    assert names(root) == ["ssh_host_rsa_key", new.name]
    assert (root / "host_keys" / "ssh_host_ed25519_key").exists()
    after = (root / "gateway.toml").read_text()
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert [line.partition(" ")[0] for line in changed] == ["host_keys"]


def test_the_only_key_of_a_kind_and_one_that_there_is_not_are_not_retired(gateway: Run, root: Path) -> None:
    before = (root / "gateway.toml").read_text()
    only = gateway("host-keys", "retire", "ssh_host_rsa_key", "--config", root)
    assert (only.returncode, "first: gateway host-keys rotate rsa" in only.stderr) == (3, True)
    other = gateway("host-keys", "retire", "ssh_host_dsa_key", "--config", root)
    assert (other.returncode, "there is no host key 'ssh_host_dsa_key'" in other.stderr) == (3, True)
    both = os.pathsep.join(("host_keys/ssh_host_ed25519_key", "host_keys/ssh_host_rsa_key"))
    by_variable = gateway("host-keys", "rotate", "rsa", "--config", root, GATEWAY_SFTP_HOST_KEYS=both)
    assert (by_variable.returncode, "GATEWAY_SFTP_HOST_KEYS is set" in by_variable.stderr) == (3, True)
    assert (root / "gateway.toml").read_text() == before


def test_a_gateway_from_before_there_were_two_keys_goes_on_and_can_get_the_second(gateway: Run, root: Path) -> None:
    (root / "host_keys" / "ssh_host_rsa_key").unlink()
    (root / "gateway.toml").write_text("[sftp]\nport = 0 # any\n")
    assert names(root) == ["ssh_host_ed25519_key"]
    assert gateway("host-keys", "rotate", "rsa", "--config", root).returncode == 0
    kinds = [host_keys.load(path).kind for path in config.load(root, {}).host_key_paths]
    assert (kinds, "port = 0 # any" in (root / "gateway.toml").read_text()) == (["ed25519", "rsa"], True)


def test_a_key_that_is_listed_and_not_there_is_missed(root: Path) -> None:
    (root / "host_keys" / "ssh_host_rsa_key").unlink()
    assert names(root) == ["ssh_host_ed25519_key", "ssh_host_rsa_key"]
    with pytest.raises(ConfigError, match="ssh-keygen -t rsa -b 3072"):
        host_keys.load(root / "host_keys" / "ssh_host_rsa_key")
