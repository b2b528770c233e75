"""From a configuration directory and the environment to settings, once or for as long as a gateway runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config.mistakes import checked, did_you_mean, models_in, read_toml
from gateway.config.model import GatewaySettings, Settings, TenantSettings, check_name
from gateway.errors import ConfigError

NOT_A_SETTING = "GATEWAY_CONFIG"


def load(root: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of a configuration directory.

    `environment` defaults to the process's own; `GATEWAY_<SECTION>_<KEY>` overrides a key of gateway.toml.
    Raises ConfigError that names the file, the key, the value and the likely intention.
    """
    gateway = load_gateway(root, environment)
    tenants = {file.stem: load_tenant(file) for file in tenant_files(root)}
    check_usernames(tenants)
    return Settings(root=root, gateway=gateway, tenants=tenants)


def load_gateway(root: Path, environment: Mapping[str, str] | None = None) -> GatewaySettings:
    """The settings of gateway.toml alone: what reads the ledger must work while a tenant's file is broken."""
    path = root / "gateway.toml"
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; `gateway init {root}` makes one")
    document = read_toml(path)
    variables = apply_environment(document, os.environ if environment is None else environment)
    return checked(GatewaySettings, document, path.name, variables)


def load_tenant(path: Path) -> TenantSettings:
    """The settings of one `tenants/<tenant>.toml`."""
    return parse_tenant(path, read_toml(path))


def parse_tenant(path: Path, document: Mapping[str, Any]) -> TenantSettings:
    """The settings of a tenant's file that holds, or is about to hold, `document`."""
    shown = f"tenants/{path.name}"
    try:
        check_name(path.stem)
    except ValueError as error:
        raise ConfigError(f"{shown}: {error}") from None
    return checked(TenantSettings, document, shown)


def check_usernames(tenants: Mapping[str, TenantSettings]) -> None:
    """Usernames are unique in a gateway, because a login names no tenant."""
    taken: dict[str, str] = {}
    for tenant, settings in tenants.items():
        for username in settings.users:
            if other := taken.get(username):
                raise ConfigError(
                    f"tenants/{tenant}.toml: users.{username}: the username is taken by tenant '{other}'; "
                    f"usernames are unique in a gateway, try '{tenant}-{username}'"
                )
            taken[username] = tenant


class LiveSettings:
    """The settings of a directory that follow its files while the gateway runs.

    A process that a gateway starts is given those `of_the_gateway`, for the files may be others, or broken, by then.
    """

    def __init__(self, root: Path, of_the_gateway: Settings | None = None) -> None:
        self._root = root
        self._seen = self._signature() if of_the_gateway is None else ()
        self.current = of_the_gateway or load(root)

    def refresh(self) -> bool:
        """Load again when a file has changed; True when `current` is new.

        Raises ConfigError once for each broken state of the files; `current` then stays as it was.
        """
        signature = self._signature()
        if signature == self._seen:
            return False
        self._seen = signature
        # What gateway.toml and the environment say was used at start-up; only tenants follow their files.
        self.current = load(self._root).model_copy(update={"gateway": self.current.gateway})
        return True

    def _signature(self) -> tuple[tuple[str, int, int, int], ...]:
        """Name, inode, size and mtime (ns) of each tenant's file."""
        files = []
        for file in tenant_files(self._root):
            try:
                stat = file.stat()
            except FileNotFoundError:
                continue
            files.append((file.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return tuple(files)


def tenant_files(root: Path) -> list[Path]:
    """The tenants' files; hidden ones are somebody's unfinished edit."""
    return sorted(file for file in (root / "tenants").glob("*.toml") if not file.name.startswith("."))


def apply_environment(document: dict[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Put each `GATEWAY_<SECTION>_<KEY>` into the document of gateway.toml; returns key → variable."""
    known = known_variables()
    applied: dict[str, str] = {}
    for variable, value in environment.items():
        if not variable.startswith("GATEWAY_") or variable == NOT_A_SETTING:
            continue
        if variable not in known:
            raise ConfigError(f"{variable}: no such setting{did_you_mean(variable, known)}")
        section, key = known[variable]
        table = document.setdefault(section, {})
        # A section that is no table is the file's mistake, and is said of the file.
        if isinstance(table, dict):
            table[key] = value.split(os.pathsep) if key == "host_keys" else value
            applied[f"{section}.{key}"] = variable
    return applied


def known_variables() -> dict[str, tuple[str, str]]:
    """Each `GATEWAY_<SECTION>_<KEY>`, and the section and the key that it overrides."""
    return {
        f"GATEWAY_{section}_{key}".upper(): (section, key)
        for section, field in GatewaySettings.model_fields.items()
        for model in models_in(field.annotation)
        for key in model.model_fields
    }
