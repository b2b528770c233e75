"""Configuration files and variables become settings, and every mistake is said in words."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from gateway import config, contracts
from gateway.cli.commented import gateway_toml, is_table
from gateway.config import FeedSettings, LiveSettings, TenantSettings, UserSettings
from gateway.errors import ConfigError

CONF = Path(__file__).parents[1] / "conf"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJV4jB8fcXxtZQMMF98L4qrsoiJZNiqzLf5w9B6n9X1g somebody"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "gateway.toml").write_text("")
    return tmp_path


def mistake(root: Path, tenant: str = "", gateway: str = "", **environment: str) -> str:
    """What the configuration is refused with."""
    (root / "tenants" / "acme.toml").write_text(tenant)
    (root / "gateway.toml").write_text(gateway)
    with pytest.raises(ConfigError) as caught:
        config.load(root, environment)
    return str(caught.value)


def test_an_empty_gateway_toml_is_all_defaults(root: Path) -> None:
    settings = config.load(root, {})
    assert settings.gateway == config.GatewaySettings()
    assert settings.ledger_path == root / "data" / "ledger.db"
    assert settings.tenants == {}


def test_conf_gateway_toml_is_what_init_writes() -> None:
    written = gateway_toml()
    assert (CONF / "gateway.toml").read_text() == written, "copy the gateway.toml of a `gateway init` over it"


def test_the_examples_load_and_state_the_defaults() -> None:
    settings = config.load(CONF, {})
    assert settings.gateway == config.GatewaySettings()
    acme = settings.tenants["acme"]
    assert acme == TenantSettings(users=acme.users, feeds=acme.feeds)
    assert acme.feeds["profiles"] == FeedSettings(contract="clevertap-profiles")


def test_the_examples_name_contracts_and_keys_that_exist() -> None:
    acme = config.load(CONF, {}).tenants["acme"]
    for feed in acme.feeds.values():
        contracts.load(feed.contract, None)
    for user in acme.users.values():
        assert [asyncssh.import_public_key(key) for key in user.keys]


def documented(text: str) -> set[str]:
    """The keys of a TOML text; an optional one may be commented out, as in `# key = `."""
    return set(re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE))


def test_the_example_tenant_documents_every_key() -> None:
    text = (CONF / "tenants" / "acme.toml").read_text()
    head, users, feed = re.split(r"^(?=\[users\.acme-upload\]|\[feeds\.profiles\])", text, flags=re.MULTILINE)
    plain = {name for name, field in TenantSettings.model_fields.items() if not is_table(field)}
    assert documented(head) == plain
    assert documented(users.partition("[users.acme-reader]")[0]) == set(UserSettings.model_fields)
    assert documented(feed.partition("[feeds.events]")[0]) == set(FeedSettings.model_fields)


@pytest.mark.parametrize("model", [*(type(s) for _, s in config.GatewaySettings()), UserSettings, FeedSettings])
def test_every_key_is_explained(model: type[config.Section]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_gateway_toml_has_every_section_and_key() -> None:
    document = tomllib.loads(gateway_toml())
    for section, settings in config.GatewaySettings():
        assert document[section].keys() == type(settings).model_fields.keys()


def test_no_directory_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.toml: there is no such file; `gateway init .*` makes one"):
        config.load(tmp_path, {})


def test_an_unknown_key_is_refused_with_the_likely_one(root: Path) -> None:
    said = mistake(root, gateway="[pickup]\nsetle_seconds = 3")
    assert said.startswith("gateway.toml: pickup.setle_seconds: unknown key; did you mean 'settle_seconds'?")
    assert "grace_seconds" in said


def test_an_unknown_table_is_refused(root: Path) -> None:
    assert "gateway.toml: sftpp: unknown key; did you mean 'sftp'?" in mistake(root, gateway="[sftpp]\nport = 1")


def test_a_broken_file_is_refused_with_the_line(root: Path) -> None:
    assert re.search(r"acme\.toml: .*line 1", mistake(root, tenant="environment = production"))


@pytest.mark.parametrize(
    ("tenant", "said"),
    [
        (
            '[feeds.f]\ncontract = "c"\non_error = "reject_row"',
            "feeds.f.on_error: expected 'reject_rows' or 'reject_file', found 'reject_row'; did you mean 'reject_rows'",
        ),
        ("[feeds.f]\nstrict = true", "feeds.f.contract: this key is missing and has no default"),
        ('retention_days = "long"', "retention_days: expected a whole number, found 'long'"),
        ("retention_days = 0", "retention_days: expected greater than or equal to 1, found 0"),
        (
            '[feeds.f]\ncontract = "c"\ntemporary_names = "*.up"',
            "feeds.f.temporary_names: expected a list, found '*.up'",
        ),
        ("feeds = 3", "feeds: expected a table, found 3"),
        ('timezone = "Europe/Dublinn"', "timezone: no time zone named 'Europe/Dublinn'; did you mean 'Europe/Dublin'?"),
        ('[feeds.Big]\ncontract = "c"', "feeds: 'Big' cannot be a name: 1 to 64 of a-z 0-9 . _ -"),
        ('[users.u]\nemail = "nobody"\nrole = "viewer"', "users.u.email: expected an email address, found 'nobody'"),
    ],
)
def test_a_wrong_value_is_refused_in_words(root: Path, tenant: str, said: str) -> None:
    assert f"tenants/acme.toml: {said}" in mistake(root, tenant=tenant)


def test_all_mistakes_of_a_file_are_said_at_once(root: Path) -> None:
    assert len(mistake(root, tenant='retention_days = 0\ntimezone = 3\nenviroment = "test"').splitlines()) == 3


@pytest.mark.parametrize(
    "line", ['password = "hunter2"', 'keys = ["hunter2"]', 'keys = "hunter2"', 'pasword = "hunter2"']
)
def test_a_secret_in_the_wrong_place_is_not_repeated(root: Path, line: str) -> None:
    said = mistake(root, tenant=f'[users.u]\nemail = "a@b.c"\nrole = "viewer"\n{line}')
    assert "tenants/acme.toml: users.u." in said
    assert "hunter2" not in said


def test_a_private_key_is_told_from_a_public_one(root: Path) -> None:
    private = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    said = mistake(root, tenant=f'[users.u]\nemail = "a@b.c"\nrole = "viewer"\nkeys = ["""{private}"""]')
    assert (
        said
        == "tenants/acme.toml: users.u.keys: this is a private key; a user is given the line of the .pub file beside it"
    )


def test_a_username_of_two_tenants_is_refused(root: Path) -> None:
    user = f'[users.upload]\nemail = "a@b.c"\nrole = "creator"\nkeys = ["{KEY}"]'
    (root / "tenants" / "beta.toml").write_text(user)
    said = mistake(root, tenant=user)
    assert said.startswith("tenants/beta.toml: users.upload: the username is taken by tenant 'acme'")
    assert "try 'beta-upload'" in said


def test_a_tenant_file_with_an_impossible_name_is_refused(root: Path) -> None:
    (root / "tenants" / "Acme Ltd.toml").write_text("")
    with pytest.raises(ConfigError, match=r"tenants/Acme Ltd\.toml: 'Acme Ltd' cannot be a name"):
        config.load(root, {})


def test_an_unfinished_edit_beside_a_tenant_is_not_read(root: Path) -> None:
    (root / "tenants" / ".acme.toml").write_text("half a li")
    assert config.load(root, {}).tenants == {}


def test_variables_override_the_file(root: Path) -> None:
    (root / "gateway.toml").write_text('[sftp]\nport = 22\n[log]\nformat = "json"')
    keys = os.pathsep.join(("one", "two"))
    settings = config.load(
        root,
        {"GATEWAY_SFTP_PORT": "0", "GATEWAY_SFTP_PASSWORDS": "false", "GATEWAY_SFTP_HOST_KEYS": keys, "PATH": "x"},
    )
    assert (settings.gateway.sftp.port, settings.gateway.sftp.passwords, settings.gateway.log.format) == (
        0,
        False,
        "json",
    )
    assert settings.host_key_paths == (root / "one", root / "two")


def test_a_wrong_variable_is_named(root: Path) -> None:
    assert (
        mistake(root, GATEWAY_SFTP_PORT="many") == "GATEWAY_SFTP_PORT: sftp.port: expected a whole number, found 'many'"
    )
    assert (
        mistake(root, GATEWAY_SFTP_PROT="1") == "GATEWAY_SFTP_PROT: no such setting; did you mean 'GATEWAY_SFTP_PORT'?"
    )


def test_a_section_that_is_no_table_is_the_files_mistake(root: Path) -> None:
    assert mistake(root, gateway="sftp = 22", GATEWAY_SFTP_PORT="1") == "gateway.toml: sftp: expected a table, found 22"


@pytest.mark.rule("C4")
@pytest.mark.parametrize(("role", "may"), [("admin", True), ("creator", True), ("approver", True), ("viewer", False)])
def test_a_viewer_may_not_upload(role: Any, may: bool) -> None:
    assert UserSettings(email="a@b.c", role=role).may_upload is may


def test_running_settings_follow_the_tenants_files(root: Path) -> None:
    live = LiveSettings(root)
    assert live.refresh() is False
    (root / "tenants" / "acme.toml").write_text('[feeds.f]\ncontract = "clevertap-events"')
    assert live.refresh() is True
    assert live.current.tenants["acme"].feeds["f"].contract == "clevertap-events"
    (root / "tenants" / "acme.toml").unlink()
    assert live.refresh() is True
    assert live.current.tenants == {}


def test_running_settings_survive_a_broken_file_and_say_it_once(root: Path) -> None:
    (root / "tenants" / "acme.toml").write_text('timezone = "UTC"')
    live = LiveSettings(root)
    (root / "tenants" / "acme.toml").write_text("timezone = ")
    with pytest.raises(ConfigError):
        live.refresh()
    assert live.refresh() is False
    assert live.current.tenants["acme"].timezone == "UTC"
    (root / "tenants" / "acme.toml").write_text('timezone = "Europe/Dublin"')
    assert live.refresh() is True
    assert live.current.tenants["acme"].timezone == "Europe/Dublin"


def test_running_settings_keep_the_gateway_toml_of_the_start(root: Path) -> None:
    live = LiveSettings(root)
    (root / "gateway.toml").write_text("[sftp]\nport = 1")
    (root / "tenants" / "acme.toml").write_text("")
    assert live.refresh() is True
    assert live.current.gateway.sftp.port == 2222
