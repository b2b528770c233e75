"""`gateway host-keys`: which keys clients know this server by, and a new one in the place of an old one.

A rotation takes two restarts: after `rotate` the gateway announces the new key to everybody who logs in, while the old
one is still used; after `retire` the new one is used.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
import tomlkit

from gateway import clock, config, durable
from gateway.cli.jobs import JSON_OPTION
from gateway.cli.listing import print_list
from gateway.cli.options import config_option, next_step
from gateway.cli.tenant_file import alone
from gateway.config import GatewaySettings, Settings
from gateway.errors import ConfigError
from gateway.sftp import host_keys as keys
from gateway.sftp.host_keys import HostKey, Kind

VARIABLE = "GATEWAY_SFTP_HOST_KEYS"
COLUMNS = ("STATE", "KIND", "FINGERPRINT", "FILE")


@dataclass(frozen=True, slots=True)
class Listed:
    """A key of the list in gateway.toml: as it is written there, and what it is for."""

    entry: str
    key: HostKey
    state: str
    """"used", or "announced": the next one of its kind."""


@click.group(name="host-keys")
def host_keys() -> None:
    """List the keys by which clients know this server, and replace one by another."""


@host_keys.command(name="list")
@JSON_OPTION
@config_option
def list_keys(as_json: bool, root: Path) -> None:
    """List the host keys: those that are used, and those that are only announced."""
    found = listed(config.load(root))
    rows = [(one.state, one.key.kind, one.key.fingerprint, str(one.key.path)) for one in found]
    if as_json:
        names = [column.lower() for column in COLUMNS]
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
    else:
        print_list(COLUMNS, rows)


@host_keys.command()
@click.argument("kind", type=click.Choice(["ed25519", "rsa"]))
@config_option
def rotate(kind: Kind, root: Path) -> None:
    """Make a new key beside the old one of its KIND, to be announced to clients first."""
    refuse_variable()
    with alone(root) as settings:
        present = listed(settings)
        old = [one for one in present if one.key.kind == kind]
        if len(old) > 1:
            raise ConfigError(
                f"a rotation of {kind} is under way already; end it with: gateway host-keys retire {old[0].entry}"
            )
        place = old[0] if old else present[0]
        new = keys.make(free_name(place.key.path.parent, kind), kind)
        set_list(settings, [*(one.entry for one in present), str(Path(place.entry).parent / new.path.name)])
    click.echo(f"Made {new.path}\n  {new.fingerprint}\n  {public_line(new)}")
    if not old:
        click.echo("Restart the gateway: there was no key of this kind, so it is used at once.")
        return
    command = next_step(root, f"gateway host-keys retire {old[0].entry}")
    click.echo("Next: restart the gateway. It goes on with the old key, and announces the new one to all who log in.")
    click.echo("OpenSSH learns it by itself (UpdateHostKeys); send the line above to partners with other clients.")
    click.echo(f"When they have had the time: {command}")


@host_keys.command()
@click.argument("key", metavar="KEY")
@config_option
def retire(key: str, root: Path) -> None:
    """Use KEY no longer, a file of `gateway host-keys list`; another one of its kind must be there."""
    refuse_variable()
    with alone(root) as settings:
        present = listed(settings)
        going = chosen(present, key)
        if Counter(one.key.kind for one in present)[going.key.kind] < 2:
            raise ConfigError(
                f"{going.entry} is the only {going.key.kind} key, and clients that know no other would take the "
                f"gateway for an impostor; first: gateway host-keys rotate {going.key.kind}"
            )
        set_list(settings, [one.entry for one in present if one is not going])
    click.echo(f"{going.entry} is used no longer from the next start on; delete its files when nobody misses it.")
    click.echo("Next: restart the gateway.")


def listed(settings: Settings) -> list[Listed]:
    """The keys in the order of gateway.toml. ConfigError for one that cannot be used."""
    found: list[Listed] = []
    for path in settings.host_key_paths:
        key = keys.load(path)
        state = "announced" if any(one.key.kind == key.kind for one in found) else "used"
        entry = path.relative_to(settings.root) if path.is_relative_to(settings.root) else path
        found.append(Listed(str(entry), key, state))
    return found


def chosen(present: list[Listed], key: str) -> Listed:
    """The key that was meant, by its entry, its path or its name."""
    for one in present:
        if key in (one.entry, str(one.key.path), one.key.path.name):
            return one
    entries = [one.entry for one in present]
    raise ConfigError(
        f"there is no host key '{key}'{config.did_you_mean(key, entries)} (there are: {', '.join(entries)})"
    )


def free_name(folder: Path, kind: Kind) -> Path:
    """ssh_host_ed25519_key_20261124, and with _2 behind it when that is there already."""
    name = f"ssh_host_{kind}_key_{clock.now():%Y%m%d}"
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{name}_{number}"
    return path


def refuse_variable() -> None:
    """ConfigError where a change of gateway.toml would change nothing."""
    if VARIABLE in os.environ:
        raise ConfigError(f"{VARIABLE} is set, and goes before gateway.toml; take it away, or set it yourself")


def set_list(settings: Settings, entries: list[str]) -> None:
    """Write sftp.host_keys into gateway.toml; the rest of it, and its comments, stay."""
    path = settings.root / "gateway.toml"
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    document.setdefault("sftp", tomlkit.table())["host_keys"] = entries
    text = tomlkit.dumps(document)
    config.checked(GatewaySettings, tomlkit.parse(text).unwrap(), path.name)
    durable.write(path, text.encode(), path.stat().st_mode & 0o777)


def public_line(key: HostKey) -> str:
    """What stands in a .pub file."""
    return key.key.export_public_key().decode().strip()
