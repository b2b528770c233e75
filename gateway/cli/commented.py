"""Settings as the text of a TOML file in which every key is explained, written from the models themselves."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config import GatewaySettings, Section

WIDTH = 100

GATEWAY_TOML_HEAD = """\
# The gateway's settings. Each key stands here with its default; a key that is left out has it as well.
# GATEWAY_<SECTION>_<KEY> in the environment goes before what stands here, as in GATEWAY_SFTP_PORT=2022.
# A change takes effect at the next start. Tenants, users and feeds are in tenants/<tenant>.toml, and a
# running gateway follows those.
"""


def gateway_toml() -> str:
    """The `gateway.toml` that a new working directory gets."""
    sections = GatewaySettings.model_fields.items()
    return GATEWAY_TOML_HEAD + "".join(f"\n{section(name, field.annotation)}" for name, field in sections)


def section(name: str, model: Any) -> str:
    """One table, with what it is about and its keys."""
    lines = [*comment(model.__doc__), f"[{name}]", *keys(model)]
    return "\n".join(lines) + "\n"


def keys(model: type[Section], given: Mapping[str, Any] | None = None) -> Iterator[str]:
    """The lines of a table: each plain key's comment, then the key with its `given` value or its default."""
    for name, field in model.model_fields.items():
        if not is_table(field):
            yield from comment(field.description or "")
            value = (given or {}).get(name, field.default)
            # A key without a default stands there as an example, to be uncommented.
            yield f"# {name} = {toml((field.examples or [''])[0])}" if value is None else f"{name} = {toml(value)}"


def is_table(field: FieldInfo) -> bool:
    """Whether the key holds tables of its own, which stand below the plain keys in TOML."""
    return isinstance(field.default, BaseModel) or field.default_factory is not None


def comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), WIDTH, initial_indent="# ", subsequent_indent="# ")


def toml(value: Any) -> str:
    """A plain value in TOML; JSON's texts, numbers, booleans and lists are TOML as well."""
    return json.dumps(value, ensure_ascii=False)
