"""Edits to `tenants/<tenant>.toml` as a person would make them: comments stay, and a mistake is not saved."""

from __future__ import annotations

import fcntl
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import tomlkit
from tomlkit.items import Array

from gateway import config, durable
from gateway.config import Settings
from gateway.errors import ConfigError

# The files hold password hashes.
MODE = 0o600


def tenant_path(root: Path, tenant: str) -> Path:
    return root / "tenants" / f"{tenant}.toml"


def make(root: Path, tenant: str, text: str) -> None:
    """A new tenant's file; ConfigError when the tenant is there already."""
    path = tenant_path(root, tenant)
    with alone(root) as settings:
        if path.exists():
            raise ConfigError(f"there is a tenant '{tenant}' already, in {path}; nothing was changed")
        save(settings, path, text)


def add_table(root: Path, tenant: str, kind: Literal["users", "feeds"], name: str, values: dict[str, Any]) -> Settings:
    """Add `[<kind>.<name>]` to the tenant's file; returns the settings that hold now."""
    path = tenant_path(root, tenant)
    with alone(root) as settings:
        known_tenant(settings, tenant)
        if name in getattr(settings.tenants[tenant], kind):
            one = kind.removesuffix("s")
            raise ConfigError(f"tenant '{tenant}' has a {one} '{name}' already; to change it, edit {path}")
        # At the end, because a comment in front of a table belongs to it for a person, but not for TOML: a table
        # that is put between others would take the comment of the next one.
        text = path.read_text(encoding="utf-8").rstrip() + "\n\n" + table_of(kind, name, values)
        return save(settings, path, text)


def known_tenant(settings: Settings, tenant: str) -> None:
    """ConfigError with the likely intention, unless there is such a tenant."""
    if tenant in settings.tenants:
        return
    if not settings.tenants:
        raise ConfigError(f"there is no tenant yet; `gateway tenant add {tenant}` adds it")
    near = config.did_you_mean(tenant, settings.tenants)
    raise ConfigError(f"there is no tenant '{tenant}'{near} (tenants: {', '.join(settings.tenants)})")


def table_of(kind: str, name: str, values: dict[str, Any]) -> str:
    """The lines of `[<kind>.<name>]`, quoted where TOML asks for it."""
    table = tomlkit.table()
    for key, value in values.items():
        table.add(key, array_of(value) if isinstance(value, list) else value)
    document = tomlkit.document()
    document.add(kind, tomlkit.table(is_super_table=True).add(name, table))
    return tomlkit.dumps(document)


def array_of(values: list[str]) -> Array:
    """One value a line, because a public key fills one."""
    array = tomlkit.array()
    array.extend(values)
    return array.multiline(True)


def save(settings: Settings, path: Path, text: str) -> Settings:
    """Replace the file when the configuration is whole with it; ConfigError and no change otherwise."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path}: nothing was added: {error}; users and feeds must stand as [users.NAME] and [feeds.NAME]"
        ) from None
    tenant = config.parse_tenant(path, document)
    tenants = {**settings.tenants, path.stem: tenant}
    config.check_usernames(tenants)
    durable.write(path, text.encode(), MODE)
    return settings.model_copy(update={"tenants": tenants})


@contextmanager
def alone(root: Path) -> Iterator[Settings]:
    """The settings as they are, while no other command edits them."""
    config.load(root)  # Says that there is no gateway here before a folder is made.
    folder = root / "tenants"
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield config.load(root)
    finally:
        os.close(descriptor)
