"""Runs a soak, or looks again at one that was kept; prints a table, and each thing that is wrong."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from scripts.gateways.process import DoesNotServe
from scripts.soaking.client import Client, Upload
from scripts.soaking.evidence import Evidence, unfinished
from scripts.soaking.killing import Supervisor
from scripts.soaking.outcomes import Check
from scripts.soaking.programs import PROGRAMS
from scripts.soaking.site import Site
from scripts.soaking.summary import summary, tables

ENDING_SECONDS_MAX = 180.0
CLIENTS_END_SECONDS_MAX = 240.0
JOURNAL = "journal.json"


@click.command()
@click.option("--minutes", type=click.FloatRange(0.1, 600), default=10, show_default=True, help="How long.")
@click.option("--clients", type=click.IntRange(1, 100), default=8, show_default=True, help="How many at once.")
@click.option("--seed", default="7", show_default=True, help="Decides names, sizes, contents and moments.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".soak"), show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the result there.")
@click.option("--keep", is_flag=True, help="Leave the folder; it stays in any case when something is wrong.")
@click.option("--check", is_flag=True, help="Run nothing: look again at the folder of a soak that was kept.")
def soak(
    minutes: float, clients: int, seed: str, folder: Path, json_file: Path | None, keep: bool, check: bool
) -> None:
    """Upload with clients of many kinds while the gateway is killed and started again at random moments; then look
    for the one outcome of every upload that was acknowledged. Exit code 1: something is lost, doubled or torn."""
    site = Site(folder.resolve())
    if check:
        kept = json.loads((site.folder / JOURNAL).read_text())
    elif site.folder.exists() and any(site.folder.iterdir()):
        raise click.UsageError(f"{folder}: something is there; look at it with --check, remove it, or name a --folder")
    else:
        kept = run(site, minutes * 60, clients, seed)
    result = Check([Upload.from_dict(one) for one in kept["uploads"]], Evidence(site))
    found = summary(result, kept["kills"], kept["failure"])
    report(found, result, json_file)
    is_good = not result.findings and kept["failure"] is None
    if is_good and not keep and not check:
        shutil.rmtree(site.folder)
    else:
        click.echo(f"Everything is in {folder}")
    sys.exit(0 if is_good else 1)


def run(site: Site, seconds: float, clients: int, seed: str) -> dict:
    """The soak itself; what its clients were told and how often the gateway was killed, also as the journal file."""
    site.make()
    try:
        site.start()
        supervisor = Supervisor(site, seed, seconds)
        crowd = [make_client(site, number, seed, seconds, supervisor) for number in range(clients)]
        for thread in (supervisor, *crowd):
            thread.start()
        failure = wait(site, supervisor, crowd)
    finally:
        site.clear()
    uploads = [upload.to_dict() for client in crowd for upload in client.journal]
    kept = {"uploads": uploads, "kills": dict(supervisor.survived), "failure": failure}
    (site.folder / JOURNAL).write_text(json.dumps(kept, indent=1))
    return kept


def make_client(site: Site, number: int, seed: str, seconds: float, supervisor: Supervisor) -> Client:
    program = PROGRAMS[number % len(PROGRAMS)](site)
    program.prepare()
    return Client(number, program, seed, seconds, supervisor.serving, supervisor.acknowledged)


def wait(site: Site, supervisor: Supervisor, crowd: list[Client]) -> str | None:
    """Until the clients are done and all drops at their end, or for as long as that may take; what went wrong."""
    supervisor.join()
    if supervisor.failure is not None:
        return supervisor.failure
    deadline = time.monotonic() + CLIENTS_END_SECONDS_MAX
    for client in crowd:
        client.join(max(deadline - time.monotonic(), 0))
    if hanging := [client.name for client in crowd if client.is_alive()]:
        return f"{', '.join(hanging)}: did not come back"
    deadline = time.monotonic() + ENDING_SECONDS_MAX
    while unfinished(site) and time.monotonic() < deadline:
        time.sleep(0.2)
    if not site.stop():
        return f"SIGTERM did not end the gateway; its log is {site.log}"
    if supervisor.unclean_stops:
        return f"SIGTERM did not end the gateway {supervisor.unclean_stops} times; its log is {site.log}"
    return None


def report(found: dict, result: Check, json_file: Path | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, soft_wrap=True)
    for table in tables(found):
        console.print(table)
        console.print()
    for finding in result.findings:
        console.print(f"{finding.kind}: {finding.said}", markup=False, highlight=False)
    if found["failure"]:
        console.print(found["failure"], markup=False, highlight=False)
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    try:
        soak()
    except DoesNotServe as error:
        sys.exit(str(error))
