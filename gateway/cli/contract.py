"""`gateway contract`: show a contract, check one of your own, print its JSON Schema; `gateway codes`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gateway.cli.options import config_option


@click.group()
def contract() -> None:
    """Show and check contracts: what the files of a feed must look like."""


@contract.command()
@click.argument("name")
@click.option("--toml", "as_toml", is_flag=True, help="Print the contract itself, to begin one of your own with.")
@config_option
def show(name: str, as_toml: bool, root: Path) -> None:
    """Show the contract NAME in words, as partners read it in samples/."""
    from gateway import contracts
    from gateway.config import FeedSettings
    from gateway.contracts.words import in_words

    found = contracts.load(name, root)
    if as_toml:
        click.echo(contracts.path_of(name, root).read_text(encoding="utf-8"), nl=False)
    else:
        click.echo(in_words(found, FeedSettings(contract=name)), nl=False)


@contract.command("list")
@config_option
def listed(root: Path) -> None:
    """List the contracts: the built-in ones, and those in contracts/ beside gateway.toml."""
    from gateway import contracts

    for name in contracts.names(root):
        click.echo(f"{name}  {contracts.load(name, root).title}")


@contract.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Check a contract in a TOML FILE; errors name file and key."""
    from gateway import contracts

    found = contracts.parse(file.read_text(encoding="utf-8"), file.name)
    rules = len(found.columns) + len(found.requirements) + len(found.one_of) + len(found.keep)
    click.echo(f"{file.name}: '{found.name}' is a contract of {len(found.columns)} columns and {rules} rules.")


@contract.command()
@click.argument("name")
@config_option
def schema(name: str, root: Path) -> None:
    """Print the JSON Schema (2020-12) of one NDJSON record of the contract NAME."""
    from gateway import contracts
    from gateway.contracts.schema import json_schema

    click.echo(json.dumps(json_schema(contracts.load(name, root)), indent=2, ensure_ascii=False))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the codes as JSON.")
def codes(as_json: bool) -> None:
    """List every problem code that a report can hold, what it means, and what to do."""
    from dataclasses import asdict

    from gateway.contracts.codes import CODES

    if as_json:
        click.echo(json.dumps([asdict(code) for code in CODES.values()], indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    from gateway.cli.listing import wide_console

    table = Table(box=None, pad_edge=False, header_style="bold dim")
    for column in ("code", "level", "what it means", "what to do"):
        table.add_column(column, no_wrap=column in ("code", "level"), overflow="fold")
    for code in CODES.values():
        table.add_row(code.name, code.level, code.meaning, code.hint)
    wide_console().print(table)
