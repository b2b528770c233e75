"""What others on this machine could read or change of a gateway's files; and new files that they cannot."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.config import Settings
from gateway.errors import ConfigError

NOT_FOR_OTHERS: Final = 0o027
"""The umask of a gateway: its group may read, so that ops can look at the ledger without being the gateway."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """A file that others can read or change, and what to do about it."""

    what: str
    hint: str
    forbids_start: bool


def keep_from_others() -> None:
    """What this process makes from now on, others can neither read nor change; a stricter umask stays."""
    os.umask(os.umask(0o077) | NOT_FOR_OTHERS)


def refuse_exposed(settings: Settings) -> list[Exposure]:
    """ConfigError for what must not be, as sshd does it; returns what is only to be warned of."""
    found = list(exposures(settings))
    for exposure in found:
        if exposure.forbids_start:
            raise ConfigError(f"{exposure.what}. {exposure.hint}")
    return found


def exposures(settings: Settings) -> Iterator[Exposure]:
    yield from readable_host_keys(settings)
    yield from changeable(settings)
    yield from readable(settings)


def readable_host_keys(settings: Settings) -> Iterator[Exposure]:
    for path in settings.host_key_paths:
        mode, owner = mode_of(path)
        # As sshd does: the group counts too, unless the file is of somebody else who gave it to us by the group.
        if mode & (0o077 if owner == os.geteuid() else 0o007):
            yield Exposure(
                f"{path} has the mode {mode:04o}: others can read or change this private host key",
                f"chmod 600 {path}, and if somebody else has accounts here, make a new one: gateway host-keys rotate",
                forbids_start=True,
            )


def changeable(settings: Settings) -> Iterator[Exposure]:
    """What everybody on this machine can write."""
    root, data = settings.root, settings.data_dir
    why = {
        "decide who may log in": (root, root / "gateway.toml", root / "tenants", *tenant_files(settings)),
        "put their own host keys there": {path.parent for path in settings.host_key_paths} - {root},
        "change what has happened": tuple(data / name for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm")),
        "change the files of partners": (data, settings.spool_dir, data / "tenants"),
    }
    for could, paths in why.items():
        for path in paths:
            mode, _ = mode_of(path)
            if mode & stat.S_IWOTH:
                yield Exposure(
                    f"{path} has the mode {mode:04o}: everybody on this machine can write it, and so {could}",
                    f"chmod o-w {path}",
                    forbids_start=True,
                )


def readable(settings: Settings) -> Iterator[Exposure]:
    """What others can read and should not."""
    for path in tenant_files(settings):
        mode, _ = mode_of(path)
        tenant = settings.tenants.get(path.stem)
        if mode & stat.S_IROTH and tenant and any(user.password for user in tenant.users.values()):
            yield Exposure(
                f"{path} has the mode {mode:04o}: others can read the hashes of passwords in it",
                f"chmod 600 {path}",
                forbids_start=False,
            )
    mode, _ = mode_of(settings.data_dir)
    if mode & (stat.S_IROTH | stat.S_IXOTH):
        yield Exposure(
            f"{settings.data_dir} has the mode {mode:04o}: others can read the ledger and the files of partners",
            f"chmod o-rwx {settings.data_dir}",
            forbids_start=False,
        )


def tenant_files(settings: Settings) -> tuple[Path, ...]:
    return tuple(settings.root / "tenants" / f"{tenant}.toml" for tenant in settings.tenants)


def mode_of(path: Path) -> tuple[int, int]:
    """Permission bits and owner; nothing is permitted on what is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.S_IMODE(found.st_mode), found.st_uid
