"""Transfers: the same client puts the same file to the gateway and to OpenSSH's server, in turn; and gets one back.

The gateway does all that it always does: extents, the ledger, fsync before the acknowledgement. OpenSSH's server
syncs only where the client asks for it. ProFTPD's mod_sftp takes part for the record: of no ratio but its own.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from scripts.benchmarks import peers
from scripts.benchmarks.clients import AT_ONCE, CLIENTS, IN_PARALLEL, Client
from scripts.benchmarks.servers import PROFTPD, SSHD, Server, gateway, openssh, proftpd
from scripts.benchmarks.tables import spread, table_with
from scripts.benchmarks.usage import usage_of

GIB = 2**30
QUICK_BYTES = 4 * 2**20
FOR_THE_RECORD = "put by sftp, default ciphers"
"""The one client that ProFTPD is measured with: Debian's has no AES-GCM."""
Run = dict[str, float]


def compare(
    pairs: int, folder: Path, *, quick: bool = False, size: int = GIB, only: str = "", with_peers: bool = True
) -> list[dict[str, Any]]:
    """Every client with each server in turn, pair by pair: medians of MiB/s, CPU seconds a GiB and peak memory, and
    the ratio to OpenSSH's server. A `quick` one takes the peers that are here, and does without the others."""
    if with_peers and not quick:
        peers.install()
    size = QUICK_BYTES if quick else size
    wanted = [client for client in (*CLIENTS, IN_PARALLEL) if only in client.name and is_possible(client)]
    with ExitStack() as stack:
        ours = stack.enter_context(gateway(folder / "gateway"))
        servers = [ours]
        if with_peers and SSHD.exists():
            servers.append(stack.enter_context(openssh(folder / "openssh", ours.key)))
        record = list(servers)
        if with_peers and PROFTPD.exists() and any(client.name == FOR_THE_RECORD for client in wanted):
            record.append(stack.enter_context(proftpd(folder / "proftpd", ours.key)))
        return [
            one_client(
                client, int(size * client.share), pairs, folder, record if client.name == FOR_THE_RECORD else servers
            )
            for client in wanted
        ]


def is_possible(client: Client) -> bool:
    return client.program is None or peers.is_here(client.program)


def one_client(client: Client, size: int, pairs: int, folder: Path, servers: list[Server]) -> dict[str, Any]:
    path = random_file(folder, size)
    if client.gets:
        for server in servers:
            (server.disk / path.name).write_bytes(path.read_bytes())
    total = size * (AT_ONCE if client is IN_PARALLEL else 1)
    runs: dict[str, list[Run]] = {server.name: [] for server in servers}
    # The first round is not counted: it fills the caches of all.
    for round_number in range(pairs + 1):
        for server in servers:
            run = measured(client, server, path, total)
            if round_number:
                runs[server.name].append(run)
    path.unlink()
    found: dict[str, Any] = {"what": client.name, "MiB": total / 2**20}
    found["servers"] = {name: {key: median(run[key] for run in done) for key in done[0]} for name, done in runs.items()}
    if "OpenSSH" in runs:
        found["ratio"] = ratio(runs)
    return found


def ratio(runs: dict[str, list[Run]]) -> Run:
    """How many times as fast as OpenSSH's server."""
    ratios = [a["MiB/s"] / b["MiB/s"] for a, b in zip(runs["gateway"], runs["OpenSSH"], strict=True)]
    return {"median": median(ratios), "min": min(ratios), "max": max(ratios)}


def measured(client: Client, server: Server, path: Path, total: int) -> Run:
    # Who does not sync leaves that to whoever comes next.
    os.sync()
    with usage_of(server) as usage:
        began = time.perf_counter()
        client.put(server, path)
        seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "MiB/s": total / 2**20 / seconds,
        "CPU s/GiB": usage.cpu_seconds / total * GIB,
        "peak MB": usage.peak_bytes / 1e6,
    }


def random_file(folder: Path, size: int) -> Path:
    path = folder / f"random-{size}.bin"
    with path.open("wb") as file:
        for at in range(0, size, 2**20):
            file.write(os.urandom(min(2**20, size - at)))
    return path


def table_of(results: list[dict[str, Any]]) -> Table:
    table = table_with("what", "server", "MiB", "MiB/s", "CPU s/GiB", "peak MB", "x OpenSSH (min to max)", left=2)
    for result in results:
        for name, one in result["servers"].items():
            first = name == "gateway"
            found = result.get("ratio") if first else None
            table.add_row(
                result["what"] if first else "",
                name,
                f"{result['MiB']:,.0f}" if first else "",
                f"{one['MiB/s']:,.0f}",
                f"{one['CPU s/GiB']:.2f}",
                f"{one['peak MB']:,.0f}",
                spread(found) if found else "",
            )
    return table


@click.command()
@click.option("--only", default="", help="Only clients in whose name this stands.")
@click.option("--mib", default=GIB // 2**20, show_default=True, help="Size of the file; slow clients get a part.")
@click.option("--pairs", default=5, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".bench"), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(only: str, mib: int, pairs: int, folder: Path, as_json: bool) -> None:
    """Some clients, and some size."""
    folder.mkdir(parents=True, exist_ok=True)
    found = compare(pairs, folder.resolve(), size=mib * 2**20, only=only)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        Console(width=160).print(table_of(found))


if __name__ == "__main__":
    main()
