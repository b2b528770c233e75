"""Clients of the benchmarks: each puts a file to a server, or gets one, as a partner would with that program."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import paramiko

from scripts.benchmarks.servers import Server

GCM = ("-o", "Ciphers=aes128-gcm@openssh.com")
Put = Callable[[Server, Path], None]


@dataclass(frozen=True)
class Client:
    """How one puts a file, and the share of the size that it is given: the slow ones would take minutes."""

    name: str
    put: Put
    share: float
    program: str | None = None
    """What must be installed for it."""
    gets: bool = False
    """The file is on the server, and comes from there."""


def run(command: list[str], script: str = "") -> None:
    done = subprocess.run(command, input=script.encode(), check=False, capture_output=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: {done.stderr.decode(errors='replace')}")


def sftp(*options: str, verb: str = "put") -> Put:
    def put(server: Server, path: Path) -> None:
        command = ["sftp", *server.ssh_options(), *options, "-P", str(server.port), "-b", "-", server.at]
        run(command, f"{verb} {path} {server.inbox}/{path.name}\n")

    return put


def get(server: Server, path: Path) -> None:
    """To nowhere: the disk of the client is not measured."""
    command = ["sftp", *server.ssh_options(), *GCM, "-P", str(server.port), "-b", "-", server.at]
    run(command, f"get {server.results}/{path.name} /dev/null\n")


def lftp(server: Server, path: Path) -> None:
    program = shlex.join(["ssh", "-a", "-x", *server.ssh_options()])
    words = f"set sftp:connect-program {shlex.quote(program)}; open -u {server.user}, -p {server.port} sftp://127.0.0.1"
    run(["lftp", "-c", f"{words}; put {path} -o {server.inbox}/{path.name}"])


def psftp(server: Server, path: Path) -> None:
    key = f"{server.key}.ppk"
    if not Path(key).exists():
        run(["puttygen", str(server.key), "-O", "private", "-o", key])
    options = ["-batch", "-P", str(server.port), "-i", key, "-hostkey", host_key(server), "-b", "/dev/stdin"]
    run(["psftp", *options, server.at], f"put {path} {server.inbox}/{path.name}\n")


def host_key(server: Server) -> str:
    line = server.known_hosts.read_text().splitlines()[0]
    return asyncssh.import_public_key(line.split(" ", 1)[1]).get_fingerprint()


def rclone(server: Server, path: Path) -> None:
    remote = f":sftp,host=127.0.0.1,port={server.port},user={server.user},key_file={server.key},shell_type=none:"
    # The name is there from the run before: without this it would look at times and sizes, and put nothing.
    options = ["--config", "/dev/null", "--ignore-times", "copyto"]
    run(["rclone", *options, str(path), f"{remote}{server.inbox}/{path.name}"])


def curl(server: Server, path: Path) -> None:
    keys = ["--key", str(server.key), "--pubkey", f"{server.key}.pub", "--insecure"]
    target = f"sftp://{server.user}@127.0.0.1:{server.port}{server.inbox}/{path.name}"
    run(["curl", "-sSf", *keys, "-T", str(path), target])


def with_paramiko(server: Server, path: Path) -> None:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(server.known_hosts))
        client.connect(
            "127.0.0.1", server.port, server.user, key_filename=str(server.key), look_for_keys=False, allow_agent=False
        )
        client.open_sftp().put(str(path), f"{server.inbox}/{path.name}")


def with_asyncssh(server: Server, path: Path) -> None:
    async def put() -> None:
        known, keys = str(server.known_hosts), [str(server.key)]
        async with (
            asyncssh.connect(
                "127.0.0.1", server.port, username=server.user, known_hosts=known, client_keys=keys, config=None
            ) as connection,
            connection.start_sftp_client() as client,
        ):
            await client.put(str(path), f"{server.inbox}/{path.name}")

    asyncio.run(put())


def parallel(count: int, put: Put) -> Put:
    """So many clients at once, each with the file under a name of its own."""

    def puts(server: Server, path: Path) -> None:
        names = [path.with_name(f"{number}-{path.name}") for number in range(count)]
        for name in names:
            if not name.exists():
                name.hardlink_to(path)
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda name: put(server, name), names))

    return puts


AT_ONCE = 8
CLIENTS = (
    Client("put by sftp, aes128-gcm", sftp(*GCM), 1, "sftp"),
    Client("put by sftp, default ciphers", sftp(), 1, "sftp"),
    Client("put -f by sftp, aes128-gcm", sftp(*GCM, verb="put -f"), 1, "sftp"),
    Client("get by sftp, aes128-gcm", get, 1, "sftp", gets=True),
    Client("put by lftp", lftp, 0.5, "lftp"),
    Client("put by psftp", psftp, 0.25, "psftp"),
    Client("put by rclone", rclone, 0.5, "rclone"),
    Client("put by curl", curl, 0.25, "curl"),
    Client("put by paramiko", with_paramiko, 0.125),
    Client("put by asyncssh", with_asyncssh, 0.125),
)
IN_PARALLEL = Client(f"put by {AT_ONCE} sftp at once, aes128-gcm", parallel(AT_ONCE, sftp(*GCM)), 0.125, "sftp")
