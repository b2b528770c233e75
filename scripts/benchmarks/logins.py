"""Logins: how many new connections a second a server takes, each with one small file; and what idle sessions cost.

The client is asyncssh in a process of its own, one connection after the other or several at once, with the same
algorithms for both servers; its own part of the time is the same for both.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import asyncssh
from rich.table import Table

from scripts.benchmarks import peers
from scripts.benchmarks.servers import SSHD, Server, gateway, openssh
from scripts.benchmarks.tables import spread, table_with
from scripts.benchmarks.transfer import Run
from scripts.benchmarks.usage import resident_bytes, usage_of

LOGINS, IDLE = 50, 500
QUICK_LOGINS, QUICK_IDLE = 5, 20
AT_ONCE = (1, 4)
SMALL = b"identity,Name\nann,Ann\n"
SECONDS_MAX = 300


def compare(pairs: int, folder: Path, *, quick: bool = False, with_peers: bool = True) -> list[dict[str, Any]]:
    """Logins a second and CPU milliseconds a login, both servers in turn; then the memory of idle sessions."""
    if with_peers and not quick:
        peers.install()
    logins, idle = (QUICK_LOGINS, QUICK_IDLE) if quick else (LOGINS, IDLE)
    with ExitStack() as stack:
        ours = stack.enter_context(gateway(folder / "gateway"))
        servers = [ours]
        if with_peers and SSHD.exists():
            servers.append(stack.enter_context(openssh(folder / "openssh", ours.key)))
        runs = [in_turn(servers, logins, pairs, at_once) for at_once in AT_ONCE]
        return [*runs, sessions(servers, idle)]


def in_turn(servers: list[Server], count: int, pairs: int, at_once: int) -> dict[str, Any]:
    runs: dict[str, list[Run]] = {server.name: [] for server in servers}
    # The first round is not counted: it fills the caches of both.
    for round_number in range(pairs + 1):
        for server in servers:
            run = measured(server, count, at_once)
            if round_number:
                runs[server.name].append(run)
    found: dict[str, Any] = {"what": f"{count} logins with one small file each, {at_once} at once"}
    found["servers"] = {name: {key: median(run[key] for run in done) for key in done[0]} for name, done in runs.items()}
    if "OpenSSH" in runs:
        pairs_of = zip(runs["gateway"], runs["OpenSSH"], strict=True)
        ratios = [a["logins/s"] / b["logins/s"] for a, b in pairs_of]
        found["ratio"] = {"median": median(ratios), "min": min(ratios), "max": max(ratios)}
    return found


def measured(server: Server, count: int, at_once: int) -> Run:
    with usage_of(server) as usage:
        client = begin(server, "log in", count, at_once)
        out, _ = client.communicate(timeout=SECONDS_MAX)
    if client.returncode:
        sys.exit(f"{server.name}: the client's program ended with {client.returncode}")
    seconds = float(out)
    return {"logins/s": count / seconds, "CPU ms/login": usage.cpu_seconds / count * 1000}


def sessions(servers: list[Server], count: int) -> dict[str, Any]:
    """What the resident memory grows by, and to, with so many sessions that do nothing."""
    found: dict[str, Any] = {"what": f"{count} idle sessions", "servers": {}}
    for server in servers:
        before = resident_bytes(server)
        client = begin(server, "stay", count)
        if client.stdout is None or not client.stdout.readline():
            sys.exit(f"{server.name}: the client did not get its {count} sessions")
        after = resident_bytes(server)
        found["servers"][server.name] = {"MB": after / 1e6, "KB/session": (after - before) / count / 1e3}
        client.communicate("end\n", timeout=SECONDS_MAX)
    return found


def begin(server: Server, what: str, count: int, at_once: int = 1) -> subprocess.Popen[str]:
    given = {"port": server.port, "user": server.user, "key": str(server.key), "known": str(server.known_hosts)}
    given |= {"inbox": server.inbox, "at_once": at_once}
    command = [sys.executable, "-m", "scripts.benchmarks.logins", what, str(count), json.dumps(given)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def connect(given: dict[str, Any], key: asyncssh.SSHKey) -> Any:
    return asyncssh.connect(
        "127.0.0.1", given["port"], username=given["user"], client_keys=[key], known_hosts=given["known"],
        config=None, agent_path=None, encryption_algs=["aes128-gcm@openssh.com"], kex_algs=["curve25519-sha256"],
        login_timeout=SECONDS_MAX,
    )  # fmt: skip


async def log_in(given: dict[str, Any], count: int) -> None:
    """Prints the seconds that it took."""
    key, numbers = asyncssh.read_private_key(given["key"]), iter(range(count))

    async def one_after_the_other() -> None:
        for number in numbers:
            async with (
                connect(given, key) as connection,
                connection.start_sftp_client() as client,
                client.open(f"{given['inbox']}/small{number}.csv", "wb") as file,
            ):
                await file.write(SMALL)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(given["at_once"])))
    print(time.perf_counter() - began)


async def stay(given: dict[str, Any], count: int) -> None:
    """Prints a line when all are there, and ends when it is told to."""
    key = asyncssh.read_private_key(given["key"])
    for _ in range(count):
        connection = await connect(given, key)
        await connection.start_sftp_client()
    print("here", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def table_of(results: list[dict[str, Any]]) -> Table:
    columns = ("logins/s", "CPU ms/login", "MB", "KB/session")
    table = table_with("what", "server", *columns, "x OpenSSH (min to max)", left=2)
    for result in results:
        for name, one in result["servers"].items():
            found = result.get("ratio") if name == "gateway" else None
            table.add_row(
                result["what"] if name == "gateway" else "",
                name,
                *(f"{one[key]:,.1f}" if key in one else "" for key in columns),
                spread(found) if found else "",
            )
    return table


if __name__ == "__main__":
    asyncio.run({"log in": log_in, "stay": stay}[sys.argv[1]](json.loads(sys.argv[3]), int(sys.argv[2])))
