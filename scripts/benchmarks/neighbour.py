"""A noisy neighbour: what is left of one tenant's throughput while another takes all connections that it may, and
uploads bombs and garbage as fast as they go.

Each phase has a gateway of its own. The attacker's program runs with the lowest priority: what is measured is how the
gateway divides itself, not how the machine divides itself between its clients.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import asyncssh

from scripts.benchmarks.serving import USERS, Serving

# The limits are for a tenant 128 and for a user 64 connections.
CONNECTIONS_OF_A_USER = 64
LOGINS_AT_ONCE = 16
UPLOADS_AT_ONCE = 8
HEADER = b"identity,Name\n"
# Each tenant has an address of his own: one address may not have more connections than one tenant.
ADDRESSES = {"victim": "127.0.0.2", "attacker": "127.0.0.3"}
REPORT_SECONDS_MAX = 600.0
MEASURES = {"small drops": "jobs/s", "large upload": "MB/s"}
SIZES = {"drops": 300, "large_bytes": 64_000_000, "bomb_bytes": 100_000_000, "lead_seconds": 5.0}
QUICK = {"drops": 10, "large_bytes": 1_000_000, "bomb_bytes": 5_000_000, "lead_seconds": 1.0, "connections": 8}


def compare(pairs: int, folder: Path, *, quick: bool = False) -> list[dict[str, Any]]:
    """Alone and beside the attacker in turn, pair by pair; for each measure the medians and the ratio."""
    sizes = {"connections": CONNECTIONS_OF_A_USER * len(USERS["attacker"])} | (QUICK if quick else SIZES)
    runs: dict[str, list[dict[str, float]]] = {"alone": [], "attacked": []}
    for _ in range(pairs):
        for name, done in runs.items():
            done.append(phase(folder, sizes, attacked=name == "attacked"))
    return [result(measure, runs) for measure in MEASURES]


def result(measure: str, runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    pairs = zip(runs["attacked"], runs["alone"], strict=True)
    ratios = [attacked[measure] / alone[measure] for attacked, alone in pairs]
    return {
        "what": measure,
        "unit": MEASURES[measure],
        **{name: median(run[measure] for run in done) for name, done in runs.items()},
        "attacker_drops": median(run["attacker_drops"] for run in runs["attacked"]),
        "ratio": {"median": median(ratios), "min": min(ratios), "max": max(ratios)},
    }


def phase(folder: Path, sizes: dict[str, float], *, attacked: bool) -> dict[str, float]:
    """The victim's rates on a fresh gateway."""
    root = Path(tempfile.mkdtemp(dir=folder))
    attackers: list[subprocess.Popen[bytes]] = []
    try:
        with Serving(root) as serving:
            if attacked:
                attackers = [begin("attacker", user, serving, sizes) for user in USERS["attacker"]]
                wait_for_the_attack(attackers, sizes)
            victim = begin("victim", USERS["victim"][0], serving, sizes)
            out, _ = victim.communicate(timeout=2 * REPORT_SECONDS_MAX)
            if victim.returncode:
                raise SystemExit(f"the victim's program ended with {victim.returncode}")
            found: dict[str, float] = json.loads(out)
            drops = sum(1 for _ in serving.outbox("attacker").glob("*.report.json"))
            return found | {"attacker_drops": drops}
    finally:
        for attacker in attackers:
            attacker.kill()
            attacker.wait()
        shutil.rmtree(root)


def begin(role: str, user: str, serving: Serving, sizes: dict[str, float]) -> subprocess.Popen[bytes]:
    given: dict[str, Any] = {"role": role, "user": user, "port": serving.port, "key": str(serving.key)}
    given |= {"outbox": str(serving.outbox("victim"))} | sizes
    command = [sys.executable, "-m", "scripts.benchmarks.neighbour", json.dumps(given)]
    # What the attacker's library says of refusals and of its end is of no use.
    errors = subprocess.DEVNULL if role == "attacker" else None
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)


def wait_for_the_attack(attackers: list[subprocess.Popen[bytes]], sizes: dict[str, float]) -> None:
    """Until all connections are there, and the first bombs have come."""
    for attacker in attackers:
        if attacker.stdout is None or not attacker.stdout.readline():
            raise SystemExit("the attacker's program did not get its connections")
    time.sleep(sizes["lead_seconds"])


async def connected(given: dict[str, Any]) -> asyncssh.SFTPClient:
    connection = await asyncssh.connect(
        "127.0.0.1", given["port"], username=given["user"], client_keys=[given["key"]], known_hosts=None, config=None,
        agent_path=None, login_timeout=120, local_addr=(ADDRESSES[given["role"]], 0),
    )  # fmt: skip
    return await connection.start_sftp_client()


async def put(client: asyncssh.SFTPClient, name: str, content: bytes) -> None:
    async with client.open(f"/inbox/people/{name}", "wb") as file:
        await file.write(content)


async def victim(given: dict[str, Any]) -> None:
    """Small drops over one connection, several at once; then one large file. Counts until the last report is there."""
    client = await connected(given)
    names = iter(range(given["drops"]))

    async def upload() -> None:
        for number in names:
            await put(client, f"small{number}.csv", HEADER + b"%d,Ann\n" % number)

    began = time.perf_counter()
    await asyncio.gather(*(upload() for _ in range(UPLOADS_AT_ONCE)))
    await reports(given, "small*.report.json", given["drops"])
    small = given["drops"] / (time.perf_counter() - began)
    content = large(given["large_bytes"])
    began = time.perf_counter()
    await put(client, "large.csv", content)
    await reports(given, "large.csv.report.json", 1)
    rate = len(content) / 1e6 / (time.perf_counter() - began)
    print(json.dumps({"small drops": small, "large upload": rate}))


async def reports(given: dict[str, Any], pattern: str, count: int) -> None:
    """Wait for them, on the disk: what a client would ask for costs the gateway something."""
    outbox = Path(given["outbox"])
    async with asyncio.timeout(REPORT_SECONDS_MAX):
        while len(list(outbox.glob(pattern))) < count:  # noqa: ASYNC110, ASYNC240 - Nothing else is to be done here.
            await asyncio.sleep(0.02)


def large(size: int) -> bytes:
    row = b"%09d,Somebody with a name that is not short at all\n"
    return HEADER + b"".join(row % number for number in range(size // len(row % 0)))


async def attacker(given: dict[str, Any]) -> None:
    """All connections of one user, each uploading without a pause until the process is killed."""
    bomb = gzip.compress(b"1,Ann\n" * (given["bomb_bytes"] // 6), 9)
    gate = asyncio.Semaphore(LOGINS_AT_ONCE)

    async def connect() -> asyncssh.SFTPClient:
        async with gate:
            return await connected(given)

    clients = await asyncio.gather(*(connect() for _ in range(given["connections"] // len(USERS["attacker"]))))
    print("connected", flush=True)
    await asyncio.gather(*(attack(client, number, bomb) for number, client in enumerate(clients)))


async def attack(client: asyncssh.SFTPClient, number: int, bomb: bytes) -> None:
    """Bombs and garbage in turn; what the gateway refuses is tried again under another name."""
    pick = Random(number)
    for turn in range(10**9):
        name = f"{os.getpid()}-{number}-{turn}"
        with suppress(asyncssh.SFTPError):
            if turn % 2:
                await put(client, f"{name}.csv", pick.randbytes(1_000_000))
            else:
                # A first member of its own: no two bombs are the same bytes.
                await put(client, f"{name}.csv.gz", gzip.compress(HEADER + name.encode() + b",x\n") + bomb)


ROLES: dict[str, Callable[[dict[str, Any]], Any]] = {"victim": victim, "attacker": attacker}


def main() -> None:
    given = json.loads(sys.argv[1])
    if given["role"] == "attacker":
        os.nice(19)
    asyncio.run(ROLES[given["role"]](given))


if __name__ == "__main__":
    main()
