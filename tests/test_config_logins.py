"""What a configuration may say of logins: keys and what stands in front of them, addresses, and ends."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import asyncssh
import pytest

from gateway.config import UserSettings, load
from gateway.config.addresses import is_in
from gateway.config.keys import parse_key
from gateway.errors import ConfigError
from tests.sftp.logins import Token

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJV4jB8fcXxtZQMMF98L4qrsoiJZNiqzLf5w9B6n9X1g"
HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$AAAA"


def mistake(tmp_path: Path, user: str, tenant: str = "", gateway: str = "") -> str:
    """What the configuration is refused with."""
    (tmp_path / "tenants").mkdir()
    (tmp_path / "gateway.toml").write_text(gateway)
    text = f'{tenant}\n[users.u]\nemail = "a@b.c"\nrole = "viewer"\n{user}\n'
    (tmp_path / "tenants" / "acme.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {})
    return str(caught.value)


def rsa(bits: int) -> str:
    return asyncssh.generate_private_key("ssh-rsa", key_size=bits).export_public_key().decode().strip()


def test_public_keys_of_all_kinds_are_taken() -> None:
    kinds = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
    lines = [asyncssh.generate_private_key(kind).export_public_key().decode().strip() for kind in kinds]
    lines += [Token(b"sk-ssh-ed25519@openssh.com").line, Token(b"sk-ecdsa-sha2-nistp256@openssh.com").line, rsa(3072)]
    assert UserSettings(email="a@b.c", role="viewer", keys=tuple(lines)).keys == tuple(lines)


def test_a_short_rsa_key_is_refused_with_its_place_and_what_to_do(tmp_path: Path) -> None:
    said = mistake(tmp_path, f'keys = ["{KEY}", "{rsa(2048)}"]')
    assert said == (
        "tenants/acme.toml: users.u.keys: key 2 of 2: this RSA key has 2048 bits, and 3072 is the least; "
        "make a new one with: ssh-keygen -t ed25519"
    )


@pytest.mark.parametrize("kind", ["ssh-dss", "ssh-ed448", "ssh-ed25519-cert-v01@openssh.com"])
def test_a_key_of_another_kind_is_refused_with_those_that_are_taken(tmp_path: Path, kind: str) -> None:
    blob = len(kind).to_bytes(4, "big") + kind.encode() + (4).to_bytes(4, "big") + b"abcd"
    said = mistake(tmp_path, f'keys = ["{kind} {base64.b64encode(blob).decode()} name"]')
    assert f"users.u.keys: keys of the kind {kind} are not taken (ssh-ed25519, ecdsa-sha2-nistp256," in said
    assert "ssh-keygen -t ed25519" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"restrict {KEY}", "the option restrict in front of this key is not known; known are from, expiry-time"),
        (f'from="10.0.0.0/8",command="ls" {KEY}', "the option command in front of this key is not known"),
        (f"from {KEY}", 'the option from must stand there once, with a value, as in from="..."'),
        (f'from="::1",from="::2" {KEY}', "the option from must stand there once"),
        (f'from="10.0.0.0/8"expiry-time="20300101" {KEY}', "what stands in front of this key cannot be read"),
        (f'from="*.example.com" {KEY}', "'*.example.com' is no address and no network, as in '203.0.113.7'"),
        (f'from="!10.0.0.1,10.0.0.0/8" {KEY}', "'!10.0.0.1' is no address and no network"),
        (f'from="10.0.0.1/8" {KEY}', "'10.0.0.1/8' is no address and no network"),
        (f'expiry-time="tomorrow" {KEY}', 'expiry-time="tomorrow" is no time; write YYYYMMDD, or YYYYMMDDHHMM, in UTC'),
        (f'expiry-time="20301301" {KEY}', 'expiry-time="20301301" is no time'),
        (KEY[:-8], "this is not the line of a .pub file"),
    ],
)
def test_what_stands_in_front_of_a_key_and_is_not_known_is_refused_in_words(
    tmp_path: Path, line: str, said: str
) -> None:
    assert f"tenants/acme.toml: users.u.keys: {said}" in mistake(tmp_path, f"keys = ['{line}']")


def test_what_stands_in_front_of_a_key_is_as_in_openssh() -> None:
    line = parse_key(f'from="10.0.0.0/8, 2001:db8::1",expiry-time="202601311530" {KEY} from="nowhere" AAAA')
    assert line.allow_from == ("10.0.0.0/8", "2001:db8::1")
    assert line.expires == datetime(2026, 1, 31, 15, 30, tzinfo=UTC)
    assert line.fingerprint == asyncssh.import_public_key(KEY).get_fingerprint()
    assert parse_key(f'expiry-time="20260131" {KEY}').expires == datetime(2026, 1, 31, tzinfo=UTC)
    assert parse_key(KEY).expires is None


@pytest.mark.parametrize("value", ["20300101", '"2030-01-01"', "true", "12:00:00"])
def test_an_end_that_is_not_a_date_is_refused(tmp_path: Path, value: str) -> None:
    assert "users.u.expires: expected a date or a time, without quotes, as in 2027-01-01" in mistake(
        tmp_path, f"expires = {value}"
    )


def test_an_end_is_a_date_or_a_time_in_utc() -> None:
    user = UserSettings.model_validate({"email": "a@b.c", "role": "viewer", "expires": datetime(2030, 1, 1, 12, 0)})  # noqa: DTZ001 - as TOML has it.
    assert user.expires == datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_who_needs_both_must_have_a_password(tmp_path: Path) -> None:
    said = mistake(tmp_path, f'keys = ["{KEY}"]\nlogin_with = "key_and_password"')
    assert 'users.u: login_with = "key_and_password", but there is no password' in said


@pytest.mark.parametrize("where", ["user", "tenant", "gateway"])
def test_an_address_that_is_none_is_named_wherever_it_stands(tmp_path: Path, where: str) -> None:
    line = 'allow_from = ["10.0.0.0/8", "office"]'
    given = {"user": "", where: f"[login]\n{line}" if where == "gateway" else line}
    assert "allow_from: 'office' is no address and no network" in mistake(tmp_path, **given)


def test_the_key_of_a_ca_is_as_any_other(tmp_path: Path) -> None:
    said = mistake(tmp_path, "", tenant=f'user_ca = ["{rsa(2048)}"]')
    assert said.startswith("tenants/acme.toml: user_ca: this RSA key has 2048 bits")


def test_a_private_key_of_a_ca_is_not_repeated(tmp_path: Path) -> None:
    private = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    said = mistake(tmp_path, "", gateway=f'[login]\nuser_ca = """{private}"""')
    assert said.startswith("gateway.toml: login.user_ca: ")
    assert "OPENSSH" not in said


@pytest.mark.parametrize(
    ("address", "allowed", "so"),
    [
        ("203.0.113.7", "203.0.113.0/24", True),
        ("::ffff:203.0.113.7", "203.0.113.0/24", True),
        ("203.0.113.7", "::ffff:203.0.113.0/120", True),
        ("203.0.113.7", "::/0", False),
        ("2001:db8::1", "0.0.0.0/0", False),
        ("fe80::1%eth0", "fe80::/10", True),
    ],
)
def test_ipv4_in_ipv6_is_ipv4(address: str, allowed: str, so: bool) -> None:
    assert is_in(address, [allowed]) is so


def test_an_address_that_is_not_known_is_in_no_list() -> None:
    assert not is_in(None, ["0.0.0.0/0", "::/0"])
