"""`gateway drop` against a real gateway: the proof that a partner needs nothing but SFTP."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from gateway import config, durable
from tests.conftest import Run, clean_environment, command, give_host_keys

HEADER = "identity,Name,Phone\n"
GOOD = HEADER + "1001,Jane,01 123 111 0123\n1002,John,0301234567\n"
BAD = HEADER + "1001,Jane,01 123 111 0123\n1002,John,+49 (30) 1\n"
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Served:
    """A gateway that serves, and its process."""

    root: Path
    port: int
    process: subprocess.Popen[str]

    @property
    def fingerprint(self) -> str:
        path = config.load(self.root, {}).host_key_paths[0]
        return asyncssh.read_private_key(str(path)).get_fingerprint()

    @property
    def address(self) -> str:
        return f"creator@127.0.0.1:{self.port}"


def make_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path], check=True, timeout=60)
    return path


def set_up(root: Path) -> None:
    """A tenant with two feeds, someone who may upload and someone who may not."""

    def run(*arguments: str | Path, given: str = "") -> None:
        subprocess.run(
            command(*arguments), input=given, text=True, env=clean_environment() | {"GATEWAY_CONFIG": str(root)},
            check=True, capture_output=True, timeout=100,
        )  # fmt: skip

    give_host_keys(root)
    run("init", root)
    settings = root / "gateway.toml"
    settings.write_text(settings.read_text().replace("passwords = false", "passwords = true"))
    run("tenant", "add", "acme")
    run("feed", "add", "acme", "profiles", "--contract", "clevertap-profiles")
    run("feed", "add", "acme", "userpilot", "--contract", "userpilot-import")
    for proof in ("done_marker", "sha256"):
        run("feed", "add", "acme", proof, "--contract", "clevertap-profiles")
        tenant = root / "tenants" / "acme.toml"
        asked = f'[feeds.{proof}]\ncomplete_on = "{proof}"'
        tenant.write_text(tenant.read_text().replace(f"[feeds.{proof}]", asked))
    for name, role in (("creator", "creator"), ("viewer", "viewer")):
        key = make_key(root / name)
        by_key: list[str | Path] = ["--key", key.with_suffix(".pub"), "--password-stdin"]
        run("user", "add", "acme", name, "--email", f"{name}@acme.example", "--role", role, *by_key, given=PASSWORD)


@contextmanager
def serving(root: Path, **variables: str) -> Iterator[Served]:
    with (root / "log").open("w") as log:
        process = subprocess.Popen(
            command("serve", "--host", "127.0.0.1", "--port", "0", "--config", root),
            stdout=subprocess.PIPE, stderr=log, text=True, env=clean_environment() | variables,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        found = re.fullmatch(r"Gateway listens on 127\.0\.0\.1:(\d+)\n", process.stdout.readline())
        assert found, (root / "log").read_text()
        yield Served(root, int(found[1]), process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        process.stdout.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("gateway")
    set_up(root)
    with serving(root, GATEWAY_PICKUP_SETTLE_SECONDS="0.05") as gateway:
        yield gateway


@pytest.fixture
def known_hosts(served: Served, tmp_path: Path) -> Path:
    return trusted(served, tmp_path / "known_hosts")


def trusted(served: Served, path: Path) -> Path:
    host_key = config.load(served.root, {}).host_key_paths[0]
    line = host_key.with_name(f"{host_key.name}.pub").read_text()
    path.write_text(f"[127.0.0.1]:{served.port} {line}")
    return path


Drop = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def drop(gateway: Run, served: Served, known_hosts: Path) -> Drop:
    """`gateway drop` as the creator, into profiles; whatever is given comes after that."""

    def run(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
        usual = ["--to", served.address, "--feed", "profiles", "--key", served.root / "creator"]
        return gateway("drop", *usual, "--known-hosts", known_hosts, *arguments, given=given)

    return run


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_good_file_comes_back_accepted(drop: Drop, served: Served, tmp_path: Path) -> None:
    done = drop(written(tmp_path / "good.csv", GOOD), "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("good.csv: completed, all rows accepted (2 rows, 2 accepted)\n")
    assert "good.csv.accepted.csv" in done.stdout
    outbox = served.root / "data" / "tenants" / "acme" / "outbox" / "profiles"
    assert json.loads((outbox / "good.csv.report.json").read_text())["uploaded_by"] == "creator@acme.example"


def test_rejected_rows_are_shown_with_what_to_do(drop: Drop, tmp_path: Path) -> None:
    done = drop(written(tmp_path / "some.csv", BAD), "--wait")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("some.csv: completed, some rows rejected (2 rows, 1 accepted, 1 rejected)\n")
    [problem] = [line for line in done.stdout.splitlines() if "phone_not_digits" in line]
    assert problem.split()[:2] == ["3", "Phone"]


def test_a_file_that_is_refused_exits_with_2_and_says_why(drop: Drop, tmp_path: Path) -> None:
    done = drop(written(tmp_path / "refused.csv", "Identity,Name\n1,Jane\n"), "--wait")
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("refused.csv: failed, nothing accepted")
    assert "wrong_case_column" in done.stdout


def test_a_dry_run_shows_what_would_come_of_a_file_and_the_file_itself_is_no_repeat_of_it(
    drop: Drop, tmp_path: Path
) -> None:
    (tmp_path / "tried.csv").write_text("identity,Name\n31,Ann\n32,Bob\n")
    tried = drop("tried.csv", "--wait", "--dry-run")
    assert (tried.returncode, "dry run, all rows would be accepted" in tried.stdout) == (0, True), tried.stderr
    assert "profiles that would be: 2 created, 0 updated, 0 unchanged" in tried.stdout
    real = drop("tried.csv", "--wait", "--json")
    assert (json.loads(real.stdout)["store"]["created"], json.loads(real.stdout)["duplicate_of"]) == (2, None)


def test_json_is_the_report_of_the_bytes_that_were_sent(drop: Drop, tmp_path: Path) -> None:
    file = written(tmp_path / "as-json.csv", GOOD + "1003,Ann,1\n")
    done = drop(file, "--wait", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["filename"], report["total_rows"]) == ("as-json.csv", 3)
    assert hashlib.sha256(file.read_bytes()).hexdigest() in [entry["sha256"] for entry in report["files"]]


def test_several_files_have_the_exit_code_of_the_worst(drop: Drop, tmp_path: Path) -> None:
    first = written(tmp_path / "first.csv", GOOD + "1,A,1\n")
    second = written(tmp_path / "second.csv", BAD + "2,A,1\n")
    done = drop(first, second, "--wait", "--json")
    assert done.returncode == 1, done.stderr
    assert [json.loads(line)["filename"] for line in done.stdout.splitlines()] == ["first.csv", "second.csv"]


def test_without_waiting_it_says_what_landed(drop: Drop, tmp_path: Path) -> None:
    file = written(tmp_path / "landed.csv", GOOD + "1,B,1\n")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    done = drop(file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"/inbox/profiles/landed.csv: landed, {file.stat().st_size} bytes, sha256 {digest}\n"


def test_the_same_name_again_shows_the_new_report(drop: Drop, tmp_path: Path) -> None:
    generations = []
    for extra in ("1,C,1\n", "2,C,1\n", "3,C,+\n"):
        done = drop(written(tmp_path / "again.csv", GOOD + extra), "--wait", "--json")
        generations.append((json.loads(done.stdout)["generation"], done.returncode))
    assert generations == [(1, 0), (2, 0), (3, 1)]


def test_the_same_bytes_again_show_their_own_report(drop: Drop, tmp_path: Path) -> None:
    file = written(tmp_path / "twice.csv", GOOD + "1,E,1\n")
    reports = [json.loads(drop(file, "--wait", "--json").stdout) for _ in range(2)]
    assert [report["generation"] for report in reports] == [1, 2]
    assert reports[1]["duplicate_of"] == reports[0]["job_id"]


def test_the_report_of_somebody_elses_file_of_that_name_is_not_taken(gateway: Run, tmp_path: Path) -> None:
    root = tmp_path / "shared"
    set_up(root)
    # Long enough for the foreign report to be seen before our own.
    with serving(root, GATEWAY_PICKUP_SETTLE_SECONDS="3") as shared:
        known_hosts = trusted(shared, tmp_path / "known_hosts")
        arguments: list[str | Path] = ["--to", shared.address, "--feed", "profiles", "--key", root / "creator"]
        file = written(tmp_path / "ours.csv", GOOD)
        with subprocess.Popen(
            command("drop", file, *arguments, "--known-hosts", known_hosts, "--wait", "--json"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
        ) as waiting:  # fmt: skip
            assert waiting.stderr is not None
            assert waiting.stderr.readline() == "Waiting for the report ...\n"
            foreign = {"status": "failed", "files": [{"name": "ours.csv", "sha256": "0" * 64}]}
            outbox = root / "data" / "tenants" / "acme" / "outbox" / "profiles"
            durable.write(outbox / "ours.csv.g9.report.json", json.dumps(foreign).encode())
            said, _ = waiting.communicate(timeout=100)
        assert (waiting.returncode, json.loads(said)["generation"]) == (0, 1)


def test_one_file_is_one_job(drop: Drop, gateway: Run, served: Served, tmp_path: Path) -> None:
    drop(written(tmp_path / "once.csv", GOOD + "1,D,1\n"), "--wait")
    jobs = json.loads(gateway("jobs", "--json", "--config", served.root).stdout)
    assert [job["status"] for job in jobs if job["filename"].startswith("once.csv")] == ["completed"]


def test_a_megabyte_arrives_whole(drop: Drop, tmp_path: Path) -> None:
    rows = "".join(f"{number},Somebody with quite a long name {number},{number}\n" for number in range(40_000))
    done = drop(written(tmp_path / "large.csv", HEADER + rows), "--wait", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accepted_rows"] == 40_000


def test_an_unknown_gateway_is_not_trusted_until_the_reader_does(
    drop: Drop, served: Served, known_hosts: Path, tmp_path: Path
) -> None:
    known_hosts.unlink()
    file = written(tmp_path / "unknown.csv", GOOD)
    refused = drop(file)
    assert refused.returncode == 3
    assert served.fingerprint in refused.stderr
    [trust] = [line.strip() for line in refused.stderr.splitlines() if line.strip().startswith("echo ")]
    subprocess.run(["bash", "-c", trust], check=True, timeout=60)
    assert drop(file).returncode == 0


def test_accept_new_remembers_the_key_and_keeps_what_was_there(drop: Drop, known_hosts: Path, tmp_path: Path) -> None:
    known_hosts.write_text(
        "# mine\nelsewhere.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBQk5mU0Wcxsy2c0r2oHQJyzOi1nK4Nh3B1RdxzAUiIQ"
    )
    before = known_hosts.read_text()
    file = written(tmp_path / "new.csv", GOOD)
    assert drop(file, "--accept-new").returncode == 0
    assert known_hosts.read_text().startswith(f"{before}\n[127.0.0.1]:")
    assert drop(file).returncode == 0


def test_a_gateway_with_another_key_is_refused_even_with_accept_new(
    drop: Drop, served: Served, known_hosts: Path, tmp_path: Path
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    known_hosts.write_text(f"[127.0.0.1]:{served.port} {other.export_public_key().decode()}")
    done = drop(written(tmp_path / "other.csv", GOOD), "--accept-new")
    assert done.returncode == 3
    assert "is not the gateway that" in done.stderr
    assert served.fingerprint in done.stderr
    assert other.get_fingerprint() in done.stderr


def test_a_password_logs_in_and_a_wrong_one_does_not(
    gateway: Run, served: Served, known_hosts: Path, tmp_path: Path
) -> None:
    file = written(tmp_path / "password.csv", GOOD)
    arguments = ["drop", file, "--to", served.address, "--feed", "profiles", "--known-hosts", known_hosts]
    assert gateway(*arguments, "--password-stdin", given=f"{PASSWORD}\n").returncode == 0
    wrong = gateway(*arguments, "--password-stdin", given="guess\n")
    assert wrong.returncode == 2
    assert f"{served.address} refused the login" in wrong.stderr


def test_with_no_key_and_nobody_to_ask_the_option_is_named(
    gateway: Run, served: Served, known_hosts: Path, tmp_path: Path
) -> None:
    file = written(tmp_path / "nokey.csv", GOOD)
    arguments = ["drop", file, "--to", served.address, "--feed", "profiles", "--known-hosts", known_hosts]
    done = gateway(*arguments, HOME=str(tmp_path), SSH_AUTH_SOCK="")
    assert done.returncode == 2
    assert "name one with --key" in done.stderr


def test_a_key_with_a_passphrase_and_nobody_to_ask_is_said(drop: Drop, tmp_path: Path) -> None:
    done = drop(written(tmp_path / "locked.csv", GOOD), "--key", make_key(tmp_path / "locked", "secret"))
    assert done.returncode == 3
    assert "the key has a passphrase" in done.stderr


def test_what_is_not_a_private_key_is_said(drop: Drop, served: Served, tmp_path: Path) -> None:
    done = drop(written(tmp_path / "public.csv", GOOD), "--key", served.root / "creator.pub")
    assert done.returncode == 3
    assert "this is not a private key that can be used" in done.stderr


@pytest.mark.rule("C4")
def test_a_viewer_is_turned_away_in_words(drop: Drop, served: Served, tmp_path: Path) -> None:
    viewer = f"viewer@127.0.0.1:{served.port}"
    done = drop(written(tmp_path / "viewer.csv", GOOD), "--to", viewer, "--key", served.root / "viewer")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")


def test_an_unknown_feed_is_refused_with_the_likely_one(drop: Drop, tmp_path: Path) -> None:
    done = drop(written(tmp_path / "feed.csv", GOOD), "--feed", "profile")
    assert done.returncode == 2
    feeds = "done_marker, profiles, sha256, userpilot"
    assert f"there is no feed 'profile' in /inbox; did you mean 'profiles'? (feeds: {feeds})" in done.stderr


def test_nobody_there_exits_with_3(drop: Drop, tmp_path: Path) -> None:
    done = drop(written(tmp_path / "nobody.csv", GOOD), "--to", "creator@127.0.0.1:1")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no connection to creator@127.0.0.1:1: Unable to connect" in done.stderr


@pytest.mark.parametrize(
    "address", ["127.0.0.1:22", "creator@", "creator@host:99999", "creator@host:port", "a b@host:1:2"]
)
def test_a_wrong_address_is_wrong_usage(gateway: Run, tmp_path: Path, address: str) -> None:
    done = gateway("drop", written(tmp_path / "f.csv", GOOD), "--to", address, "--feed", "profiles")
    assert done.returncode == 64
    assert "is not USER@HOST:PORT" in done.stderr


def test_two_files_of_one_name_are_wrong_usage(drop: Drop, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    done = drop(written(tmp_path / "same.csv", GOOD), written(tmp_path / "sub" / "same.csv", GOOD))
    assert done.returncode == 64
    assert "same name" in done.stderr


def test_no_report_in_time_says_where_it_will_be(gateway: Run, tmp_path: Path) -> None:
    set_up(tmp_path / "slow")
    with serving(tmp_path / "slow", GATEWAY_PICKUP_SETTLE_SECONDS="60") as slow:
        known_hosts = trusted(slow, tmp_path / "known_hosts")
        arguments: list[str | Path] = [
            "--to",
            slow.address,
            "--feed",
            "profiles",
            "--key",
            slow.root / "creator",
            "--wait",
        ]
        file = written(tmp_path / "late.csv", GOOD)
        done = gateway("drop", file, *arguments, "--known-hosts", known_hosts, "--timeout", "0")
        assert done.returncode == 3
        assert "look for /outbox/profiles/late.csv.report.json later" in done.stderr

        waiting = subprocess.Popen(
            command("drop", file, *arguments, "--known-hosts", known_hosts),
            stderr=subprocess.PIPE, text=True, env=clean_environment(),
        )  # fmt: skip
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "Waiting for the report ...\n"
        slow.process.kill()
        assert waiting.wait(timeout=60) == 3
        assert f"the connection to {slow.address} was lost" in waiting.stderr.read()
        waiting.stderr.close()


@pytest.mark.parametrize("proof", ["done_marker", "sha256"])
def test_a_feed_that_asks_for_a_proof_gets_it(drop: Drop, tmp_path: Path, proof: str) -> None:
    file = written(tmp_path / "proved.csv", GOOD)
    done = drop(file, "--feed", proof, "--proof", proof, "--wait")
    assert (done.returncode, "accepted" in done.stdout) == (0, True), done.stderr


def test_what_holds_a_file_is_told_while_one_waits(gateway: Run, served: Served, drop: Drop, tmp_path: Path) -> None:
    file = written(tmp_path / "held.csv", GOOD)
    done = drop(file, "--feed", "done_marker", "--wait", "--timeout", "5")
    assert done.returncode == 3
    assert "Held: held.csv.done has not come yet (until 20" in done.stderr
    assert "Upload an empty file held.csv.done when held.csv is complete." in done.stderr


def test_no_secret_and_no_value_is_in_the_gateways_log(drop: Drop, served: Served, tmp_path: Path) -> None:
    drop(written(tmp_path / "quiet.csv", GOOD + "4242424242,Nobody Else,1\n"), "--wait")
    log = (served.root / "log").read_text()
    assert "quiet.csv" in log
    for secret in (PASSWORD, "4242424242", "Nobody Else"):
        assert secret not in log
