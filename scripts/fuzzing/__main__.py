"""Runs a fuzz, or one case of it again; prints a table, and each thing that is wrong."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import click
from rich.console import Console
from rich.table import Table

from scripts.fuzzing import sftp, ssh, wire
from scripts.fuzzing.canary import Canary
from scripts.fuzzing.findings import Finding, Wrong
from scripts.fuzzing.site import ATTACKER, CANARY, Site

Case = Callable[[Site, Random], None]
KINDS: dict[str, tuple[Case, int]] = {
    "before the keys": (wire.run, 5),
    "login": (ssh.try_login, 3),
    "channels": (ssh.use_channels, 3),
    "SFTP requests": (sftp.run, 12),
    "SFTP noise": (sftp.noise, 1),
}
"""What is tried, and how often of all."""
GROWTH_MB_MAX = 100
WARM_UP_CASES = 150
CALM_SECONDS_MAX = 60.0
# Connections of the baseline come and go: the canary has one, and threads of pools are started when they are needed.
SPARE_DESCRIPTORS, SPARE_THREADS = 12, 16


@click.command()
@click.option("--minutes", type=click.FloatRange(0.01, 600), default=10, show_default=True, help="How long.")
@click.option("--cases", type=click.IntRange(1), help="So many cases instead, however long they take.")
@click.option("--seed", default="5", show_default=True, help="Decides everything that is sent.")
@click.option("--case", "only", type=click.IntRange(0), help="Only this case of the seed, again.")
@click.option("--threads", type=click.IntRange(1, 64), default=6, show_default=True, help="How many cases at once.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".fuzz"), show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the result there.")
def fuzz(
    minutes: float, cases: int | None, seed: str, only: int | None, threads: int, folder: Path, json_file: Path | None
) -> None:
    """Send a serving gateway what no good client sends: before the keys, at the login, on channels, as SFTP. Another
    partner works meanwhile. Exit code 1: the gateway ended, hung, grew, logged an error, or touched what is outside."""
    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"{folder}: something is there; look at it, remove it, or name another --folder")
    # So that the gateway that was started ends with this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)
    # What paramiko's own threads make of odd answers is not the gateway's fault.
    threading.excepthook = lambda _: None
    run = Run(Site(folder.resolve()), seed, threads)
    run.site.make()
    found = run.play(only, cases, minutes * 60)
    report(found, json_file)
    if found["findings"]:
        sys.exit(f"Everything is in {folder}; one case again: scripts/fuzz --seed {seed} --case N --folder another")
    shutil.rmtree(folder)


class Run:
    """One gateway and the cases that it gets."""

    def __init__(self, site: Site, seed: str, threads: int) -> None:
        self.site = site
        self.findings: list[Finding] = []
        self._seed = seed
        self._threads = threads
        self._done: Counter[str] = Counter()
        self._lock = threading.Lock()

    def play(self, only: int | None, cases: int | None, seconds: float) -> dict:
        """The numbers of the run, and what was wrong."""
        site, canary = self.site, Canary(self.site)
        try:
            site.start()
            site.plant()
            before = site.snapshot()
            canary.start()
            numbers = itertools.count()
            if only is None:
                self._play(itertools.islice(numbers, WARM_UP_CASES), None)
            baseline = self._calm(None)
            end = None if cases else time.monotonic() + seconds
            self._play(iter([only]) if only is not None else itertools.islice(numbers, cases), end)
            after = self._calm(baseline)
            canary.stop()
            self._compare(before, baseline, after)
        finally:
            ended_well = site.stop()
        if not ended_well:
            self._note(None, "SIGTERM did not end the gateway")
        self.findings += [Finding(None, said) for said in canary.failures]
        self.findings += [Finding(None, f"the gateway logged: {line}") for line in site.complaints()[:50]]
        self.findings += [Finding(None, f"logged in without a key: {user}") for user in self._intruders()]
        return {
            "seed": self._seed,
            "cases": dict(self._done),
            "canary_rounds": canary.rounds,
            "canary_longest_seconds": round(canary.longest, 2),
            "before": baseline,
            "after": after,
            "findings": [str(finding) for finding in self.findings],
        }

    def _play(self, numbers: Iterator[int], end: float | None) -> None:
        """The cases of these numbers, several at once, until the time is up."""

        def work() -> None:
            while end is None or time.monotonic() < end:
                with self._lock:
                    number = next(numbers, None)
                if number is None or not self.site.is_alive() or len(self.findings) > 50:
                    break
                self._case(number)
            sftp.leave()

        workers = [threading.Thread(target=work, daemon=True) for _ in range(self._threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _case(self, number: int) -> None:
        pick = Random(f"{self._seed} {number}")
        kind = pick.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
        try:
            KINDS[kind][0](self.site, pick)
        except Wrong as wrong:
            self._note(number, f"{kind}: {wrong}")
        except Exception as error:
            self._note(number, f"{kind}: {type(error).__name__} {error}")
        with self._lock:
            self._done[kind] += 1

    def _calm(self, baseline: dict | None) -> dict:
        """The gateway's size once what was begun has ended: at the latest when logins and sessions run out."""
        deadline = time.monotonic() + CALM_SECONDS_MAX
        lowest = self._size()
        while time.monotonic() < deadline:
            now = self._size()
            settled = now["descriptors"] == lowest["descriptors"] and now["threads"] == lowest["threads"]
            lowest = {name: min(now[name], lowest[name]) for name in now}
            if settled and (baseline is None or not self._left(baseline, now)):
                return now
            time.sleep(2 if baseline is None else 0.5)
        return lowest

    def _size(self) -> dict:
        if not self.site.is_alive():
            return {"memory_mb": 0.0, "descriptors": 0, "threads": 0}
        size = {"descriptors": self.site.descriptors(), "threads": self.site.threads()}
        return {"memory_mb": round(self.site.resident_mb(), 1)} | size

    def _left(self, before: dict, after: dict) -> list[str]:
        """What has not come back to the baseline."""
        spare = {"memory_mb": GROWTH_MB_MAX, "descriptors": SPARE_DESCRIPTORS, "threads": SPARE_THREADS}
        return [
            f"{name}: {before[name]} before, {after[name]} after"
            for name, more in spare.items()
            if after[name] > before[name] + more
        ]

    def _compare(self, before: dict[str, str], baseline: dict, after: dict) -> None:
        if not self.site.is_alive():
            self._note(None, "the gateway ended")
        for said in self._left(baseline, after):
            self._note(None, said)
        now = self.site.snapshot()
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                self._note(None, f"touched outside: {name}: {before.get(name)} is now {now.get(name)}")

    def _intruders(self) -> set[str]:
        """Users who logged in though nobody here has used a key of theirs."""
        users = set()
        for line in self.site.log.read_text(errors="replace").splitlines():
            if '"logged in"' in line:
                users.add(json.loads(line).get("user"))
        return users - {ATTACKER, CANARY}

    def _note(self, case: int | None, said: str) -> None:
        with self._lock:
            self.findings.append(Finding(case, said))


def report(found: dict, json_file: Path | None) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("cases", *KINDS, "another partner", "memory", "descriptors", "threads", "wrong"):
        table.add_column(column, justify="right")
    before, after = found["before"], found["after"]
    table.add_row(
        f"{sum(found['cases'].values()):,}",
        *(f"{found['cases'].get(kind, 0):,}" for kind in KINDS),
        f"{found['canary_rounds']:,} rounds, longest {found['canary_longest_seconds']} s",
        *(f"{before[name]} to {after[name]}" for name in ("memory_mb", "descriptors", "threads")),
        str(len(found["findings"])),
    )
    console = Console(width=None if sys.stdout.isatty() else 180, soft_wrap=True)
    console.print(table)
    for finding in found["findings"]:
        console.print(finding, markup=False, highlight=False)
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    fuzz()
