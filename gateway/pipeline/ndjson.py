"""NDJSON lines to rows: polars reads what it reads exactly, the few other lines are read one by one."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from gateway.config import FeedSettings
from gateway.contracts import Contract
from gateway.errors import DropRefused
from gateway.pipeline import json_text
from gateway.pipeline.findings import none_of
from gateway.pipeline.header import NAME_CHARACTERS_MAX
from gateway.pipeline.json_text import JsonFault
from gateway.pipeline.records import Records
from gateway.pipeline.rows import INDEX, LINE, ROW, Rows, gathered, place_of
from gateway.pipeline.source import Source
from gateway.pipeline.traces import traces

CLOSING = ord("}")
KEYS_SAMPLED = 500
# To split so little text needs no reader.
SPLIT_BYTES = 64 << 10
# The reader leaves out a second byte-order mark too.
BOM = "\ufeff"
BOOLEANS = ["true", "false"]
UNUSABLE_KEY = f"a key holds control characters, or more than {NAME_CHARACTERS_MAX:,} characters"


class NdjsonReader:
    """Reads the framed lines of one drop, chunk by chunk (U20, C27).

    Columns of the contract come as text; with `further_columns = "keep"` every other key comes as JSON text, so that
    a string "1" and a number 1 stay apart. A line that is not a JSON object is broken.
    """

    def __init__(self, source: Source, contract: Contract, policy: FeedSettings) -> None:
        self._source = source
        self._depth_max = policy.json_depth_max
        self._columns_max = policy.columns_max
        self._declared = [column.name for column in contract.columns]
        self._known = set(self._declared)
        self._json = {column.name for column in contract.columns if column.type in ("object", "tags")}
        self._objects = {column.name for column in contract.columns if column.type == "object"}
        self._text = {column.name for column in contract.columns if column.type == "string"}
        self._keeps_further = contract.further_columns == "keep"
        self._pattern = inexact_pattern(contract)
        looks = [rf'"{pl.escape_regex(c.name)}"\s*:\s*[^{{\s]' for c in contract.columns if c.type == "object"]
        # Each by itself is quicker than all as one pattern, since each has a piece of text to look for first.
        self._quick_looks = [json_text.ODD_NUMBER, json_text.ESCAPE, *looks]
        # Whether lines are screened before they are parsed: from the first one on that the parser refuses.
        self._wary = False

    def rows(self, records: Records, first_row: int) -> Rows:
        """The rows of one chunk of records, none of them blank; the first has the number `first_row`."""
        octets = self._source.octets
        # Most broken lines are cut off, and are not given to the parser at all.
        whole = octets[records.end - 1] == CLOSING
        at_whole = pl.Series(np.flatnonzero(whole), dtype=pl.Int64)
        body = gathered(octets, records.where(whole))
        lines = lines_of(body)
        frame, exact = self._read_by_polars(records.where(whole), lines, body)
        one_by_one = dict(zip(at_whole.filter(exact).to_list(), lines.filter(exact).to_list(), strict=True))
        seen = traces(body)
        for at in np.flatnonzero(~whole):
            text = octets[records.start[at] : records.end[at]].tobytes()
            one_by_one[int(at)] = text.decode()
            seen |= traces(text)
        exact_frame, faults, no_text = self._read_exactly(one_by_one, first_row)
        frame = frame.with_columns(at_whole.filter(~exact).alias(INDEX))
        if exact_frame.height:
            frame = pl.concat([frame, exact_frame], how="diagonal").sort(INDEX)
        further = frozenset(name for name in frame.columns if name not in self._declared and name != INDEX)
        places = place_of(records, first_row)
        placed = pl.concat([places[frame[INDEX]] if faults else places, frame.drop(INDEX)], how="horizontal")
        broken = places[sorted(faults)].with_columns(
            code=pl.Series([faults[at].code for at in sorted(faults)], dtype=pl.String),
            message=pl.Series([faults[at].message for at in sorted(faults)], dtype=pl.String),
        )
        unknown = (
            self._first_seen(placed, further) if self._keeps_further else self._sampled_keys(lines, places[at_whole])
        )
        return Rows(placed, broken, json_columns=further, traces=seen, canonical=True, unknown=unknown, no_text=no_text)

    def _first_seen(self, rows: pl.DataFrame, names: Collection[str]) -> dict[str, tuple[int, int]]:
        """Row and line where each of these columns has its first value."""
        first = {name: int(rows[name].is_not_null().arg_max() or 0) for name in names if rows.height}
        return {name: (rows[ROW][at], rows[LINE][at]) for name, at in first.items()}

    def _sampled_keys(self, lines: pl.Series, places: pl.DataFrame) -> dict[str, tuple[int, int]]:
        """Keys that the contract does not know, in up to KEYS_SAMPLED lines that are evenly spread."""
        found: dict[str, tuple[int, int]] = {}
        step = max(1, -(-len(lines) // KEYS_SAMPLED))
        for at, line in enumerate(lines.gather_every(step).to_list()):
            for name in filter(is_usable, json_text.keys(line) - self._known):
                found.setdefault(name, (places[ROW][at * step], places[LINE][at * step]))
        return found

    def _read_by_polars(self, records: Records, lines: pl.Series, body: bytes) -> tuple[pl.DataFrame, pl.Series]:
        """The lines that polars reads, and a mask of those that are left to be read exactly.

        The first attempt takes all, so that a file without a bad line is parsed once. Where it fails, the lines that
        are not surely sound are left out; should the parser still refuse, every line is read exactly.
        """
        long = pl.Series(records.end - records.start > json_text.LINE_BYTES_UNSCREENED, dtype=pl.Boolean)
        long |= json_text.too_deep(lines, self._depth_max)
        for wary in (self._wary, True):
            left = long | ~lines.str.contains(json_text.SOUND_OBJECT) if wary else long
            taken = ~left
            some = body if taken.all() else gathered(self._source.octets, records.where(taken.to_numpy()))
            try:
                frame, strings = self._parse(some)
            except pl.exceptions.PolarsError:
                # A file with one such line is likely to have more.
                self._wary = True
                continue
            read = lines.filter(taken)
            if frame.height != len(read):
                raise AssertionError(f"polars read {frame.height} of {len(read)} lines")
            wrong = self._inexact(read, frame) | holds_other_types(read, strings)
            if not wrong.any():
                return frame, left
            return frame.filter(~wrong), left.scatter(taken.arg_true().filter(wrong), True)
        nothing = pl.DataFrame(schema=dict.fromkeys(self._declared, pl.String))
        return nothing, pl.repeat(True, len(lines), eager=True)

    def _inexact(self, lines: pl.Series, frame: pl.DataFrame) -> pl.Series:
        """The lines of which polars lost something that the contract wants to know.

        Quick looks find those that can be such, and the pattern that decides is only tried on them.
        """
        suspects = none_of(len(lines))
        for look in self._quick_looks:
            # One by one, so in this thread: several at once would keep the threads that parse the next chunk waiting.
            suspects |= lines.str.contains(look)
        texts = [name for name in self._declared if name not in self._json and may_be_odd(frame[name])]
        if texts:
            suspects |= frame.select(pl.any_horizontal(is_odd(name) for name in texts)).to_series()
        if not suspects.any():
            return suspects
        index = suspects.arg_true()
        decided = lines.gather(index).str.contains(self._pattern)
        return pl.repeat(False, len(lines), eager=True).scatter(index.filter(decided), True)

    def _parse(self, body: bytes) -> tuple[pl.DataFrame, list[str]]:
        """Lines as text columns, further ones as JSON text, and which of these polars took for strings."""
        if not body:
            return pl.DataFrame(schema=dict.fromkeys(self._declared, pl.String)), []
        further: dict[str, Any] = {}
        if self._keeps_further:
            # Without rows: a column for each of very many keys is refused before it takes memory.
            inferred = pl.scan_ndjson(io.BytesIO(body), infer_schema_length=None).collect_schema()
            further = {name: dtype for name, dtype in inferred.items() if name not in self._declared}
            refuse_too_many(further, self._columns_max)
            if not all(map(is_usable, further)):
                raise pl.exceptions.ComputeError(UNUSABLE_KEY)
        schema = dict.fromkeys([*self._declared, *further], pl.String)
        frame = pl.read_ndjson(body, schema=schema)
        strings = [name for name, dtype in further.items() if dtype == pl.String]
        return frame.with_columns(json_text.quoted(pl.col(name)).alias(name) for name in strings), strings

    def _read_exactly(
        self, lines: Mapping[int, str], first_row: int
    ) -> tuple[pl.DataFrame, dict[int, JsonFault], dict[str, list[int]]]:
        """Lines by their index, one by one: the broken few, and those that polars would not read exactly.

        Returns also, by column, the record numbers of values that are not text where text is wanted.
        """
        no_text: dict[str, list[int]] = {}
        found: dict[str, list[str | None]] = {name: [] for name in self._declared}
        index: list[int] = []
        faults: dict[int, JsonFault] = {}
        for at in sorted(lines):
            value = json_text.parse(lines[at], self._depth_max)
            if isinstance(value, JsonFault):
                faults[at] = value
            elif not isinstance(value, dict):
                faults[at] = JsonFault("not_an_object", f"expected a JSON object, found {json_text.kind(value)}")
            elif not all(map(is_usable, value)):
                faults[at] = JsonFault("malformed_json", UNUSABLE_KEY)
            else:
                index.append(at)
                self._append(value, found, len(index) - 1)
                for name in self._text & value.keys():
                    if isinstance(value[name], dict | list | bool):
                        no_text.setdefault(name, []).append(first_row + at)
        schema = {INDEX: pl.Int64} | dict.fromkeys(found, pl.String)
        return pl.DataFrame({INDEX: index} | found, schema=schema), faults, no_text

    def _append(self, value: dict[str, Any], found: dict[str, list[str | None]], before: int) -> None:
        """Put one object into the columns; a key that is new gets a column with `before` nulls."""
        if self._keeps_further:
            for name in value.keys() - found.keys():
                found[name] = [None] * before
            refuse_too_many(found.keys() - self._known, self._columns_max)
        for name, column in found.items():
            inner = value.get(name)
            # Tags may be a text, `a;b`, and polars gives that without its quotes too.
            is_json = name in self._objects or (name in self._json and not isinstance(inner, str))
            plain = name in self._declared and not is_json
            column.append(None if inner is None else as_text(inner, plain))


def inexact_pattern(contract: Contract) -> str:
    """A pattern of lines of which polars would lose something that the contract wants to know."""
    texts = "|".join(pl.escape_regex(c.name) for c in contract.columns if c.type != "object")
    objects = "|".join(pl.escape_regex(c.name) for c in contract.columns if c.type == "object")
    patterns = [json_text.INEXACT]
    # A number with a fraction, a boolean or a nested value where text is expected: as text they all look alike.
    patterns += [rf'"(?:{texts})"\s*:\s*(?:-?[0-9]+\.|[{{\[tf])'] if texts else []
    patterns += [rf'"(?:{objects})"\s*:\s*[^{{\s]'] if objects else []
    return "|".join(patterns)


def may_be_odd(texts: pl.Series) -> bool:
    """False where no text of a column can be what `is_odd` looks for: its greatest tells."""
    greatest = texts.max()
    return isinstance(greatest, str) and greatest >= "["


@cache
def is_odd(name: str) -> pl.Expr:
    """True for a text that may have been a nested value or a boolean."""
    text = pl.col(name)
    nested = ((text >= "[") & (text < "\\")) | ((text >= "{") & (text < "|"))
    return (nested | text.is_in(BOOLEANS)).fill_null(False)


def lines_of(body: bytes) -> pl.Series:
    """The lines of a text that has no NUL."""
    if len(body) <= SPLIT_BYTES:
        lines = body.decode().removeprefix(BOM).split("\n")[:-1]
        return pl.Series("line", [line.removesuffix("\r") for line in lines], dtype=pl.String)
    return pl.read_csv(
        body, has_header=False, schema={"line": pl.String}, infer_schema=False, separator="\0",
        quote_char=None, raise_if_empty=False,
    )["line"]  # fmt: skip


def holds_other_types(lines: pl.Series, strings: list[str]) -> pl.Series:
    """The lines in which a column that polars took for strings has another JSON type."""
    if not strings:
        return pl.repeat(False, len(lines), eager=True)
    names = "|".join(map(pl.escape_regex, strings))
    return lines.str.contains(rf'"(?:{names})"\s*:\s*[-0-9tf\[{{]')


def is_usable(key: str) -> bool:
    return len(key) <= NAME_CHARACTERS_MAX and not any(character < " " for character in key)


def refuse_too_many(further: Collection[str], columns_max: int) -> None:
    """Each key that the contract does not know is a column of all rows."""
    if len(further) > columns_max:
        raise DropRefused(
            "too_many_columns",
            f"the records have more than {columns_max:,} different keys, and no more are allowed",
            hint="Put what differs from record to record into values, not into keys.",
        )


def as_text(value: Any, plain: bool) -> str:
    """A value as a text column holds it: strings and numbers bare where `plain`, else JSON text."""
    if plain and isinstance(value, str):
        return str(value)
    return json_text.canonical(value)
