"""The servers that are measured: our own gateway, OpenSSH's and ProFTPD's, each on a loopback port of its own.

All take the same key, and clients are told all host keys, so that a client's command differs in user, port and folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from scripts.soaking.site import START_SECONDS_MAX, USER, Site, free_port

SSHD = Path("/usr/sbin/sshd")
PROFTPD = Path("/usr/sbin/proftpd")
# What lands in a transfer must not become a job beside it: it does not settle before the benchmark is over. The one
# worker is there when the gateway listens, so that its memory can be left out.
GATEWAY = """
[sftp]
host = "127.0.0.1"
port = {port}
{sftp}
[limits]
connections_max_per_user = 600
connections_max_per_tenant = 600
connections_max_per_address = 600
connections_max = 1200
unauthenticated_max_per_address = 600
unauthenticated_max = 600
sessions_max_per_tenant = 600
[engine]
workers = 1
[pickup]
settle_seconds = 86400
scan_seconds = 30
[log]
level = "warning"
"""
OPENSSH = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {key}.pub
PidFile {folder}/server.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
LogLevel ERROR
MaxStartups 1000
MaxSessions 1000
Subsystem sftp internal-sftp
"""
PROFTPD_SETTINGS = """
LoadModule mod_sftp.c
ServerName benchmark
ServerType standalone
Port {port}
DefaultAddress 127.0.0.1
SocketBindTight on
UseIPv6 off
PidFile {folder}/server.pid
ScoreboardFile {folder}/scoreboard
DelayTable {folder}/delay
SystemLog {folder}/log
AuthUserFile {folder}/users
AuthOrder mod_auth_file.c
RequireValidShell off
User {user}
Group {group}
RootLogin on
UseFtpUsers off
MaxInstances 1000
AllowOverwrite on
AllowStoreRestart on
SFTPEngine on
SFTPLog {folder}/sftp_log
SFTPHostKey {folder}/host_key
SFTPAuthorizedUserKeys file:{folder}/authorized
SFTPAuthMethods publickey
"""


@dataclass(frozen=True)
class Server:
    """One that serves. `inbox` is where files go, `results` from where one reads, as its clients name them."""

    name: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    inbox: str
    results: str
    disk: Path
    """`results` on this machine's disk."""
    pid: int
    apart: tuple[int, ...] = ()
    """Processes of it that take no part in a transfer: their memory is not counted."""

    @property
    def at(self) -> str:
        return f"{self.user}@127.0.0.1"

    def ssh_options(self) -> list[str]:
        return [
            *("-q", "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i", str(self.key), "-F", "/dev/null"),
        ]


@contextmanager
def gateway(folder: Path, *, sftp: str = "") -> Iterator[Server]:
    """Our own, as `gateway serve` starts it, in a new folder; `sftp` are further lines of that table."""
    site = Site(folder)
    shutil.rmtree(folder, ignore_errors=True)
    site.make()
    (site.root / "gateway.toml").write_text(GATEWAY.format(port=site.port, sftp=sftp))
    pid = site.start()
    try:
        yield Server(
            "gateway", site.port, USER, site.key, site.known_hosts, "/inbox/people", "/outbox/people",
            site.outbox / "people", pid, tuple(site.workers()),
        )  # fmt: skip
    finally:
        site.stop()
        site.clear()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def openssh(folder: Path, key: Path) -> Iterator[Server]:
    """OpenSSH's own server, in the foreground, for the user who runs this."""
    port = prepared(folder)
    # As Debian starts it: sshd wants this folder, which is empty.
    Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "settings").write_text(OPENSSH.format(port=port, folder=folder, key=key))
    with running("OpenSSH", [str(SSHD), "-D", "-e", "-f", str(folder / "settings")], folder, port, key) as server:
        yield server


@contextmanager
def proftpd(folder: Path, key: Path) -> Iterator[Server]:
    """ProFTPD with mod_sftp, in the foreground, for the user who runs this."""
    port = prepared(folder)
    me = pwd.getpwuid(os.geteuid())
    group = str(os.getegid()) if os.geteuid() else "root"
    settings = PROFTPD_SETTINGS.format(port=port, folder=folder, user=me.pw_name, group=group)
    (folder / "settings").write_text(settings)
    # Nobody logs in by the password, which is none.
    (folder / "users").write_text(f"{me.pw_name}:*:{me.pw_uid}:{me.pw_gid}::{folder / 'in'}:/bin/sh\n")
    (folder / "users").chmod(0o600)
    public = asyncssh.read_public_key(key.with_suffix(".pub"))
    (folder / "authorized").write_bytes(public.export_public_key("rfc4716"))
    with running("ProFTPD", [str(PROFTPD), "-n", "-c", str(folder / "settings")], folder, port, key) as server:
        yield server


def prepared(folder: Path) -> int:
    """A folder with a host key of its own; the port."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    port = free_port()
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    host_key.write_private_key(folder / "host_key")
    (folder / "host_key").chmod(0o600)
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}")
    return port


@contextmanager
def running(name: str, command: list[str], folder: Path, port: int, key: Path) -> Iterator[Server]:
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        wait_for(folder / "server.pid", process, name)
        inside = str(folder / "in")
        user = pwd.getpwuid(os.geteuid()).pw_name
        yield Server(name, port, user, key, folder / "known_hosts", inside, inside, folder / "in", process.pid)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(path: Path, process: subprocess.Popen[bytes], name: str) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = (path.parent / "said").read_text(errors="replace").strip()
            sys.exit(f"{name}'s server did not start: {said or 'it said nothing'}")
        time.sleep(0.02)
