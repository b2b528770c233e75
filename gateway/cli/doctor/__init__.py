"""`gateway doctor`: checks the installation and says what to do. One section a file, one function a check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.doctor import installation, ledger, security, store, work
from gateway.cli.doctor.findings import FAILS, Check, Finding, Site, fail
from gateway.cli.jobs import JSON_OPTION
from gateway.cli.listing import harmless, wide_console
from gateway.cli.options import config_option
from gateway.errors import GatewayError

SECTIONS: dict[str, tuple[Check, ...]] = {
    "installation": installation.CHECKS,
    "ledger": ledger.CHECKS,
    "security": security.CHECKS,
    "work": work.CHECKS,
    "store": store.CHECKS,
}
STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "fail": "bold red"}


@click.command()
@JSON_OPTION
@config_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, root: Path) -> None:
    """Check the installation, and say what to do. The exit code is 1 when something fails, else 0."""
    site = Site(root)
    try:
        found = list(findings(site))
    finally:
        site.close()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        print_findings(found)
    ctx.exit(int(any(finding.level == FAILS for finding in found)))


def findings(site: Site) -> Iterator[Finding]:
    """What every check finds. One that cannot be done fails, and the others are done all the same."""
    for section, checks in SECTIONS.items():
        for check in checks:
            try:
                yield from (found.of(section, check.__name__.replace("_", " ")) for found in check(site))
            except (GatewayError, OSError) as error:
                yield fail(f"could not be checked: {error}").of(section, check.__name__.replace("_", " "))


def print_findings(found: list[Finding]) -> None:
    console = wide_console()
    for finding in found:
        console.print(
            harmless(f"{finding.level:<8}", STYLES[finding.level]),
            harmless(f"{finding.check}: {finding.what}"),
            soft_wrap=True,
        )
        if finding.hint:
            console.print(" " * 8, harmless(finding.hint), soft_wrap=True)
    failed, warned = (sum(finding.level == level for finding in found) for level in (FAILS, "warning"))
    click.echo(f"{failed} failed, {warned} warnings." if failed or warned else "All is well.")
