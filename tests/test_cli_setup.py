"""`gateway init`, `tenant`, `user` and `feed` write the files that a person edits."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import argon2
import pytest

from gateway import config
from gateway.sftp import host_keys
from tests.conftest import Run, clean_environment, command, give_host_keys


@pytest.fixture
def root(gateway: Run, tmp_path: Path) -> Path:
    """A directory as `gateway init` makes it, with a tenant."""
    give_host_keys(tmp_path / "here")
    assert gateway("init", tmp_path / "here").returncode == 0
    assert gateway("tenant", "add", "acme", "--config", tmp_path / "here").returncode == 0
    return tmp_path / "here"


@pytest.fixture
def public_key(tmp_path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "somebody", "-f", tmp_path / "key"],
        check=True,
        timeout=60,
    )
    return tmp_path / "key.pub"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def acme(root: Path) -> config.TenantSettings:
    return config.load(root, {}).tenants["acme"]


def test_init_makes_a_directory_that_loads(gateway: Run, tmp_path: Path) -> None:
    done = gateway("init", "new/place")
    assert done.returncode == 0, done.stderr
    root = tmp_path / "new" / "place"
    settings = config.load(root, {})
    assert settings.gateway == config.GatewaySettings()
    assert (root / "tenants").is_dir()
    assert settings.data_dir.is_dir()
    assert [host_keys.load(path).kind for path in settings.host_key_paths] == ["ed25519", "rsa"]
    for host_key in settings.host_key_paths:
        assert mode(host_key) == 0o600
        assert host_keys.load(host_key).fingerprint in done.stdout
    assert [mode(path) for path in (root / "host_keys", settings.data_dir, root / "tenants")] == [0o700, 0o750, 0o750]
    assert f"Next: gateway tenant add NAME --config {root}" in done.stdout


def test_init_leaves_a_gateway_that_is_there_alone(gateway: Run, root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    done = gateway("init", root)
    assert done.returncode == 3
    assert "there is a gateway in this directory already" in done.stderr
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_init_keeps_a_host_key_that_is_there(gateway: Run, root: Path) -> None:
    keys = config.load(root, {}).host_key_paths
    before = [key.read_bytes() for key in keys]
    (root / "gateway.toml").unlink()
    assert gateway("init", root).returncode == 0
    assert [key.read_bytes() for key in keys] == before


def test_a_tenant_is_a_commented_file(gateway: Run, root: Path) -> None:
    done = gateway("tenant", "add", "beta", "--environment", "test", "--timezone", "Europe/Dublin", "--config", root)
    assert done.returncode == 0, done.stderr
    beta = config.load(root, {}).tenants["beta"]
    assert (beta.environment, beta.timezone) == ("test", "Europe/Dublin")
    path = root / "tenants" / "beta.toml"
    assert "# The zone of times that name none" in path.read_text()
    assert mode(path) == 0o600
    assert "Next: gateway feed add beta FEED --contract CONTRACT" in done.stdout


def test_a_tenant_is_not_added_twice(gateway: Run, root: Path) -> None:
    before = (root / "tenants" / "acme.toml").read_bytes()
    done = gateway("tenant", "add", "acme", "--environment", "test", "--config", root)
    assert done.returncode == 3
    assert "there is a tenant 'acme' already" in done.stderr
    assert (root / "tenants" / "acme.toml").read_bytes() == before


def test_a_mistake_is_not_saved(gateway: Run, root: Path) -> None:
    done = gateway("tenant", "add", "beta", "--timezone", "Europe/Dublinn", "--config", root)
    assert done.returncode == 3
    assert "did you mean 'Europe/Dublin'?" in done.stderr
    assert [path.name for path in (root / "tenants").iterdir()] == ["acme.toml"]


def test_an_impossible_name_is_wrong_usage(gateway: Run, root: Path) -> None:
    done = gateway("tenant", "add", "../Acme", "--config", root)
    assert done.returncode == 64
    assert "'../Acme' cannot be a name: 1 to 64 of" in done.stderr


def test_a_user_has_keys_and_a_hashed_password(gateway: Run, root: Path, public_key: Path) -> None:
    arguments = ["user", "add", "acme", "up.load", "--email", "a@b.c", "--role", "creator", "--key", public_key]
    done = gateway(*arguments, "--password-stdin", "--config", root, given="hunter2\n")
    assert done.returncode == 0, done.stderr
    user = acme(root).users["up.load"]
    assert (user.email, user.role, user.keys) == ("a@b.c", "creator", (public_key.read_text().strip(),))
    assert user.password is not None
    assert argon2.PasswordHasher().verify(user.password, "hunter2")
    assert "hunter2" not in (root / "tenants" / "acme.toml").read_text()
    assert mode(root / "tenants" / "acme.toml") == 0o600
    assert "Next: sftp -P 2222 up.load@HOST" in done.stdout
    word = ["user", "add", "acme", "word", "--email", "a@b.c", "--role", "creator", "--password-stdin"]
    alone = gateway(*word, "--config", root, given="hunter2\n")
    assert "Nobody can log in as this user yet: gateway.toml says sftp.passwords = false" in alone.stdout


def test_a_user_that_cannot_log_in_yet_is_said_so(gateway: Run, root: Path) -> None:
    done = gateway("user", "add", "acme", "reader", "--email", "a@b.c", "--role", "viewer", "--config", root)
    assert done.returncode == 0
    assert "Nobody can log in as this user yet" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "given", "code", "said"),
    [
        (["ghost", "u", "--email", "a@b.c", "--role", "viewer"], "", 3, "no tenant 'ghost' (tenants: acme)"),
        (["acmee", "u", "--email", "a@b.c", "--role", "viewer"], "", 3, "did you mean 'acme'?"),
        (["acme", "u", "--email", "nobody", "--role", "viewer"], "", 3, "users.u.email: expected an email address"),
        (["acme", "u", "--email", "a@b.c", "--role", "boss"], "", 64, "'boss' is not one of 'admin'"),
        (["acme", "u", "--email", "a@b.c", "--role", "viewer", "--password-stdin"], "\n", 64, "holds no password"),
        (["acme", "U", "--email", "a@b.c", "--role", "viewer"], "", 64, "'U' cannot be a name"),
    ],
)
def test_a_user_that_cannot_be_is_refused(
    gateway: Run, root: Path, arguments: list[str], given: str, code: int, said: str
) -> None:
    before = (root / "tenants" / "acme.toml").read_bytes()
    done = gateway("user", "add", *arguments, "--config", root, given=given)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert (root / "tenants" / "acme.toml").read_bytes() == before


def test_a_user_may_have_conditions(gateway: Run, root: Path, public_key: Path) -> None:
    arguments = ["user", "add", "acme", "ann", "--email", "a@b.c", "--role", "creator", "--key", public_key]
    conditions = ["--both", "--password-stdin", "--from", "203.0.113.7", "--from", "2001:db8::/32"]
    done = gateway(*arguments, *conditions, "--expires", "2099-01-31", "--config", root, given="hunter2\n")
    assert done.returncode == 0, done.stderr
    ann = acme(root).users["ann"]
    assert (ann.login_with, ann.allow_from) == ("key_and_password", ("203.0.113.7", "2001:db8::/32"))
    assert ann.expires == datetime(2099, 1, 31, tzinfo=UTC)
    assert "\nexpires = 2099-01-31\n" in (root / "tenants" / "acme.toml").read_text()
    assert "Nobody can log in as this user yet: gateway.toml says sftp.passwords = false" in done.stdout


def test_a_user_is_disabled_and_enabled_where_a_person_wrote_it(gateway: Run, root: Path) -> None:
    path = root / "tenants" / "acme.toml"
    written = (
        "# Ask Ann.\n[users.ann] # since May\nemail = 'ann@acme.example'\nrole = 'admin'\n\n# Bob leaves.\n"
        '[users."bob"]\nemail = "bob@acme.example"\ndisabled   = false # not yet\nrole = "viewer"\n'
    )
    path.write_text(written)
    assert gateway("user", "disable", "acme", "ann", "--config", root).stdout == "Disabled user 'ann'.\n"
    assert gateway("user", "disable", "acme", "bob", "--config", root).returncode == 0
    assert gateway("user", "disable", "acme", "bob", "--config", root).stdout == "User 'bob' is disabled already.\n"
    assert [user.disabled for user in acme(root).users.values()] == [True, True]
    expected = written.replace("# since May\n", "# since May\ndisabled = true\n")
    assert path.read_text() == expected.replace("disabled   = false # not yet", "disabled = true # not yet")
    for name in ("ann", "bob"):
        assert gateway("user", "enable", "acme", name, "--config", root).stdout == f"Enabled user '{name}'.\n"
    assert [user.disabled for user in acme(root).users.values()] == [False, False]
    near = gateway("user", "disable", "acme", "anna", "--config", root)
    assert (near.returncode, "no user 'anna'; did you mean 'ann'? (users: ann, bob)" in near.stderr) == (3, True)


def test_a_tenant_is_disabled_and_enabled(gateway: Run, root: Path) -> None:
    before = (root / "tenants" / "acme.toml").read_text()
    assert gateway("tenant", "disable", "acme", "--config", root).stdout == "Disabled tenant 'acme'.\n"
    assert acme(root).disabled
    assert gateway("tenant", "disable", "acme", "--config", root).stdout == "Tenant 'acme' is disabled already.\n"
    assert "acme (disabled)" in gateway("tenant", "list", "--config", root).stdout
    assert gateway("tenant", "enable", "acme", "--config", root).stdout == "Enabled tenant 'acme'.\n"
    assert (root / "tenants" / "acme.toml").read_text() == before


def test_a_file_that_cannot_be_disabled_in_is_left_alone(gateway: Run, root: Path) -> None:
    path = root / "tenants" / "acme.toml"
    path.write_text('users = { ann = { email = "a@b.c", role = "viewer" } }\n')
    done = gateway("user", "disable", "acme", "ann", "--config", root)
    assert done.returncode == 3
    assert "nothing was changed; write disabled = true in the table of users.ann yourself" in done.stderr
    assert path.read_text() == 'users = { ann = { email = "a@b.c", role = "viewer" } }\n'


def test_a_private_key_is_not_taken_for_a_public_one(gateway: Run, root: Path, public_key: Path) -> None:
    private = public_key.with_suffix("")
    done = gateway(
        "user", "add", "acme", "u", "--email", "a@b.c", "--role", "viewer", "--key", private, "--config", root
    )
    assert done.returncode == 64
    assert "this is a private key" in done.stderr
    assert "OPENSSH" not in (root / "tenants" / "acme.toml").read_text() + done.stderr


def test_a_username_is_unique_in_the_gateway(gateway: Run, root: Path) -> None:
    gateway("tenant", "add", "beta", "--config", root)
    assert gateway("user", "add", "acme", "u", "--email", "a@b.c", "--role", "viewer", "--config", root).returncode == 0
    again = gateway("user", "add", "acme", "u", "--email", "a@b.c", "--role", "viewer", "--config", root)
    assert (again.returncode, "has a user 'u' already" in again.stderr) == (3, True)
    other = gateway("user", "add", "beta", "u", "--email", "a@b.c", "--role", "viewer", "--config", root)
    assert (other.returncode, "the username is taken by tenant 'acme'" in other.stderr) == (3, True)
    assert config.load(root, {}).tenants["beta"].users == {}


def test_a_feed_has_a_contract_that_exists(gateway: Run, root: Path) -> None:
    done = gateway("feed", "add", "acme", "events", "--contract", "clevertap-evnts", "--config", root)
    assert done.returncode == 3
    assert "no contract named 'clevertap-evnts'; did you mean 'clevertap-events'?" in done.stderr
    assert acme(root).feeds == {}
    assert gateway("feed", "add", "acme", "events", "--contract", "clevertap-events", "--config", root).returncode == 0
    assert acme(root).feeds == {"events": config.FeedSettings(contract="clevertap-events")}
    again = gateway("feed", "add", "acme", "events", "--contract", "userpilot-import", "--config", root)
    assert (again.returncode, "has a feed 'events' already; to change it, edit" in again.stderr) == (3, True)


def test_what_a_person_wrote_stays_as_it_is(gateway: Run, root: Path) -> None:
    path = root / "tenants" / "acme.toml"
    written = (
        "# Ask Ann before you change this.\nenvironment   =  'test' # for now\n\n"
        '[users.ann]\nemail="ann@acme.example"\nrole="admin"\n# Bob leaves in May.\n[users.bob]\n'
        'email="bob@acme.example"\nrole="viewer"\n\n# Each night.\n[feeds.events]\ncontract="clevertap-events"\n'
    )
    path.write_text(written)
    gateway("user", "add", "acme", "carl", "--email", "carl@acme.example", "--role", "viewer", "--config", root)
    gateway("feed", "add", "acme", "profiles", "--contract", "clevertap-profiles", "--config", root)
    assert path.read_text().startswith(written)
    assert set(acme(root).users) == {"ann", "bob", "carl"}
    assert set(acme(root).feeds) == {"events", "profiles"}


def test_a_file_that_cannot_be_added_to_is_left_alone(gateway: Run, root: Path) -> None:
    path = root / "tenants" / "acme.toml"
    path.write_text('users = { ann = { email = "a@b.c", role = "viewer" } }\n')
    done = gateway("user", "add", "acme", "bob", "--email", "b@b.c", "--role", "viewer", "--config", root)
    assert done.returncode == 3
    assert "users and feeds must stand as [users.NAME]" in done.stderr
    assert path.read_text() == 'users = { ann = { email = "a@b.c", role = "viewer" } }\n'


def test_commands_at_the_same_time_lose_nothing(root: Path) -> None:
    names = [f"user{number}" for number in range(6)]
    running = [
        subprocess.Popen(
            command("user", "add", "acme", name, "--email", "a@b.c", "--role", "viewer", "--config", root),
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
        )
        for name in names
    ]
    assert [process.wait(timeout=100) for process in running] == [0] * len(names)
    assert set(acme(root).users) == set(names)


def test_lists_are_whole_in_a_pipe(gateway: Run, root: Path) -> None:
    for number in range(8):
        gateway(
            "feed",
            "add",
            "acme",
            f"a-rather-long-name-for-a-feed-{number}",
            "--contract",
            "clevertap-events",
            "--config",
            root,
        )
    tenants = gateway("tenant", "list", "--config", root).stdout.splitlines()
    assert tenants[0].split() == ["tenant", "environment", "timezone", "users", "feeds"]
    assert all(f"a-rather-long-name-for-a-feed-{number}" in tenants[1] for number in range(8))
    feeds = gateway("feed", "list", "--tenant", "acme", "--config", root).stdout.splitlines()
    assert len(feeds) == 9
    assert "did you mean 'acme'" in gateway("feed", "list", "--tenant", "acne", "--config", root).stderr


def test_the_directory_comes_from_the_option_the_variable_or_where_one_is(gateway: Run, root: Path) -> None:
    here = subprocess.run(
        [sys.executable, "-m", "gateway", "tenant", "list"],
        cwd=root, env=clean_environment(), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    by_variable = gateway("tenant", "list", GATEWAY_CONFIG=str(root))
    by_option = gateway("tenant", "list", "--config", root, GATEWAY_CONFIG="/nowhere")
    assert here.stdout == by_variable.stdout == by_option.stdout
    assert "acme" in here.stdout
