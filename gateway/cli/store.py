"""`gateway store`: how large it is, and its upkeep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import click

from gateway.cli.backup import size_words
from gateway.cli.jobs import JSON_OPTION
from gateway.cli.listing import plainly, print_list
from gateway.cli.options import config_option
from gateway.cli.stored import opened_store, settings_of
from gateway.config import Settings
from gateway.locks import writing

COLUMNS = ("TENANT", "TABLE", "ROWS", "FILES", "SIZE", "ON DISK", "VERSION", "LAST COMMIT")


@click.group()
def store() -> None:
    """Show how large the store is, and keep it small."""


@store.command()
@click.argument("tenants", metavar="[TENANT]...", nargs=-1)
@JSON_OPTION
@config_option
def status(tenants: tuple[str, ...], as_json: bool, root: Path) -> None:
    """List the tables of each TENANT (of all, when none is given): rows, files, size, and the last commit to each."""
    from gateway.store.sizes import sizes

    settings = settings_of(root, *tenants)
    found = [(name, one) for name in tenants or settings.tenants for one in sizes(opened_store(settings, name))]
    if as_json:
        click.echo(json.dumps([{"tenant": name} | asdict(one) for name, one in found], indent=2))
    elif not found:
        click.echo("Nothing is stored yet.")
    else:
        print_list(
            COLUMNS,
            [
                (
                    name, one.table, f"{one.rows:,}", f"{one.files:,}", size_words(one.bytes),
                    "-" if one.on_disk is None else size_words(one.on_disk), f"{one.version:,}",
                    f"{one.sequence:,}" if one.sequence else "-",
                )
                for name, one in found
            ],
        )  # fmt: skip


@store.command()
@click.argument("tenants", metavar="[TENANT]...", nargs=-1)
@click.option(
    "--keep-hours",
    type=click.IntRange(1),
    default=7 * 24,
    show_default=True,
    help="Keep files that were replaced for so long: whoever reads the table as it was needs them.",
)
@config_option
def optimize(tenants: tuple[str, ...], keep_hours: int, root: Path) -> None:
    """Make few files of many small ones, remove files that were replaced, and shorten the logs. A gateway may serve."""
    settings = settings_of(root, *tenants)
    for tenant in tenants or settings.tenants:
        click.echo(plainly("\n".join(optimized(settings, tenant, timedelta(hours=keep_hours)))))


def optimized(settings: Settings, tenant: str, horizon: timedelta) -> Sequence[str]:
    """Do it for one tenant, between two commits; what was done, in lines."""
    from gateway.store import optimize as upkeep
    from gateway.store.sizes import Size, sizes

    store = opened_store(settings, tenant)
    if not sizes(store):
        return [f"{tenant}: nothing is stored yet."]
    with writing(settings.data_dir, tenant):
        store.refresh()
        before = sizes(store)
        done = upkeep.optimize(store, horizon)
        after = sizes(store)

    def on_disk(found: Sequence[Size]) -> int:
        return sum(one.on_disk or 0 for one in found)

    def size(found: Sequence[Size]) -> int:
        return sum(one.bytes for one in found if one.table == "events")

    lines = [
        f"{tenant}: events: {done.files_before:,} files ({size_words(size(before))}) became {done.files_after:,} "
        f"({size_words(size(after))})" if done.months else f"{tenant}: events: no small files to put together",
        f"{tenant}: {done.placed:,} profiles and companies that came last put into their buckets",
        f"{tenant}: {done.removed:,} files removed that were replaced more than {horizon / timedelta(hours=1):g} h ago",
    ]  # fmt: skip
    if all(one.on_disk is not None for one in before):
        lines.append(f"{tenant}: {size_words(on_disk(before))} on disk before, {size_words(on_disk(after))} now")
    return lines
