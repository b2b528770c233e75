"""The security section of `gateway doctor`: versions, algorithms, host keys, modes, logins, the clock."""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from pathlib import Path

import asyncssh
import pytest

from gateway.cli.doctor import advisories, findings, security
from gateway.cli.doctor.findings import Site
from tests.conftest import give_host_keys
from tests.test_config_logins import HASH, KEY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "here"
    give_host_keys(root)
    (root / "tenants").mkdir()
    (root / "gateway.toml").write_text("")
    return root


def found_by(root: Path, check: str) -> list[tuple[str, str, str]]:
    site = Site(root)
    try:
        found = [one for one in findings(site) if (one.section, one.check) == ("security", check)]
    finally:
        site.close()
    # Whatever is not well is said with what to do about it.
    assert all(one.hint for one in found if one.level != "ok")
    return [(one.level, one.what, one.hint) for one in found]


def test_versions_with_advisories_are_found_and_others_are_not() -> None:
    versions = {
        "asyncssh": "2.14.1",
        "paramiko": "3.4.0",
        "cryptography": "42.0.3",
        "OpenSSL of cryptography": "OpenSSL 3.0.6 11 Oct 2022",
        "OpenSSL of Python": "OpenSSL 3.0.19 27 Jan 2026",
    }
    found = [(named, advisory.ids) for named, advisory in advisories.concerning(versions, advisories.ADVISORIES)]
    assert found == [
        ("asyncssh 2.14.1", "CVE-2023-48795"),
        ("cryptography 42.0.3", "CVE-2024-26130"),
        ("cryptography 42.0.3", "CVE-2024-12797"),
        ("cryptography 42.0.3", "CVE-2026-26007"),
        ("OpenSSL of cryptography 3.0.6", "CVE-2022-3602, CVE-2022-3786"),
        ("OpenSSL of cryptography 3.0.6", "CVE-2023-0286"),
    ]


def test_what_is_installed_has_no_known_advisory_and_the_day_of_the_table_is_told(root: Path) -> None:
    ((level, what, _),) = found_by(root, "versions")
    assert level == "note"
    assert f"asyncssh {asyncssh.__version__}" in what
    assert str(advisories.TABLE_OF) in what


def test_an_advisory_is_a_failure_with_the_version_to_install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = advisories.Advisory("asyncssh", "CVE-0000-1", (99, 1), "all is lost")
    monkeypatch.setattr(advisories, "ADVISORIES", (one,))
    assert found_by(root, "versions") == [
        ("fail", f"asyncssh {asyncssh.__version__} has CVE-0000-1: all is lost", "Install asyncssh 99.1 or newer.")
    ]


def test_a_python_without_security_releases_is_warned_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_by(root, "python support") == []
    monkeypatch.setattr(advisories, "LAST_DAYS", dict.fromkeys(advisories.LAST_DAYS, date(2020, 1, 1)))
    assert [found[0] for found in found_by(root, "python support")] == ["warning"]


def test_the_crypto_setting_is_told(root: Path) -> None:
    assert found_by(root, "algorithms")[0][0] == "note"
    (root / "gateway.toml").write_text('[sftp]\ncrypto = "strict"\n')
    assert found_by(root, "algorithms")[0][0] == "ok"


def test_host_keys_that_are_weak_old_missing_or_about_to_change_are_told(root: Path) -> None:
    assert [found[0] for found in found_by(root, "host keys offered")] == ["ok", "ok"]
    folder = root / "host_keys"
    long_ago = time.time() - timedelta(days=1200).total_seconds()
    os.utime(folder / "ssh_host_ed25519_key", (long_ago, long_ago))
    small = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    small.write_private_key(folder / "ssh_host_rsa_key")
    old, weak = found_by(root, "host keys offered")
    assert (old[0], "1,200 days old" in old[1], old[2]) == (
        "note", True, "Think of a new one: gateway host-keys rotate ed25519."
    )  # fmt: skip
    assert (weak[0], "2048 bits, 0 days old; 3072" in weak[1]) == ("warning", True)
    asyncssh.generate_private_key("ecdsa-sha2-nistp256").write_private_key(folder / "other")
    (root / "gateway.toml").write_text('[sftp]\nhost_keys = ["host_keys/ssh_host_ed25519_key", "host_keys/other"]\n')
    _, other, missing = found_by(root, "host keys offered")
    assert (other[0], missing[0], "there is no rsa key" in missing[1]) == ("warning", "note", True)


def test_modes_are_failures_where_a_start_is_refused_and_else_warnings(root: Path) -> None:
    assert found_by(root, "modes")[0][0] == "ok"
    (root / "host_keys" / "ssh_host_rsa_key").chmod(0o644)
    (root / "data").mkdir()
    (root / "data").chmod(0o755)
    assert [found[0] for found in found_by(root, "modes")] == ["fail", "warning"]


def test_users_with_a_password_alone_are_named(root: Path) -> None:
    (root / "gateway.toml").write_text("[sftp]\npasswords = true\n")
    assert found_by(root, "passwords")[0][0] == "note"
    user(root, "ann", f'password = "{HASH}"')
    ((level, what, _),) = found_by(root, "passwords")
    assert (level, "acme/ann" in what) == ("note", True)
    (root / "gateway.toml").write_text("")
    assert found_by(root, "passwords")[0][0] == "ok"


@pytest.mark.parametrize(
    ("settings", "level", "says"),
    [
        (f'keys = ["{KEY}"]', None, ""),
        ("disabled = true", None, ""),
        ("", "warning", "it has no key that is valid"),
        (f'password = "{HASH}"', "warning", "it has a password only, and passwords = false"),
        (f'keys = ["{KEY}"]\npassword = "{HASH}"\nlogin_with = "key_and_password"', "warning", "a password as well"),
        (f'keys = ["{KEY}"]\nexpires = 2020-01-01', "note", "acme/ann has expired"),
        (f'keys = [\'expiry-time="20200101" {KEY}\', "{KEY}"]', "note", "1 of 2 keys have expired"),
    ],
)
def test_users_who_cannot_log_in_though_nobody_said_so_are_named(
    root: Path, settings: str, level: str | None, says: str
) -> None:
    user(root, "ann", settings)
    found = found_by(root, "logins")
    assert [one[0] for one in found] == ([level] if level else [])
    assert all(says in one[1] for one in found)


def test_a_user_with_a_certificate_has_a_way_in(root: Path) -> None:
    user(root, "ann", "")
    (root / "gateway.toml").write_text(f'[login]\nuser_ca = ["{KEY}"]\n')
    assert found_by(root, "logins") == []


def test_a_clock_that_nothing_keeps_right_is_warned_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel of this machine says is not ours to choose: each of its answers is taken for the bad one once."""
    levels = []
    for answer in (security.TIME_ERROR, -2):
        monkeypatch.setattr(security, "TIME_ERROR", answer)
        levels += [found[0] for found in found_by(root, "clock of system")]
    assert levels in (["ok", "ok"], ["warning", "ok"], [])


def user(root: Path, name: str, settings: str) -> None:
    text = f'[users.{name}]\nemail = "a@b.c"\nrole = "viewer"\n{settings}\n'
    (root / "tenants" / "acme.toml").write_text(text)
    (root / "tenants" / "acme.toml").chmod(0o600)
