"""Checks of security: versions, algorithms, host keys, modes of files, logins, and the clock."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway import clock
from gateway.cli.doctor import advisories
from gateway.cli.doctor.findings import Check, Finding, Site, fail, note, ok, warning
from gateway.config import Settings, TenantSettings, UserSettings
from gateway.config.keys import RSA_BITS_MIN, parse_key
from gateway.errors import ConfigError
from gateway.exposure import exposures
from gateway.sftp import host_keys
from gateway.sftp.host_keys import HostKey

KEY_AGE_MAX: Final = timedelta(days=3 * 365)
KEY_KINDS: Final = ("ed25519", "rsa")
PASSWORDS_OFF: Final = "passwords = false in gateway.toml"

# What adjtimex(2) returns when nothing has set the clock by another for a while, and room for its answer.
TIME_ERROR: Final = 5
TIMEX_BYTES: Final = 1024


def versions(site: Site) -> Iterator[Finding]:
    del site
    found = advisories.installed()
    concerning = list(advisories.concerning(found, advisories.ADVISORIES))
    for named, advisory in concerning:
        fixed = ".".join(map(str, advisory.fixed))
        yield fail(f"{named} has {advisory.ids}: {advisory.what}", f"Install {advisory.package} {fixed} or newer.")
    if not concerning:
        yield note(
            f"none of the {len(advisories.ADVISORIES)} advisories of {advisories.TABLE_OF} that this version knows "
            f"concerns {', '.join(map(advisories.shown, found.items()))}",
            "For what has become known since, run `pip-audit` now and then.",
        )


def python_support(site: Site) -> Iterator[Finding]:
    del site
    last = advisories.LAST_DAYS.get(sys.version_info[:2])
    if last is not None and clock.now().date() > last:
        yield warning(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} got its last security release by {last}",
            "Set the gateway up with a newer Python, unless your distribution still mends this one.",
        )


def algorithms(site: Site) -> Iterator[Finding]:
    if site.settings is None:
        return
    if site.settings.gateway.sftp.crypto == "strict":
        yield ok('crypto = "strict": post-quantum key exchange and AES-GCM only')
    else:
        yield note(
            'crypto = "default" also takes clients without a post-quantum key exchange',
            'When all partners have OpenSSH 9.9 or the like, set crypto = "strict" in gateway.toml.',
        )


def host_keys_offered(site: Site) -> Iterator[Finding]:
    found = loaded(site.settings) if site.settings else []
    for key in found:
        yield from judged(key)
    used = {key.kind for key in found}
    for kind in KEY_KINDS if used else ():
        if kind not in used:
            yield note(
                f"there is no {kind} key", f"Some clients ask for one; `gateway host-keys rotate {kind}` adds it."
            )
    if len(found) > len(used):
        yield note("a rotation is under way: a new key is announced", "See `gateway host-keys list`; then `retire`.")


def judged(key: HostKey) -> Iterator[Finding]:
    """What is to be said of one host key."""
    bits = key.rsa_bits
    age = clock.now() - datetime.fromtimestamp(key.path.stat().st_mtime, UTC)
    said = f"{key.path.name}: {key.kind}{f', {bits} bits' if bits else ''}, {age.days:,} days old"
    if key.kind not in KEY_KINDS:
        yield warning(
            f"{said}; this kind is not trusted by all", "Use ed25519 and rsa: gateway host-keys rotate ed25519."
        )
    elif bits is not None and bits < RSA_BITS_MIN:
        yield warning(
            f"{said}; {RSA_BITS_MIN} bits are the least today", "Make a new one: gateway host-keys rotate rsa."
        )
    elif age > KEY_AGE_MAX:
        yield note(f"{said}", f"Think of a new one: gateway host-keys rotate {key.kind}.")
    else:
        yield ok(said)


def modes(site: Site) -> Iterator[Finding]:
    if site.settings is None:
        return
    found = list(exposures(site.settings))
    for exposure in found:
        if exposure.forbids_start:
            yield fail(f"{exposure.what}; `gateway serve` does not start", exposure.hint)
        else:
            yield warning(exposure.what, exposure.hint)
    if not found:
        yield ok("host keys, configuration, ledger and files of partners are closed to others")


def passwords(site: Site) -> Iterator[Finding]:
    if site.settings is None:
        return
    having = [name for name, user in users(site.settings) if user.password and user.login_with == "key_or_password"]
    if not site.settings.gateway.sftp.passwords:
        yield ok("passwords are off: keys and certificates only")
    elif having:
        yield note(
            f"a password alone logs in: {', '.join(having)}",
            'Give them keys, or set login_with = "key_and_password"; then set passwords = false in gateway.toml.',
        )
    else:
        yield note("passwords are on, and nobody needs it", f"Set {PASSWORDS_OFF}.")


def logins(site: Site) -> Iterator[Finding]:
    """Users who cannot log in though nobody has disabled them, and keys that have expired."""
    settings = site.settings
    for tenant, configured in settings.tenants.items() if settings else ():
        for name, user in configured.users.items():
            if settings is None or configured.disabled or user.disabled:
                continue
            if user.expires is not None and user.expires <= clock.now():
                yield note(f"{tenant}/{name} has expired", f"Remove it from tenants/{tenant}.toml, or set another day.")
                continue
            expired = sum(not is_valid(line) for line in user.keys)
            if expired:
                yield note(f"{tenant}/{name}: {expired} of {len(user.keys)} keys have expired", "Remove them.")
            if reason := locked_out(settings, configured, user):
                yield warning(f"{tenant}/{name} cannot log in: {reason}", f"Add a key in tenants/{tenant}.toml.")


def locked_out(settings: Settings, tenant: TenantSettings, user: UserSettings) -> str | None:
    """Why a user has no way in; None when there is one."""
    has_key = any(map(is_valid, user.keys)) or bool(settings.gateway.login.user_ca or tenant.user_ca)
    takes_password = settings.gateway.sftp.passwords
    if user.login_with == "key_and_password":
        if not takes_password:
            return f"it needs a password as well, and {PASSWORDS_OFF}"
        return None if has_key else "it needs a key as well, and has none that is valid"
    if has_key or (user.password and takes_password):
        return None
    return f"it has a password only, and {PASSWORDS_OFF}" if user.password else "it has no key that is valid"


def is_valid(line: str) -> bool:
    expires = parse_key(line).expires
    return expires is None or expires > clock.now()


def clock_of_system(site: Site) -> Iterator[Finding]:
    """Whether the kernel's clock is kept right: ends of keys, bans and waits go by it."""
    del site
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    if state == TIME_ERROR:
        yield warning(
            "nothing keeps the system's clock right",
            "Switch on a time service (timedatectl set-ntp true), unless this machine's host keeps its clock.",
        )
    elif state >= 0:
        yield ok("a time service keeps it right")


CHECKS: tuple[Check, ...] = (
    versions,
    python_support,
    algorithms,
    host_keys_offered,
    modes,
    passwords,
    logins,
    clock_of_system,
)


def users(settings: Settings) -> Iterator[tuple[str, UserSettings]]:
    """Every user, as tenant/name."""
    for tenant, configured in settings.tenants.items():
        yield from ((f"{tenant}/{name}", user) for name, user in configured.users.items())


def loaded(settings: Settings) -> list[HostKey]:
    """The host keys that can be read; another check says which cannot."""
    found = []
    for path in settings.host_key_paths:
        try:
            found.append(host_keys.load(path))
        except ConfigError:
            continue
    return found
