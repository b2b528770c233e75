"""What is wrong with a configuration file, in words: file, key, what was expected and found, what was likely meant."""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)

# pydantic speaks of Python's types; the reader has a TOML file before them.
IN_WORDS: Final = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "dict_type": "expected a table",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "model_type": "expected a table",
    "string_type": "expected a text",
    "tuple_type": "expected a list",
}


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file, or ConfigError with the place where it broke."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def checked(
    model: type[Model], document: Mapping[str, Any], shown: str, variables: Mapping[str, str] | None = None
) -> Model:
    """The document as a `model`; ConfigError says `file: key: what is wrong; what was likely meant`.

    `variables` names, by key, the environment variable from which the value came.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise ConfigError("\n".join(explain(model, shown, detail, variables or {}) for detail in details)) from None


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no known name is near."""
    near = difflib.get_close_matches(value, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def explain(model: type[BaseModel], shown: str, detail: Any, variables: Mapping[str, str]) -> str:
    """One pydantic error as a sentence of ours."""
    place = [str(part) for part in detail["loc"]]
    key = ".".join(place)
    where = ": ".join(part for part in (variables.get(key, shown), key) if part)
    if detail["type"] == "extra_forbidden":
        known = known_keys(model, place[:-1])
        return f"{where}: unknown key{did_you_mean(place[-1], known)} (known keys: {', '.join(sorted(known))})"
    if detail["type"] == "missing":
        return f"{where}: this key is missing and has no default"
    message, found = in_words(detail), detail["input"]
    if detail["type"] == "literal_error" and isinstance(found, str):
        allowed = re.findall(r"'([^']+)'", message)
        return f"{where}: {message}, found '{found}'{did_you_mean(found, allowed)}"
    # A private key or a password that landed in the wrong place must not be repeated on a screen or in a log.
    if {"password", "keys", "user_ca"} & set(place):
        return f"{where}: {message}"
    # Where our own sentence names the value already, it is not said twice.
    if isinstance(found, Mapping) or detail["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: {message}, found {found!r}"


def in_words(detail: Any) -> str:
    """What pydantic found wrong, as said to a person who edits TOML."""
    if detail["loc"][-1:] == ("email",) and detail["type"] == "string_pattern_mismatch":
        return "expected an email address"
    if detail["loc"][-1:] == ("password",):
        return "expected an argon2id hash; `gateway user add --password-stdin` makes one"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return IN_WORDS.get(detail["type"], message.replace("Input should be", "expected", 1))


def known_keys(model: type[BaseModel], place: list[str]) -> list[str]:
    """The keys of the table at `place`, walking nested models and mappings of models."""
    for part in place:
        field = model.model_fields.get(part)
        for inner in models_in(field.annotation) if field else ():
            model = inner
    return list(model.model_fields)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation mentions."""
    arguments = typing.get_args(annotation)
    if not arguments and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in arguments:
        yield from models_in(argument)
