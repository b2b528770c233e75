"""`gateway check`: the very pipeline of the gateway on a local file, with no server; nothing is stored."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway import clock
from gateway.cli.options import config_option

if TYPE_CHECKING:
    # What is heavy is imported when the command runs.
    from gateway.config import FeedSettings
    from gateway.pipeline.drop import Drop

HELD = "  A gateway holds such a file at first, until it is uploaded again or an operator releases it."


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--contract", "name", metavar="NAME", help="What the file must look like.")
@click.option(
    "--against",
    metavar="TENANT/FEED",
    help="Instead: as that feed takes its files, with what its store would make of it. Nothing is stored.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write the result files into this folder."
)
@click.option("--as-of", type=click.DateTime(), help="Judge as if the file had landed then (UTC).")
@click.option("--timezone", help="The zone of times that name none; UTC by default.")
@click.option("--strict", is_flag=True, help="Reject rows where a lenient feed fills in a value and warns.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@config_option
def check(
    file: Path,
    name: str | None,
    against: str | None,
    out: Path | None,
    as_of: datetime | None,
    timezone: str | None,
    strict: bool,
    as_json: bool,
    root: Path,
) -> None:
    """Check FILE against a contract or a feed, exactly as the gateway would.

    Exit code 0: all rows accepted. 1: some rows rejected. 2: the file is refused. 3: the check itself failed.
    64: wrong usage.
    """
    from rich.console import Console

    from gateway.cli import against as feeds
    from gateway.cli.show_report import exit_code, show
    from gateway.pipeline.process import outcome_of
    from gateway.pipeline.publish import publish

    if (against is None) == (name is None):
        raise click.UsageError("say what to check against: --contract NAME, or --against TENANT/FEED")
    if against is not None and (timezone is not None or strict):
        raise click.UsageError("--timezone and --strict go with --contract; a feed has its own")
    if against is not None:
        settings, tenant, feed = feeds.settings_and_feed(root, against)
        policy = feeds.feed_of(settings, tenant, feed)
        drop = feeds.as_dropped(dropped(file, policy, root, as_of), settings, tenant, feed)
    else:
        drop = by_contract(file, str(name), root, as_of, timezone or "UTC", strict)
    with tempfile.TemporaryDirectory(dir=prepared(out), prefix=".check-") as work:
        staging = Path(work) / "out"
        outcome = outcome_of(drop, staging)
        if against is not None:
            outcome = feeds.asked(drop, staging, outcome, settings)
        report: dict[str, Any] = json.loads((staging / outcome.files[-1].staged).read_text(encoding="utf-8"))
        if out:
            publish(outcome, staging, out)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        console = Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty())
        show(report, console)
        if "suspect_cut_off" in report["problems_by_code"]:
            console.print(HELD, style="dim", soft_wrap=True)
    sys.exit(exit_code(report))


def by_contract(file: Path, name: str, root: Path, as_of: datetime | None, timezone: str, strict: bool) -> Drop:
    """The file as a feed without policies of its own would take it."""
    from gateway.config import FeedSettings, TenantSettings, checked

    zone = checked(TenantSettings, {"timezone": timezone}, "--timezone").timezone
    return replace(dropped(file, FeedSettings(contract=name, strict=strict), root, as_of), timezone=zone)


def dropped(file: Path, policy: FeedSettings, root: Path, as_of: datetime | None) -> Drop:
    """The file as if it had landed now, or `as_of` then."""
    from gateway import contracts
    from gateway.ledger import new_id
    from gateway.pipeline.drop import Drop

    contract = contracts.load(policy.contract, root)
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return Drop(
        job_id=new_id(), tenant="", feed="", name=file.name, generation=1, path=file, sha256=sha256,
        as_of=as_of.replace(tzinfo=UTC) if as_of else clock.now(), uploaded_by=None, contract=contract, policy=policy,
    )  # fmt: skip


def prepared(out: Path | None) -> Path | None:
    """The folder for the results, made if need be: work happens beside them, so that a rename publishes them."""
    if out:
        os.makedirs(out, exist_ok=True)
    return out
