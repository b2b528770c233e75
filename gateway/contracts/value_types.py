"""The types of the contract language: each turns text into its normal form, or into null where it does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import langcodes
import polars as pl
import pycountry

from gateway.contracts.model import Column, ColumnType

Normalise = Callable[[pl.Expr], pl.Expr]

# RFC 5321 section 4.1.2 without quoted local parts and address literals, which no import needs. `{L}` are letters
# and digits: ASCII first, since a pattern of Unicode classes is ten times slower, and Unicode for what is left.
EMAIL = (
    r"^[{L}!#$%&'*+/=?^_`|~-]+(?:\.[{L}!#$%&'*+/=?^_`|~-]+)*"
    r"@(?:[{L}](?:[{L}-]*[{L}])?\.)+[{L}](?:[{L}-]*[{L}])$"
)
HOSTNAME = r"^(?:[{L}_](?:[{L}_-]*[{L}_])?\.)*[{L}_](?:[{L}_-]*[{L}_])?\.?(?::[0-9]{1,5})?$"
ASCII, UNICODE = "A-Za-z0-9", r"\p{L}\p{N}"
LONG_LABEL, LONG_BYTES = r"[^.@]{64}", 64
# To look for distinct texts among so few costs more than to judge them all.
FEW = 1000
IP_LITERAL = r"^\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?$"
URL = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@\s]*@)?(\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\]\s]+)(?::[0-9]{0,5})?((?:/[^?#\s]*)?)(?:[?#][^\s]*)?$"
INTEGER = r"^[+-]?[0-9]{1,18}$"
NORMAL_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
# Python's engine backtracks, so no two parts that can repeat have a character in common.
NORMAL_EMAIL = re.compile(
    r"(?=.{1,63}$)[A-Za-z0-9]+(?:[.+_-][A-Za-z0-9]+)*@(?:[A-Za-z0-9]+[.-])*[A-Za-z0-9]+\.[A-Za-z]{2,}"
)
NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"


@dataclass(frozen=True, slots=True)
class TypeRule:
    """One type: the code of a value that does not fit, what was expected in words, and the normal form.

    What matches `normal` as a whole is in normal form already; so can be what does not.
    """

    code: str
    expected: str
    normalise: Normalise
    normal: re.Pattern[str] | None = None


def rule_for(column: Column) -> TypeRule | None:
    """The type rule of a column; None where any text fits, for JSON, and for times, which are read apart."""
    if column.type == "integer" and column.min == 0 and column.max is None:
        return TypeRule("not_non_negative_integer", "a non-negative integer", integer, NORMAL_INTEGER)
    return RULES.get(column.type)


def integer(text: pl.Expr) -> pl.Expr:
    bare = text.str.strip_chars()
    return pl.when(bare.str.contains(INTEGER)).then(bare).cast(pl.Int64).cast(pl.String)


def number(text: pl.Expr) -> pl.Expr:
    bare = text.str.strip_chars()
    return pl.when(bare.str.contains(NUMBER)).then(bare)


def boolean(text: pl.Expr) -> pl.Expr:
    bare = text.str.strip_chars().str.to_lowercase()
    return pl.when(bare.is_in(["true", "false"])).then(bare)


def digits(text: pl.Expr) -> pl.Expr:
    """Digits with the spaces between them taken out (C15 to C17, X2)."""
    bare = text.str.strip_chars(" ")
    return pl.when(bare.str.contains(r"^[0-9]+(?: +[0-9]+)*$")).then(bare.str.replace_all(" ", "", literal=True))


def email(text: pl.Expr) -> pl.Expr:
    return text.map_batches(lambda texts: fitting(texts, EMAIL, 254), return_dtype=pl.String)


def hostname(text: pl.Expr) -> pl.Expr:
    """A host name or an IP literal, with or without a port."""
    named = text.map_batches(lambda texts: fitting(texts, HOSTNAME, 253), return_dtype=pl.String)
    return named.fill_null(pl.when(text.str.contains(IP_LITERAL)).then(text))


def fitting(texts: pl.Series, pattern: str, bytes_max: int) -> pl.Series:
    """The texts that fit the pattern, stripped; null for the others. Each distinct text is judged once."""
    bare = texts.str.strip_chars()
    distinct = bare if len(bare) <= FEW else bare.unique()
    fits = distinct.str.contains(pattern.replace("{L}", ASCII))
    if not fits.all():
        fits |= distinct.str.contains(pattern.replace("{L}", UNICODE))
    sizes = distinct.str.len_bytes()
    if (longest := sizes.max()) and int(str(longest)) >= LONG_BYTES:
        fits &= (sizes <= bytes_max) & ((sizes < LONG_BYTES) | ~distinct.str.contains(LONG_LABEL))
    return bare if fits.all() else only(bare, distinct.filter(fits).drop_nulls().to_list())


def only(bare: pl.Series, good: list[str]) -> pl.Series:
    """The texts that are among the good ones; null for the others."""
    return bare.set(~bare.is_in(pl.Series([good], dtype=pl.List(pl.String))), None)


def url(text: pl.Expr) -> pl.Expr:
    bare = text.str.strip_chars()
    return pl.when(bare.str.contains(URL)).then(bare)


def url_host(text: pl.Expr) -> pl.Expr:
    """The host of a URL that parses."""
    return text.str.strip_chars().str.extract(URL, 1)


def url_path(text: pl.Expr) -> pl.Expr:
    """The path of a URL that parses; `/` where it has none."""
    path = text.str.strip_chars().str.extract(URL, 2)
    return pl.when(path == "").then(pl.lit("/")).otherwise(path)


def country(text: pl.Expr) -> pl.Expr:
    """ISO 3166-1 alpha-2 and the reserved `UK` (X9, X12)."""
    bare = text.str.strip_chars().str.to_uppercase()
    return pl.when(bare.is_in(countries())).then(bare)


@cache
def countries() -> list[str]:
    return sorted({country.alpha_2 for country in pycountry.countries} | {"UK"})


def language(text: pl.Expr) -> pl.Expr:
    """A BCP 47 tag (RFC 5646), judged once for each distinct value."""
    return text.map_batches(known_languages, return_dtype=pl.String)


def known_languages(texts: pl.Series) -> pl.Series:
    bare = texts.str.strip_chars()
    tags = (bare if len(bare) <= FEW else bare.unique()).drop_nulls().to_list()
    good = [tag for tag in tags if is_language(tag)]
    return bare if len(good) == len(tags) else only(bare, good)


@lru_cache(maxsize=10_000)
def is_language(bare: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9]{1,8}(?:-[A-Za-z0-9]{1,8})*", bare)) and langcodes.tag_is_valid(bare)


RULES: dict[ColumnType, TypeRule] = {
    "integer": TypeRule("not_integer", "a whole number", integer, NORMAL_INTEGER),
    "number": TypeRule("not_number", "a number", number, re.compile(NUMBER)),
    "boolean": TypeRule("not_boolean", "true or false", boolean, re.compile("true|false")),
    "digits": TypeRule("not_digits", "digits, with spaces between them at most", digits, re.compile("[0-9]+")),
    "email": TypeRule("bad_email", "an email address", email, NORMAL_EMAIL),
    "url": TypeRule("bad_url", "a URL", url),
    "hostname": TypeRule("bad_hostname", "a host name", hostname),
    "country": TypeRule("bad_country", "an ISO 3166-1 alpha-2 country code", country),
    "language": TypeRule("bad_language", "a BCP 47 language tag", language),
}
