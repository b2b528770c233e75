"""Checks of the installation: configuration, folders, file system, and what the machine allows."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gateway import contracts
from gateway.cli.doctor.findings import Check, Finding, Site, fail, note, ok, warning
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.locks import RESTORING, serving_process
from gateway.sftp.host_keys import recipe

FREE_BYTES_MIN = 256 * 1024**2
FREE_BYTES_SCARCE = 10 * 1024**3
FREE_SHARE_SCARCE = 0.1
WATCHES_SHARE_MAX = 0.8
MAX_WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
MOUNTS = Path("/proc/self/mountinfo")
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "afs", "lustre")


def configuration(site: Site) -> Iterator[Finding]:
    if site.refused is not None:
        yield fail(str(site.refused), "Mend the file; a running gateway goes on with what it had before.")
    elif site.settings is not None:
        yield ok(f"{site.root / 'gateway.toml'} and {len(site.settings.tenants)} tenants load")


def contracts_of_feeds(site: Site) -> Iterator[Finding]:
    tenants = site.settings.tenants if site.settings else {}
    for tenant, configured in tenants.items():
        for feed, policy in configured.feeds.items():
            try:
                contracts.load(policy.contract, site.root)
            except ConfigError as error:
                yield fail(f"tenants/{tenant}.toml: feeds.{feed}: {error}", "The drops of this feed are quarantined.")


def host_keys(site: Site) -> Iterator[Finding]:
    for key in site.settings.host_key_paths if site.settings else ():
        if not os.access(key, os.R_OK):
            yield fail(f"{key} cannot be read", f"`gateway serve` needs it: {recipe(key)}")


def data_directory(site: Site) -> Iterator[Finding]:
    settings = site.settings
    if settings is None:
        return
    if not settings.data_dir.is_dir():
        yield note(f"{settings.data_dir} is not there yet", "`gateway serve` makes it.")
        return
    folders = [path for path in (settings.data_dir, settings.spool_dir, settings.data_dir / "tenants") if path.is_dir()]
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield fail(f"{folder} cannot be written: {error.strerror}", "Give it to the user that the gateway runs as.")
            return
    if len({folder.stat().st_dev for folder in folders[1:]}) > 1:
        yield fail(
            f"{settings.spool_dir} and {settings.data_dir / 'tenants'} are on different file systems",
            "Put both on the same one: a drop is moved from one to the other in one step.",
        )
    elif (settings.data_dir / RESTORING).exists():
        yield fail(f"a restore was cut short in {settings.data_dir}", "Run `gateway restore DIR` again.")
    else:
        yield ok(f"{settings.data_dir} can be written")


def file_system(site: Site) -> Iterator[Finding]:
    if site.settings is None or not site.settings.data_dir.is_dir():
        return
    kind = file_system_of(site.settings.data_dir)
    advice = "Move the data directory to a local disk: the ledger is safe on nothing else."
    if kind in NETWORK:
        yield fail(f"{site.settings.data_dir} is on {kind}, a file system over the network", advice)
    elif kind.startswith("fuse"):
        yield warning(f"{site.settings.data_dir} is on {kind}, which may not be local", advice)
    elif kind in ("tmpfs", "ramfs"):
        yield warning(f"{site.settings.data_dir} is on {kind}, which a reboot empties", advice)
    else:
        yield ok(f"{kind or 'unknown'}, local")


def free_space(site: Site) -> Iterator[Finding]:
    if site.settings is None or not site.settings.data_dir.is_dir():
        return
    total, _, free = shutil.disk_usage(site.settings.data_dir)
    said = f"{free / 1024**3:,.1f} GiB of {total / 1024**3:,.1f} GiB are free"
    advice = "Make room, or keep files for less long: [retention] in gateway.toml."
    if free < FREE_BYTES_MIN:
        yield fail(said, advice)
    elif free < FREE_BYTES_SCARCE and free < FREE_SHARE_SCARCE * total:
        yield warning(said, advice)
    else:
        yield ok(said)


def inotify_watches(site: Site) -> Iterator[Finding]:
    if site.settings is None or not MAX_WATCHES.is_file():
        return
    most, needed = int(MAX_WATCHES.read_text()), inbox_folders(site.settings)
    if needed > WATCHES_SHARE_MAX * most:
        yield warning(
            f"the inboxes have {needed:,} folders, and the system allows {most:,} watches",
            f"Set fs.inotify.max_user_watches = {4 * needed} by sysctl; until then drops are found by the scan, later.",
        )
    else:
        yield ok(f"{needed:,} of {most:,}")


def on_quarantine(site: Site) -> Iterator[Finding]:
    command = site.settings.gateway.pickup.on_quarantine if site.settings else ()
    if command and shutil.which(command[0]) is None:
        yield fail(
            f"{command[0]} is not there or cannot be run",
            "Nobody is told of quarantined drops: mend pickup.on_quarantine in gateway.toml.",
        )
    elif command:
        yield ok(f"{command[0]} is there")


def serving(site: Site) -> Iterator[Finding]:
    process = serving_process(site.settings.data_dir) if site.settings else None
    yield note(f"process {process} serves") if process else note("no gateway serves this data directory")


CHECKS: tuple[Check, ...] = (
    configuration,
    contracts_of_feeds,
    host_keys,
    data_directory,
    file_system,
    free_space,
    inotify_watches,
    on_quarantine,
    serving,
)


def file_system_of(path: Path) -> str:
    """The type of the file system that holds `path`, as Linux names it: the last mount over its deepest folder."""
    found, depth = "", -1
    for line in MOUNTS.read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        mount = Path(before.split()[4].encode().decode("unicode_escape"))
        if path.resolve().is_relative_to(mount) and len(mount.parts) >= depth:
            found, depth = after.split()[0], len(mount.parts)
    return found


def inbox_folders(settings: Settings) -> int:
    """How many folders are watched: every inbox and all below it."""
    inboxes = [settings.tenant_dir(tenant) / "inbox" for tenant in settings.tenants]
    return sum(1 for inbox in inboxes for _ in os.walk(inbox))
