"""JSON as text: which lines are sound, and the exact reading of the few that polars would read inexactly.

Polars parses NDJSON fast, but one bad line fails the whole file, a lone surrogate becomes NUL, and a number loses
the form in which it was written. So lines that it cannot be trusted with are told apart by one regular expression
and read here one by one.
"""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import polars as pl

DEPTH_MAX = 64
LINE_BYTES_UNSCREENED = 4096

_STRING = (
    r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
    r'|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})))*"'
)
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_SPACE = r"[ \t\r\n]*"
_SCALAR = f"(?:{_STRING}|{_NUMBER}|true|false|null)"


def _object(value: str) -> str:
    member = f"{_STRING}{_SPACE}:{_SPACE}{value}{_SPACE}"
    return rf"\{{{_SPACE}(?:{member}(?:,{_SPACE}{member})*)?\}}"


def _array(value: str) -> str:
    return rf"\[{_SPACE}(?:{value}{_SPACE}(?:,{_SPACE}{value}{_SPACE})*)?\]"


_NESTED = f"(?:{_SCALAR}|{_object(_SCALAR)}|{_array(_SCALAR)})"
_NESTED_TWICE = f"(?:{_SCALAR}|{_object(_NESTED)}|{_array(_NESTED)})"

# What matches is valid JSON (RFC 8259). Valid JSON that is nested deeper does not match; it is then read exactly.
SOUND_OBJECT = f"^{_SPACE}{_object(_NESTED_TWICE)}{_SPACE}$"
SOUND_VALUE = f"^{_SPACE}{_NESTED_TWICE}{_SPACE}$"

# What matches is valid JSON in the form that polars gives it, so it need not be read: strings without escapes, short
# whole numbers, `, ` and `: ` as separators, nested as deep as SOUND_OBJECT. Most programs that write JSON into a
# column write it so.
_PLAIN = r'(?:"[^"\\\x00-\x1f]*"|-?[1-9][0-9]{0,14}|0|true|false|null)'
PLAIN_DEPTH = 3


def _plain_object(value: str) -> str:
    member = rf'"[^"\\\x00-\x1f]*": {value}'
    return rf"\{{(?:{member}(?:, {member})*)?\}}"


def _plain_array(value: str) -> str:
    return rf"\[(?:{value}(?:, {value})*)?\]"


_PLAIN_NESTED = f"(?:{_PLAIN}|{_plain_object(_PLAIN)}|{_plain_array(_PLAIN)})"
_PLAIN_TWICE = f"(?:{_PLAIN}|{_plain_object(_PLAIN_NESTED)}|{_plain_array(_PLAIN_NESTED)})"
CANONICAL_OBJECT = f"^{_plain_object(_PLAIN_TWICE)}$"
CANONICAL_VALUE = f"^{_PLAIN_TWICE}$"

# What a JSON string escapes.
ESCAPED = r'["\\\x00-\x1f]'

# An escaped surrogate; and what polars does not escape again in a nested value: backslashes, control characters, and
# whatever is escaped in a key.
ESCAPE = r"\\(?:u[dD][89a-fA-F]|[\\bft]|u00[01]|u005[cC]|.[^\"]*\"\s*:)"
# Such an escape, or a number of 16 digits and more or with an exponent, where a value can stand.
INEXACT = ESCAPE + r"|[:,\[]\s*-?(?:[0-9.]{16,}|[0-9.]+[eE])"
# Any number but a short whole one, which is quicker to look for. What ends in a quote is the end of a time.
ODD_NUMBER = r"[:,\[]\s*-?[0-9]+(?:\.[0-9]+[^0-9\"+:Z-]|[eE]|[0-9]{14}|\.[0-9]{14})"


# A string, or the rest of a text in which it does not end. It never goes back on what it has read, so that a line of
# escaped quotes takes no longer than another.
STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
BRACKETS = np.frombuffer(b"{[}]", dtype=np.uint8)


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class JsonFault:
    """Why a text is not the JSON that it should be: a problem code, and what was found."""

    code: str
    message: str


def parse(text: str, depth_max: int = DEPTH_MAX) -> Any:
    """The value of a JSON text, numbers as `Number`. Returns a JsonFault where it cannot be read."""
    if is_too_deep(text, depth_max):
        return JsonFault("too_deep", f"nested deeper than {depth_max} levels")
    try:
        value = json.loads(
            text, parse_int=Number, parse_float=Number, parse_constant=refuse_constant,
            object_pairs_hook=first_of_each,
        )  # fmt: skip
    except json.JSONDecodeError as error:
        return JsonFault("malformed_json", f"{error.msg.lower()} at character {error.pos + 1}")
    except (ValueError, RecursionError) as error:
        return JsonFault("malformed_json", str(error))
    if has_lone_surrogate(text):
        return JsonFault("malformed_json", "an escape such as \\ud800 without its other half is not a character")
    return value


def keys(text: str) -> set[str]:
    """The keys of a text that `parse` reads as a JSON object; none of another."""
    if "\\u" in text or is_too_deep(text, DEPTH_MAX):
        value = parse(text)
        return set(value) if isinstance(value, dict) else set()
    try:
        # What the values are does not matter: Python reads these some times as fast as `parse` does.
        value = json.loads(text, parse_int=float, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return set()
    return set(value) if isinstance(value, dict) else set()


def first_of_each(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose first value of a key counts, as polars has it."""
    found: dict[str, Any] = {}
    for key, value in members:
        found.setdefault(key, value)
    return found


def too_deep(texts: pl.Series, depth_max: int) -> pl.Series:
    """Which of the texts nest deeper; false for null. Only those with more brackets than that are looked into."""
    many = (texts.str.count_matches(r"[\[{]") > depth_max).fill_null(False)
    if not many.any():
        return many
    index = many.arg_true()
    deep = [is_too_deep(text, depth_max) for text in texts.gather(index)]
    return pl.repeat(False, len(texts), eager=True).scatter(index, pl.Series(deep, dtype=pl.Boolean))


def is_too_deep(text: str, depth_max: int) -> bool:
    """Whether brackets outside of strings nest deeper; also in a text that is no JSON."""
    if text.count("{") + text.count("[") <= depth_max:
        return False
    marks = np.frombuffer(STRING.sub("", text).encode(), dtype=np.uint8)
    opening = np.isin(marks, BRACKETS[:2]).astype(np.int64)
    return int((opening - np.isin(marks, BRACKETS[2:])).cumsum().max(initial=0)) > depth_max


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def has_lone_surrogate(text: str) -> bool:
    if "\\u" not in text:
        return False
    paired = re.sub(r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}", "", text)
    return re.search(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}", paired) is not None


def kind(value: Any) -> str:
    """The JSON name of a parsed value's type."""
    if isinstance(value, Number):
        return "number"
    names: dict[type, str] = {str: "string", dict: "object", list: "array", bool: "boolean", type(None): "null"}
    return names[type(value)]


def canonical(value: Any) -> str:
    """JSON text in the very form that polars gives nested values: `{"a": 1, "b": [true, null]}`."""
    if isinstance(value, Number):
        return plain_number(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{canonical(key)}: {canonical(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(canonical(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def plain_number(number: str) -> str:
    """As polars prints it where that loses nothing, else as it was written."""
    if len(number) < 16 and "e" not in number.lower() and "." in number:
        as_float = float(number)
        if math.isfinite(as_float):
            return str(int(as_float)) if as_float.is_integer() else repr(as_float)
    return number


def canonical_values(
    texts: pl.Series, *, objects_only: bool, depth_max: int = DEPTH_MAX
) -> tuple[pl.Series, dict[int, JsonFault]]:
    """JSON texts of a column in canonical form, and the faults of those that are not JSON, by their index.

    Null stays null; what has a fault becomes null. With `objects_only`, other JSON values are faults.
    """
    plain = texts.str.contains(CANONICAL_OBJECT if objects_only else CANONICAL_VALUE)
    if depth_max < PLAIN_DEPTH:
        plain &= ~too_deep(texts, depth_max)
    if plain.all():
        return texts, {}
    others = (~plain).arg_true()
    read, faults = read_values(texts.gather(others), objects_only=objects_only, depth_max=depth_max)
    return texts.scatter(others, read), {others[at]: fault for at, fault in faults.items()}


def read_values(texts: pl.Series, *, objects_only: bool, depth_max: int) -> tuple[pl.Series, dict[int, JsonFault]]:
    """As `canonical_values`, for texts that have to be read."""
    sound = texts.str.contains(SOUND_OBJECT if objects_only else SOUND_VALUE) & ~texts.str.contains(
        INEXACT + r"|[\r\n]"
    )
    sound &= ~too_deep(texts, depth_max)
    sound = sound.fill_null(False)
    exact = (~sound & texts.is_not_null()).arg_true().to_list()
    values: list[str | None] = []
    faults: dict[int, JsonFault] = {}
    for index in exact:
        value = parse(texts[index], depth_max)
        if not isinstance(value, JsonFault) and objects_only and not isinstance(value, dict):
            value = JsonFault("not_object", f"found {kind(value)}")
        if isinstance(value, JsonFault):
            faults[index] = value
        values.append(None if isinstance(value, JsonFault) else canonical(value))
    result = in_polars_form(texts, sound)
    if exact:
        result = result.scatter(exact, pl.Series(values, dtype=pl.String))
    return result, faults


def in_polars_form(texts: pl.Series, sound: pl.Series) -> pl.Series:
    """The sound texts as polars prints the value that it reads; null elsewhere."""
    lines = pl.select(pl.when(sound).then('{"v":' + pl.lit(texts) + "}").otherwise(pl.lit('{"v":null}'))).to_series()
    body = io.BytesIO()
    pl.DataFrame({"line": lines}).write_csv(body, include_header=False, quote_style="never")
    return pl.read_ndjson(body.getvalue(), schema={"v": pl.String})["v"].alias(texts.name)


def quoted(text: pl.Expr) -> pl.Expr:
    """The text as a JSON string; null stays null."""
    encoded = pl.struct(text.alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}")
    return pl.when(text.is_not_null()).then(encoded)
