"""The peers of the benchmarks: other servers, and the clients that put files to all of them, installed from Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

SERVERS = {"/usr/sbin/sshd": "openssh-server"}
FOR_THE_RECORD = {"/usr/sbin/proftpd": "proftpd-core", "/usr/lib/proftpd/mod_sftp.so": "proftpd-mod-crypto"}
CLIENTS = {
    "sftp": "openssh-client",
    "lftp": "lftp",
    "psftp": "putty-tools",
    "puttygen": "putty-tools",
    "rclone": "rclone",
    "curl": "curl",
}


def install() -> None:
    """All of them, or an end with the command that does it."""
    packages = missing(SERVERS | FOR_THE_RECORD | CLIENTS)
    if not packages:
        return
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    if os.geteuid() or not shutil.which("apt-get"):
        sys.exit(
            "The benchmark needs programs that are not here. Install them, then run this again: "
            f"sudo {' '.join(command)}"
        )
    print(f"Installing for the benchmark: {' '.join(packages)} ...", file=sys.stderr)
    # RUNLEVEL: the packages' own services are not started; the benchmark starts what it needs on ports of its own.
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for step in (["apt-get", "update", "-qq"], command):
        done = subprocess.run(step, env=quiet, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(step)} failed, so there are no peers to measure beside: {done.stderr.strip()}")


def is_here(program: str) -> bool:
    """A program by its name or path, or a file by its path."""
    return os.path.exists(program) if program.startswith("/") else shutil.which(program) is not None


def missing(programs: dict[str, str]) -> list[str]:
    """The packages of those that are not here."""
    return sorted({package for program, package in programs.items() if not is_here(program)})
