"""Drops: how long from the acknowledgement to the report, and how many small files a second, ledger and all.

There is no peer here that does the same: the figures are milliseconds and rates.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import asyncssh

from scripts.benchmarks.history import remember
from scripts.benchmarks.serving import USERS, Serving

WAIT_SECONDS_MAX = 900.0
SIZES = {"latency_drops": 200, "small_drops": 10_000, "history": 1_000_000}
QUICK = {"latency_drops": 5, "small_drops": 20, "history": 1_000}
PERCENTILE = 99


def compare(pairs: int, folder: Path, *, quick: bool = False) -> list[dict[str, Any]]:
    """Each measure `pairs` times on a fresh gateway; the medians and the spread of the runs."""
    sizes = QUICK if quick else SIZES
    drops, history = sizes["small_drops"], sizes["history"]
    one_by_one = partial(latency, drops=sizes["latency_drops"])
    at_once = partial(small, drops=drops)
    latencies = f"close to report, 1,000 rows of new people, {sizes['latency_drops']:,} drops one after the other"
    rates = f"inbox to report, {drops:,} files of 10 rows at once"
    measures: dict[str, Callable[[], dict[str, float]]] = {
        latencies: lambda: on_a_gateway(folder, one_by_one),
        f"{latencies}, without a store": lambda: on_a_gateway(folder, one_by_one, has_store=False),
        rates: lambda: on_a_gateway(folder, at_once),
        f"{rates}, without a store": lambda: on_a_gateway(folder, at_once, has_store=False),
        f"the same with {history:,} jobs in the ledger": lambda: on_a_gateway(
            folder, at_once, history, has_store=False
        ),
    }
    return [over_runs(what, [measure() for _ in range(pairs)]) for what, measure in measures.items()]


def over_runs(what: str, runs: list[dict[str, float]]) -> dict[str, Any]:
    figures = {
        name: {"median": median(found), "min": min(found), "max": max(found)}
        for name in runs[0]
        if (found := [run[name] for run in runs])
    }
    return {"what": what, "figures": figures}


def on_a_gateway(
    folder: Path, measure: Callable[[Serving], dict[str, float]], history: int = 0, *, has_store: bool = True
) -> dict[str, float]:
    root = Path(tempfile.mkdtemp(dir=folder))
    try:
        serving = Serving(root, has_store=has_store)
        if history:
            remember(root / "data" / "ledger.db", "victim", "people", history)
        with serving:
            return measure(serving)
    finally:
        shutil.rmtree(root)


def latency(serving: Serving, drops: int) -> dict[str, float]:
    """From the OK of the close to the report in the outbox."""
    seconds = asyncio.run(one_after_the_other(serving, drops))
    return {
        "median ms": median(seconds) * 1000,
        f"{PERCENTILE}th % ms": quantiles(seconds, n=100, method="inclusive")[PERCENTILE - 1] * 1000,
        "max ms": max(seconds) * 1000,
    }


async def one_after_the_other(serving: Serving, drops: int) -> list[float]:
    seconds = []
    async with asyncssh.connect(
        "127.0.0.1", serving.port, username=USERS["victim"][0], client_keys=[serving.key],
        known_hosts=None, config=None, agent_path=None,
    ) as connection, connection.start_sftp_client() as client:  # fmt: skip
        for number in range(drops):
            async with client.open(f"/inbox/people/{number}.csv", "wb") as file:
                await file.write(people(number, 1000))
            began = time.perf_counter()
            await asyncio.to_thread(wait_for, serving.outbox("victim"), f"{number}.csv.report.json")
            seconds.append(time.perf_counter() - began)
    return seconds


def wait_for(outbox: Path, name: str, look_seconds: float = 0.001) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (outbox / name).exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} did not come in {WAIT_SECONDS_MAX:g} seconds")
        time.sleep(look_seconds)


def small(serving: Serving, drops: int) -> dict[str, float]:
    """Files that a local program moves into the inbox of a serving gateway, until the last report is there."""
    outbox, beside = serving.outbox("victim"), serving.root / "beside"
    inbox = outbox.parent.parent / "inbox" / "people"
    beside.mkdir()
    for number in range(drops):
        (beside / f"{number}.csv").write_bytes(people(number, 10))
    began = time.perf_counter()
    for number in range(drops):
        os.rename(beside / f"{number}.csv", inbox / f"{number}.csv")
    # One after the other, whatever their order: to list an outbox of thousands of files, again and again, would take a
    # part of the machine that is measured.
    for number in range(drops):
        wait_for(outbox, f"{number}.csv.report.json", look_seconds=0.05)
    seconds = time.perf_counter() - began
    return {"jobs/s": drops / seconds, "seconds": seconds}


def people(number: int, rows: int) -> bytes:
    """A file like no other."""
    return b"identity,Name,Age\n" + b"".join(
        b"user-%d-%d,Name %d,%d\n" % (number, at, at, at % 90) for at in range(rows)
    )
