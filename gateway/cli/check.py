"""`gateway check`: the very pipeline of the gateway on a local file, with no server."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway import clock
from gateway.cli.options import config_option

HELD = "  A gateway holds such a file at first, until it is uploaded again or an operator releases it."


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--contract", "name", required=True, metavar="NAME", help="What the file must look like.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write the result files into this folder."
)
@click.option("--as-of", type=click.DateTime(), help="Judge as if the file had landed then (UTC).")
@click.option("--timezone", default="UTC", show_default=True, help="The zone of times that name none.")
@click.option("--strict", is_flag=True, help="Reject rows where a lenient feed fills in a value and warns.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@config_option
def check(
    file: Path,
    name: str,
    out: Path | None,
    as_of: datetime | None,
    timezone: str,
    strict: bool,
    as_json: bool,
    root: Path,
) -> None:
    """Check FILE against a contract, exactly as the gateway would.

    Exit code 0: all rows accepted. 1: some rows rejected. 2: the file is refused. 3: the check itself failed.
    64: wrong usage.
    """
    from rich.console import Console

    from gateway import contracts
    from gateway.cli.show_report import exit_code, show
    from gateway.config import FeedSettings, TenantSettings, checked
    from gateway.ledger import new_id
    from gateway.pipeline.drop import Drop
    from gateway.pipeline.process import outcome_of
    from gateway.pipeline.publish import publish

    contract = contracts.load(name, root)
    zone = checked(TenantSettings, {"timezone": timezone}, "--timezone").timezone
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    with tempfile.TemporaryDirectory(dir=prepared(out), prefix=".check-") as work:
        drop = Drop(
            job_id=new_id(), tenant="", feed="", name=file.name, generation=1, path=file, sha256=sha256,
            as_of=as_of.replace(tzinfo=UTC) if as_of else clock.now(), uploaded_by=None, contract=contract,
            policy=FeedSettings(contract=name, strict=strict), timezone=zone,
        )  # fmt: skip
        staging = Path(work) / "out"
        outcome = outcome_of(drop, staging)
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


def prepared(out: Path | None) -> Path | None:
    """The folder for the results, made if need be: work happens beside them, so that a rename publishes them."""
    if out:
        os.makedirs(out, exist_ok=True)
    return out
