"""`gateway user disable`, `gateway tenant disable` and their opposites: one key of a tenant's file, set in place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from gateway import config
from gateway.cli.tenant_file import alone, known_tenant, save, tenant_path
from gateway.errors import ConfigError

KEY = "disabled"
LINE = re.compile(r"^[ \t]*disabled[ \t]*=[ \t]*(?:true|false)\b", re.MULTILINE)
TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def set_disabled(root: Path, tenant: str, username: str | None, disabled: bool) -> bool:
    """Disable or enable a user, or without one the tenant; False when it was so already."""
    path = tenant_path(root, tenant)
    with alone(root) as settings:
        known_tenant(settings, tenant)
        known = settings.tenants[tenant]
        if username is not None:
            known_user(known.users, tenant, username)
        now = known.disabled if username is None else known.users[username].disabled
        if now == disabled:
            return False
        text = path.read_text(encoding="utf-8")
        changed = edited(text, username, f"{KEY} = {str(disabled).lower()}")
        check(path, text, changed, username, disabled)
        save(settings, path, changed)
    return True


def known_user(users: Mapping[str, object], tenant: str, username: str) -> None:
    """ConfigError with the likely intention, unless the tenant has such a user."""
    if username not in users:
        near = config.did_you_mean(username, users)
        raise ConfigError(f"tenant '{tenant}' has no user '{username}'{near} (users: {', '.join(users) or 'none'})")


def edited(text: str, username: str | None, line: str) -> str:
    """The text with the key as it is to be: where it stands already, else first in its table."""
    begin = 0 if username is None else end_of_header(text, username)
    following = TABLE.search(text, begin)
    end = following.start() if following else len(text)
    table, found = LINE.subn(line, text[begin:end], count=1)
    return text[:begin] + (table if found else f"{line}\n{table}") + text[end:]


def end_of_header(text: str, username: str) -> int:
    """Where the line after `[users.<username>]` begins; the end of the text when there is none."""
    name = re.escape(username)
    quoted = f"(?:{name}|\"{name}\"|'{name}')"
    header = re.compile(rf"^[ \t]*\[[ \t]*users[ \t]*\.[ \t]*{quoted}[ \t]*\].*\n", re.MULTILINE)
    found = header.search(text)
    return found.end() if found else len(text)


def check(path: Path, before: str, after: str, username: str | None, disabled: bool) -> None:
    """A file that a person wrote may hold what looks like our key and is not: then nothing is changed."""
    expected = tomllib.loads(before)
    table = expected if username is None else expected["users"][username]
    table[KEY] = disabled
    try:
        is_so = tomllib.loads(after) == expected
    except tomllib.TOMLDecodeError:
        is_so = False
    if not is_so:
        where = "above the first table" if username is None else f"in the table of users.{username}"
        raise ConfigError(f"{path}: nothing was changed; write {KEY} = {str(disabled).lower()} {where} yourself")
