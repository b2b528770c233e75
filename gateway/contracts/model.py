"""The contract language: what a feed's files must look like, as TOML checked by pydantic."""

from __future__ import annotations

import hashlib
import pickle
import tomllib
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from gateway.config import Section, checked, did_you_mean
from gateway.contracts.codes import CODES
from gateway.errors import ConfigError, ContractError

ColumnType = Literal[
    "string",
    "integer",
    "number",
    "boolean",
    "digits",
    "email",
    "url",
    "hostname",
    "country",
    "language",
    "tags",
    "object",
    "iso_time",
    "unix_time",
]
Text = Annotated[str, StringConstraints(min_length=1)]
Conditions = Mapping[str, tuple[str, ...]]
CONTRACTS_KEPT = 256
"""More than most gateways ever have in use."""


class Derive(Section):
    """`derive = {from = "url", take = "host"}`: where a column's value comes from when the row does not give it.

    With `override` it replaces what the row gives, whenever the source column has a value.
    """

    source: Text = Field(alias="from")
    take: Literal["host", "path", "browser", "operating_system"]
    override: bool = False


class Column(Section):
    """`[[columns]]`: one column of a CSV, or one key of an NDJSON object."""

    name: Text
    type: ColumnType = "string"
    description: str = ""
    example: str = ""
    required: bool = False
    allowed: tuple[str, ...] = ()
    placeholders: tuple[str, ...] = ()
    pattern: str | None = Field(default=None, max_length=1000)
    min: float | None = None
    max: float | None = None
    length_min: int | None = Field(default=None, ge=0)
    length_max: int | None = Field(default=None, ge=1)
    default: str | None = None
    default_warns: bool = False
    derive: Derive | None = None
    on_invalid: Literal["reject", "drop_value"] = "reject"
    code: str | None = None
    hint: str | None = None

    @field_validator("pattern")
    @classmethod
    def compiles(cls, value: str | None) -> str | None:
        if value is not None:
            # Few contracts have a pattern, and the gateway starts without polars.
            import polars as pl

            try:
                # The engine that will match it: it never backtracks, and knows no look-around.
                pl.Series([""]).str.contains(value)
            except pl.exceptions.ComputeError as error:
                raise ValueError(f"not a regular expression that can be used: {error}") from None
        return value

    @field_validator("code")
    @classmethod
    def known_code(cls, value: str | None) -> str | None:
        if value is not None and value not in CODES:
            raise ValueError(f"no problem code '{value}'{did_you_mean(value, CODES)}")
        return value


class Requirement(Section):
    """`[[requirements]]`: columns that must not be blank in the rows where every condition holds."""

    when: Conditions = Field(default_factory=dict)
    columns: tuple[Text, ...]


class OneOf(Section):
    """`[[one_of]]`: at least one of these columns must not be blank; the first that is names the row."""

    columns: tuple[Text, ...] = Field(min_length=2)


class Keep(Section):
    """`[[keep]]`: in the rows where every condition holds, all other columns are ignored."""

    when: Conditions
    columns: tuple[Text, ...]


class TimeColumn(Section):
    """`[time]`: the column that says when a row happened.

    Rows without a value count as of the landing of their drop where `default_as_of` is set.
    """

    column: Text
    default_as_of: bool = False


class EventColumns(Section):
    """`[event]`: the columns that make an event of a row.

    `name` names it, else `type`, which says of what kind it is; where a row has neither, or the contract does not say,
    it is named as the contract. `properties` is an object with all its properties; without it, they are the other
    columns of the row.
    """

    name: Text | None = None
    type: Text | None = None
    properties: Text | None = None


class Identify(Section):
    """`[[identify]]`: the rows, in a contract of kind "mixed", that describe a person or a company and are no events.

    `attributes` is an object with what is known of whom `identity` names; `columns` are attributes beside those.
    """

    when: Conditions
    table: Literal["profiles", "companies"] = "profiles"
    identity: Text
    attributes: Text
    columns: tuple[Text, ...] = ()


class Contract(Section):
    """A whole contract. `sha256` is of the TOML text, so that a report can name the exact version."""

    name: Text
    title: Text
    description: str = ""
    kind: Literal["profiles", "events", "mixed"]
    formats: tuple[Literal["csv", "ndjson"], ...] = Field(min_length=1)
    identity: tuple[Text, ...] = ()
    time: TimeColumn | None = None
    event: EventColumns | None = None
    identify: tuple[Identify, ...] = ()
    unique: tuple[Text, ...] = ()
    allow_repeats: bool = False
    further_columns: Literal["keep", "ignore"] = "ignore"
    date_headers: bool = False
    nested: Text | None = None
    csv_header: Literal["required", "optional"] = "required"
    csv_columns: tuple[Text, ...] = ()
    header_columns: tuple[tuple[Text, ...], ...] = ()
    columns: tuple[Column, ...]
    requirements: tuple[Requirement, ...] = ()
    one_of: tuple[OneOf, ...] = ()
    keep: tuple[Keep, ...] = ()
    samples: Mapping[str, str] = Field(default_factory=dict)
    sha256: str = ""

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def __reduce__(self) -> tuple[Callable[[bytes], Contract], tuple[bytes]]:
        """Each job takes its contract to a worker, which mostly has had the same one before."""
        return unpacked, (packed(self),)

    @model_validator(mode="after")
    def names_fit(self) -> Contract:
        """Every column that a rule speaks of is a column of the contract."""
        known = [column.name for column in self.columns]
        if len(set(known)) != len(known):
            twice = next(name for name in known if known.count(name) > 1)
            raise ValueError(f"columns: '{twice}' is declared twice")
        for place, name in self._mentions():
            if name not in known:
                raise ValueError(f"{place}: no column named '{name}'{did_you_mean(name, known)}")
        if self.csv_header == "optional" and not self.csv_columns:
            raise ValueError("csv_columns: a header can be optional only where csv_columns gives the order")
        return self

    @model_validator(mode="after")
    def kinds_fit(self) -> Contract:
        """What is said of events and of identify records is said where there are such rows, and of objects."""
        if self.event and self.kind == "profiles":
            raise ValueError('event: the rows of a contract of kind "profiles" are no events; leave it out')
        if self.identify and self.kind != "mixed":
            raise ValueError(f'identify: only a contract of kind "mixed" has it, and this one is of "{self.kind}"')
        objects = [("event.properties", self.event.properties)] if self.event and self.event.properties else []
        objects += [("identify.attributes", rule.attributes) for rule in self.identify]
        for place, name in objects:
            if self.by_name[name].type != "object":
                raise ValueError(f"{place}: '{name}' must be a column of type \"object\"")
        strange = [rule.identity for rule in self.identify if rule.identity not in self.identity]
        if strange:
            raise ValueError(f"identify.identity: '{strange[0]}' is none of the columns that `identity` names")
        return self

    def _mentions(self) -> list[tuple[str, str]]:
        mentions = [("identity", name) for name in self.identity] + [("unique", name) for name in self.unique]
        mentions += [("csv_columns", name) for name in self.csv_columns]
        mentions += [("header_columns", name) for group in self.header_columns for name in group]
        mentions += [("time.column", self.time.column)] if self.time else []
        mentions += [("nested", self.nested)] if self.nested else []
        if self.event:
            of_event = (self.event.name, self.event.type, self.event.properties)
            mentions += [("event", name) for name in of_event if name]
        for identify in self.identify:
            about = (identify.identity, identify.attributes, *identify.columns, *identify.when)
            mentions += [("identify", name) for name in about]
        mentions += [(f"columns.{c.name}.derive.from", c.derive.source) for c in self.columns if c.derive]
        for place, rules in (("requirements", self.requirements), ("one_of", self.one_of), ("keep", self.keep)):
            for rule in rules:
                mentions += [(place, name) for name in (*rule.columns, *getattr(rule, "when", {}))]
        return mentions


_packed: dict[str, tuple[Contract, bytes]] = {}
"""Contracts and their states, by their digests."""


def packed(contract: Contract) -> bytes:
    """The state of a contract, which is pickled once while it is in use."""
    kept = _packed.get(contract.sha256)
    if kept is None or kept[0] is not contract:
        if len(_packed) >= CONTRACTS_KEPT:
            _packed.clear()
        kept = _packed[contract.sha256] = contract, pickle.dumps(contract.__getstate__())
    return kept[1]


@lru_cache(maxsize=CONTRACTS_KEPT)
def unpacked(state: bytes) -> Contract:
    """The inverse of `packed`; for the same bytes the same contract."""
    contract = Contract.__new__(Contract)
    contract.__setstate__(pickle.loads(state))  # noqa: S301 - of our own making, nothing of a partner is in it.
    return contract


def parse(text: str, shown: str) -> Contract:
    """The contract in a TOML text; `shown` names the file in errors. Raises ContractError."""
    try:
        document = tomllib.loads(text)
        contract = checked(Contract, document, shown)
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"{shown}: {error}") from error
    except ConfigError as error:
        raise ContractError(str(error)) from error
    return contract.model_copy(update={"sha256": hashlib.sha256(text.encode()).hexdigest()})


BUILTIN_FOLDER = Path(__file__).parent / "builtin"
"""Where the contracts that ship with the package are."""
