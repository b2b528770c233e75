"""What good rows bring to the store: updates of profiles and companies, and events (RULES.md sections 3 to 5).

Rows are taken before those of one identity are merged, so that each attribute keeps the time and the row that it came
from. What a row is about and what its values are is written as the result files have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import polars as pl

from gateway.contracts import Contract, times
from gateway.contracts.date_formats import DATE_HEADER
from gateway.contracts.model import EventColumns, Identify
from gateway.pipeline import few, json_text
from gateway.pipeline.drop import Drop
from gateway.pipeline.findings import none_of
from gateway.pipeline.header import Header
from gateway.pipeline.members import KEY_ENDS, VALUE_ENDS, members, paired
from gateway.pipeline.nested import nested_columns
from gateway.pipeline.results import expressions, is_json, json_value, ndjson_line
from gateway.pipeline.rows import PLACE, ROW
from gateway.pipeline.rules import all_hold
from gateway.pipeline.validate import TIME, Validated, has_value

# By table: TIME (never null), ROW, namespace, identity; of an event what else `EVENT_ROWS` has, else attributes.
Brought = Mapping[str, pl.DataFrame]

TEXT, MOMENT = pl.String(), pl.Datetime("us", "UTC")
# The files below `store/`; the store has the same in its `shapes`, which cannot be imported without all of it.
# Attributes are PAIRS in a column `attributes`, or a column each, TEXT_OF or JSON_OF and its name: text,
# or JSON text, in which `null` blanks. A null is an absent attribute.
PROFILE_ROWS = pl.Schema({"namespace": TEXT, "identity": TEXT, "time": MOMENT, "row": pl.Int64()})
TEXT_OF, JSON_OF = "text:", "json:"
# With more columns than these most values are absent, and rows are narrower as pairs.
COLUMNS_MAX = 256
EVENT_ROWS = pl.Schema(
    {
        "namespace": TEXT,
        "identity": TEXT,
        "name": TEXT,
        "type": TEXT,
        "time": MOMENT,
        "row": pl.Int64(),
        "properties": TEXT,
        "unique_key": TEXT,
        "can_trigger": pl.Boolean(),
        "in_activity_log": pl.Boolean(),
    }
)


@dataclass(frozen=True, slots=True)
class Written:
    """Good rows of a chunk, and what tells how their values are written (see `judge.Judged`).

    aside: columns that are no property or attribute: the time, and those that an object was put together from.
    """

    frame: pl.DataFrame
    drop: Drop
    json_columns: frozenset[str]
    escapes: bool
    aside: frozenset[str]

    @property
    def contract(self) -> Contract:
        return self.drop.contract

    def valued(self, left_out: set[str]) -> list[str]:
        """The columns that have a value: those of the contract in its order, the others by name, as in no file."""
        declared = [column.name for column in self.contract.columns]
        further = sorted(set(self.frame.columns) - {*declared, *PLACE, TIME})
        left_out = {*left_out, *self.aside}
        return [name for name in (*declared, *further) if name not in left_out and has_value(self.frame[name])]

    def objects(self, names: list[str]) -> pl.Series:
        """Those of the columns that each row has a value in, as a JSON object."""
        line = ndjson_line(self.frame, self.drop, names, self.json_columns, self.escapes)
        return few.select(self.frame, [pl.col(ROW), line.alias("line")])["line"]

    def attributes(self, names: list[str]) -> list[pl.Series]:
        """Those of the columns, as they are left for the store."""
        if len(names) > COLUMNS_MAX:
            return [self.pairs(names).alias("attributes")]
        return [self.attribute(name) for name in names]

    def attribute(self, name: str) -> pl.Series:
        """A column as it is, of text where nothing in it is to be escaped as JSON."""
        values = self.frame[name]
        if is_json(name, self.contract, self.json_columns):
            return values.alias(JSON_OF + name)
        declared = self.contract.by_name.get(name)
        escapes = self.escapes or (declared is not None and declared.default is not None)
        if escapes and values.str.contains(json_text.ESCAPED).any():
            return self.frame.select(json_text.quoted(pl.col(name)).alias(JSON_OF + name)).to_series()
        return values.alias(TEXT_OF + name)

    def pairs(self, names: list[str]) -> pl.Series:
        """Those of the columns that each row has a value in, as PAIRS."""
        cells = []
        for name in names:
            value = json_value(self.frame, name, self.drop, self.json_columns, self.escapes)
            cells.append(pl.concat_str(expressions([f"{VALUE_ENDS}{name}{KEY_ENDS}", *value])))
        line = pl.concat_str(cells, ignore_nulls=True).str.slice(1)
        return paired(self.frame.select(ROW, line.alias("line"))["line"])

    def where(self, mask: pl.Series, names: list[str] | None = None) -> Written:
        """Some of the rows, with all columns or these."""
        frame = self.frame if names is None else self.frame.select(list(dict.fromkeys(names)))
        return replace(self, frame=frame.filter(mask))


def brought(found: Validated, drop: Drop, header: Header, json_columns: frozenset[str], escapes: bool) -> Brought:
    """What the good rows of a chunk bring, by table, in the order of the file.

    A row that is about nobody brings nothing.
    """
    contract = drop.contract
    if not found.good.height or not contract.identity:
        return {}
    own_time = [contract.time.column] if contract.time else []
    own_time += [name for name in header.dates if (match := DATE_HEADER.match(name)) and match["name"] in own_time]
    aside = frozenset([*own_time, *nested_columns(header.names, contract)])
    # Cells that hold the marker are made blanks below, so that none is left.
    if drop.policy.null_marker is not None:
        drop = replace(drop, policy=drop.policy.model_copy(update={"null_marker": None}))
    dated = {name: key for name, key in dated_as(header).items() if name not in aside}
    frame = with_dates(with_time(found.good, drop), drop, header, dated)
    blanked = found.blanked.rename(dated, strict=False) if dated else found.blanked
    rows = with_blanks(Written(frame, drop, json_columns, escapes, aside), blanked)
    tables = {"profiles": profiles(rows)} if contract.kind == "profiles" else dict(mixed(rows, drop))
    return {name: frame for name, frame in tables.items() if frame.height}


def with_time(frame: pl.DataFrame, drop: Drop) -> pl.DataFrame:
    """With a TIME in each row: its own, or that of the upload (B5, B8)."""
    as_of = pl.Series(TIME, [times.number(drop.as_of)]).cast(times.UTC_MICROSECONDS)
    if TIME not in frame.columns:
        return frame.hstack([as_of.new_from_index(0, frame.height)])
    return frame.with_columns(pl.col(TIME).fill_null(pl.lit(as_of))) if frame[TIME].null_count() else frame


def dated_as(header: Header) -> dict[str, str]:
    """By columns that declare a date format, what their values are called in the store: the name without the format.

    Of two that would be called the same only the first is, and none where there is a plain column of that name.
    """
    found: dict[str, str] = {}
    for name in header.dates:
        match = DATE_HEADER.match(name)
        if match and match["name"] and match["name"] not in {*header.names, *found.values()}:
            found[name] = match["name"]
    return found


def with_dates(frame: pl.DataFrame, drop: Drop, header: Header, dated: Mapping[str, str]) -> pl.DataFrame:
    """With their values as ISO 8601 in UTC: files may declare one property with different formats."""
    if not dated:
        return frame
    moments = [
        times.write_iso(times.parse_date(pl.col(name), header.dates[name], drop.timezone)).alias(key)
        for name, key in dated.items()
    ]
    return frame.with_columns(moments).drop(dated)


def with_blanks(rows: Written, blanked: pl.DataFrame) -> Written:
    """Cells that hold the null marker blank an attribute: JSON null. An event has no such property."""
    if not blanked.width:
        return rows
    json_columns = rows.json_columns
    cells = []
    for mask in blanked:
        value = pl.col(mask.name)
        if rows.contract.kind == "profiles":
            value = value if is_json(mask.name, rows.contract, json_columns) else json_text.quoted(value)
            cells.append(pl.when(pl.lit(mask)).then(pl.lit("null")).otherwise(value).alias(mask.name))
        else:
            cells.append(pl.when(~pl.lit(mask)).then(value).alias(mask.name))
    if rows.contract.kind == "profiles":
        json_columns |= frozenset(blanked.columns)
    return replace(rows, frame=rows.frame.with_columns(cells), json_columns=json_columns)


def profiles(rows: Written) -> pl.DataFrame:
    """A row of a contract of profiles: all that it says is what is known of a person."""
    apart = told_apart(rows)
    known = apart.attributes(apart.valued({*identities(rows)[:1]}))
    return about_somebody(pl.DataFrame([rows.frame[TIME], rows.frame[ROW], *whom(rows), *known]))


def mixed(rows: Written, drop: Drop) -> Iterator[tuple[str, pl.DataFrame]]:
    """The rows that identify somebody, by table, and the others, which are events (U1 to U5)."""
    left = ~none_of(rows.frame.height)
    by_table: dict[str, list[pl.DataFrame]] = {}
    for rule in rows.contract.identify:
        mine = left & few.select(rows.frame, [all_hold(rule.when).alias("mine")])["mine"]
        left &= ~mine
        if mine.any():
            by_table.setdefault(rule.table, []).append(identified(rows, rule, mine))
    for table, frames in by_table.items():
        yield table, pl.concat(frames).sort(ROW) if len(frames) > 1 else frames[0]
    if left.any():
        yield "events", events(rows if left.all() else rows.where(left), drop)


def identified(rows: Written, rule: Identify, mine: pl.Series) -> pl.DataFrame:
    """Identify records: what they know of somebody is an object (U109 to U119), and a few columns beside it."""
    rows = rows.where(mine, [ROW, TIME, rule.identity, rule.attributes, *rule.columns])
    known = pl.col(rule.attributes).fill_null("{}")
    if rule.columns:
        # What the object itself says of such a name counts, since it comes first.
        beside = rows.objects([name for name in rule.columns if has_value(rows.frame[name])])
        both = pl.concat_str(known.str.strip_suffix("}"), pl.lit(", "), pl.lit(beside).str.slice(1))
        known = pl.when(known == "{}").then(pl.lit(beside)).when(pl.lit(beside) == "{}").then(known).otherwise(both)
    attributes = members(rows.frame.select(known.alias("known"))["known"]).alias("attributes")
    identity = pl.col(rule.identity).alias("identity")
    namespace = pl.lit(rule.identity).alias("namespace")
    return about_somebody(rows.frame.select(TIME, ROW, namespace, identity, attributes))


def events(rows: Written, drop: Drop) -> pl.DataFrame:
    """Rows as events (F24, B8, B11, B12, B15, B16)."""
    contract, policy = rows.contract, drop.policy
    of_event = contract.event or EventColumns()
    named = [pl.col(name) for name in (of_event.name, of_event.type) if name]
    age = times.literal(drop.as_of) - pl.col(TIME)
    cells = [
        pl.col(TIME),
        pl.col(ROW),
        *map(pl.lit, whom(rows)),
        pl.coalesce(*named, pl.lit(contract.name)).alias("name"),
        (pl.col(of_event.type) if of_event.type else pl.lit(None, TEXT)).alias("type"),
        pl.lit(properties(rows, of_event)).alias("properties"),
        unique_key(rows).alias("unique_key"),
        (age <= timedelta(hours=policy.trigger_hours)).alias("can_trigger"),
        (age <= timedelta(days=policy.activity_log_days)).alias("in_activity_log"),
    ]
    return about_somebody(few.select(rows.frame, cells))


def properties(rows: Written, of_event: EventColumns) -> pl.Series:
    """What an event says beside who, what and when, as a JSON object."""
    if of_event.properties:
        return rows.frame[of_event.properties].fill_null("{}")
    apart = told_apart(rows)
    return apart.objects(apart.valued({*identities(rows)[:1], of_event.name or "", of_event.type or ""}))


def unique_key(rows: Written) -> pl.Expr:
    """The values of the columns that tell an event from others, as a JSON array."""
    contract = rows.contract
    if not contract.unique:
        return pl.lit(None, TEXT)
    values = [
        pl.col(name) if is_json(name, contract, rows.json_columns) else json_text.quoted(pl.col(name))
        for name in contract.unique
    ]
    return pl.format(f"[{', '.join(['{}'] * len(values))}]", *(value.fill_null("null") for value in values))


def identities(rows: Written) -> list[str]:
    """Those of the contract's identities that a row has; whoever has the first of them goes by it."""
    return [name for name in rows.contract.identity if has_value(rows.frame[name])]


def whom(rows: Written) -> list[pl.Series]:
    """Whom a row is about: by the first of the contract's identities that it has."""
    frame, found = rows.frame, identities(rows) or [rows.contract.identity[0]]
    if not frame[found[0]].null_count():
        same = pl.Series("namespace", [found[0]]).new_from_index(0, frame.height)
        return [same, frame[found[0]].alias("identity")]
    names = [pl.when(pl.col(name).is_not_null()).then(pl.lit(name)) for name in found]
    return frame.select(namespace=pl.coalesce(names), identity=pl.coalesce(found)).get_columns()


def told_apart(rows: Written) -> Written:
    """An identity that a row does not go by is a value like any other; that which it goes by is none."""
    found = identities(rows)
    if len(found) < 2 or not rows.frame[found[0]].null_count():
        return rows
    earlier, cells = pl.col(found[0]).is_not_null(), []
    for name in found[1:]:
        cells.append(pl.when(earlier).then(pl.col(name)).alias(name))
        earlier |= pl.col(name).is_not_null()
    return replace(rows, frame=rows.frame.with_columns(cells))


def about_somebody(found: pl.DataFrame) -> pl.DataFrame:
    """Without the rows that have none of the identities; most contracts ask for one."""
    return found.filter(pl.col("identity").is_not_null()) if found["identity"].null_count() else found
