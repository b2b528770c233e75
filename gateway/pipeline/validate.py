"""Rows against their contract: the good rows in normal form, and every problem of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

import polars as pl
from ua_parser import parse as parse_user_agent

from gateway.contracts import Contract, times, value_types
from gateway.contracts.date_formats import DATE_HEADER
from gateway.contracts.model import Column, Conditions
from gateway.pipeline import damage, json_columns
from gateway.pipeline.damage import IdTallies
from gateway.pipeline.findings import Check, Findings
from gateway.pipeline.json_text import DEPTH_MAX
from gateway.pipeline.nested import with_nested
from gateway.pipeline.problems import Problems
from gateway.pipeline.rows import PLACE, ROW, Rows
from gateway.pipeline.time_columns import RAW, TimeTallies, time_columns

# The time of a row: Datetime in µs, UTC without a zone.
TIME = "\x1ftime"
# Browsers are named in the beginning, and what is parsed is remembered.
AGENT_CHARACTERS_MAX = 1024
FUTURE_TOLERANCE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Terms:
    """What rows are judged by: the contract, and what is known of the drop and its feed.

    `dates` are the columns whose header declares a date format; `columns` those that the file has.
    """

    contract: Contract
    as_of: datetime
    zone: str = "UTC"
    retention_days: int | None = None
    strict: bool = False
    null_marker: str | None = None
    dates: tuple[tuple[str, str], ...] = ()
    json_depth_max: int = DEPTH_MAX


@dataclass(frozen=True, slots=True)
class Tallies:
    """What is counted over all chunks of a drop, beside its problems."""

    times: TimeTallies = field(default_factory=TimeTallies)
    ids: IdTallies = field(default_factory=IdTallies)


def validate(rows: Rows, terms: Terms, problems: Problems, tallies: Tallies) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The good rows in normal form, and the places of the rejected ones.

    good: PLACE columns, TIME where the contract has a time, and a String column for each column of the contract
    and of the file. rejected: PLACE columns. Both in the order of the file.
    """
    raw = without_blanks(with_nested(rows.frame, terms.contract), terms)
    raw, markers = without_markers(raw, terms)
    findings = Findings(raw)
    findings.apply(raw, text_checks(rows))
    findings.apply(raw, damage.checks(raw, terms.contract, rows.traces))
    tallies.ids.add(raw, terms.contract)
    raw = with_defaults(raw, terms, findings)
    raw = with_urls(raw, terms.contract, findings)
    findings.apply(raw, presence_checks(terms.contract))
    frame = with_json(raw, terms, findings, rows.canonical)
    frame = with_normal_forms(frame, terms, findings, tallies.times)
    frame = with_user_agents(frame, terms.contract)
    frame = with_time(frame, terms, findings)
    frame = frame.with_columns(
        pl.when(markers[name]).then(pl.lit(terms.null_marker)).otherwise(pl.col(name)).alias(name)
        for name in markers.columns
    )
    findings.tell(rows.broken, problems)
    refused = pl.concat([rows.broken.select(*PLACE), frame.filter(findings.rejected).select(*PLACE)])
    return frame.filter(~findings.rejected), refused.sort(ROW)


def without_blanks(frame: pl.DataFrame, terms: Terms) -> pl.DataFrame:
    """All columns of the contract, blank values as null, and null where `keep` says that a column is ignored."""
    contract = terms.contract
    missing = [pl.lit(None, dtype=pl.String).alias(c.name) for c in contract.columns if c.name not in frame.columns]
    frame = frame.with_columns(missing)
    names = [name for name in frame.columns if name not in PLACE]
    # Whatever is blank begins with a character below "!", or has none.
    maybe = frame.select((pl.col(name) < "!").any() | (pl.col(name) > "\x7f").any() for name in names).row(
        0, named=True
    )
    frame = frame.with_columns(
        pl.when(pl.col(name).str.strip_chars() != "").then(pl.col(name)).alias(name) for name in names if maybe[name]
    )
    for keep in contract.keep:
        holds = all_hold(keep.when)
        ignored = [name for name in names if name not in keep.columns]
        frame = frame.with_columns(pl.when(~holds).then(pl.col(name)).alias(name) for name in ignored)
    return frame


def without_markers(frame: pl.DataFrame, terms: Terms) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cells that hold the feed's null marker as null, and a mask of them for each column that has some.

    A marker blanks what is stored; identities and required columns cannot be blanked, so there it is only blank.
    """
    if terms.null_marker is None:
        return frame, pl.DataFrame()
    names = [name for name in frame.columns if name not in PLACE]
    masks = frame.select((pl.col(name) == terms.null_marker).fill_null(False) for name in names)
    marked = [name for name in names if masks[name].any()]
    frame = frame.with_columns(pl.when(~masks[name]).then(pl.col(name)).alias(name) for name in marked)
    fixed = {*terms.contract.identity, *(column.name for column in terms.contract.columns if column.required)}
    return frame, masks.select(name for name in marked if name not in fixed)


def text_checks(rows: Rows) -> Iterator[Check]:
    """JSON values that are no text where text is wanted (U54, U73, U89)."""
    for name, numbers in rows.no_text.items():
        # A key that `keep` ignores is null by now.
        broken = pl.col(ROW).is_in(numbers) & pl.col(name).is_not_null()
        yield Check(name, "not_text_value", broken, f"{name}: expected text, found {{value}}")


def with_defaults(frame: pl.DataFrame, terms: Terms, findings: Findings) -> pl.DataFrame:
    """Defaults in place of blanks; where a default warns, a strict feed asks for the value instead (X3, X4)."""
    for column in terms.contract.columns:
        if not column.default_warns:
            continue
        absent = pl.col(column.name).is_null()
        used = f"{column.name}: absent, {column.default} is used"
        check = Check(column.name, "defaulted", absent, used, "warning", told_once=True)
        if terms.strict:
            check = Check(column.name, "missing_required", absent, f"{column.name}: required by this feed, but blank")
        findings.apply(frame, [check])
    return frame.with_columns(pl.col(c.name).fill_null(pl.lit(c.default)) for c in terms.contract.columns if c.default)


def with_urls(frame: pl.DataFrame, contract: Contract, findings: Findings) -> pl.DataFrame:
    """Columns that a URL overrides (U83, U84, U103)."""
    for column in contract.columns:
        if column.derive and column.derive.take in ("host", "path") and frame[column.derive.source].is_not_null().any():
            source = pl.col(column.derive.source)
            part = value_types.url_host(source) if column.derive.take == "host" else value_types.url_path(source)
            given = pl.col(column.name)
            value = part.fill_null(given) if column.derive.override else given.fill_null(part)
            frame = frame.with_columns(value.alias(column.name))
    return frame


def presence_checks(contract: Contract) -> Iterator[Check]:
    """Values that must be there: always, under conditions, or one of several (U52 to U77, C28, C29)."""
    for column in contract.columns:
        if column.required:
            yield Check(
                column.name, "missing_required", pl.col(column.name).is_null(), f"{column.name}: required, but blank"
            )
    sources = {column.name: column.derive.source for column in contract.columns if column.derive}
    for requirement in contract.requirements:
        for name in requirement.columns:
            blank = all_hold(requirement.when) & pl.col(name).is_null()
            if name in sources:
                # A source that does not parse is a problem of its own, told once.
                blank &= pl.col(sources[name]).is_null() | (sources[name] in requirement.columns)
            why = " and ".join(f"{key} is {either(values)}" for key, values in requirement.when.items())
            yield Check(name, "missing_required", blank, f"{name}: required when {why}, but blank")
    for group in contract.one_of:
        blank = pl.all_horizontal(pl.col(name).is_null() for name in group.columns)
        yield Check(
            group.columns[0], "missing_identity", blank, f"{either(group.columns)}: one is required, all are blank"
        )


def all_hold(conditions: Conditions) -> pl.Expr:
    """True in the rows where every condition holds."""
    holds = [pl.col(name).is_in(list(values)).fill_null(False) for name, values in conditions.items()]
    return pl.all_horizontal(holds) if holds else pl.lit(True)


def either(values: tuple[str, ...]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


def with_json(frame: pl.DataFrame, terms: Terms, findings: Findings, canonical: bool) -> pl.DataFrame:
    """Objects and tags in canonical form (U78, U80, X3, F12)."""
    for column in terms.contract.columns:
        texts = frame[column.name]
        if column.type == "object":
            values, faults = json_columns.objects(texts, terms.json_depth_max, canonical=canonical)
            findings.add_faults(frame, column.name, faults)
        elif column.type == "tags":
            values = json_columns.tags(texts)
            broken = pl.lit(texts.is_not_null() & values.is_null())
            message = f'{column.name}: expected tags separated by ; or a JSON array of strings, found "{{value}}"'
            findings.apply(frame, [Check(column.name, "bad_tags", broken, message)])
        else:
            continue
        frame = frame.with_columns(values.alias(column.name))
    return frame


def with_normal_forms(frame: pl.DataFrame, terms: Terms, findings: Findings, tallies: TimeTallies) -> pl.DataFrame:
    """Each column in the normal form of its type; what has none is a problem, or is dropped (`on_invalid`)."""
    forms: dict[str, pl.Expr] = {}
    checks: list[Check] = []
    for column in terms.contract.columns:
        form, rules = column_rules(column, terms)
        forms[column.name] = form
        checks += rules
    columns = time_columns(terms.contract, terms.dates, terms.zone)
    for time in columns:
        forms[time.name] = time.form
        checks += time.checks()
    both = frame.with_columns(pl.col(list(forms)).name.prefix(RAW))
    both = both.with_columns(form.alias(name) for name, form in forms.items())
    tallies.add(columns, both)
    masks = findings.apply(both, checks)
    for check, mask in zip(checks, masks, strict=True):
        if check.drops_value and mask.any():
            both = both.with_columns(pl.when(~mask).then(pl.col(check.column)).alias(check.column))
    return both.select(frame.columns)


def column_rules(column: Column, terms: Terms) -> tuple[pl.Expr, list[Check]]:
    """The normal form of a column, from its RAW text, and the checks of it."""
    raw, value = pl.col(RAW + column.name), pl.col(column.name)
    rule = value_types.rule_for(column)
    form = rule.normalise(raw) if rule else raw
    judged: list[tuple[str, pl.Expr, str]] = []
    if rule:
        judged.append((rule.code, raw.is_not_null() & value.is_null(), f'expected {rule.expected}, found "{{value}}"'))
    judged += list(value_rules(column, value))
    drops = column.on_invalid == "drop_value"
    note = "; the value was dropped" if drops else ""
    checks = [
        Check(
            column.name, column.code or code, broken, f"{column.name}: {message}{note}",
            "warning" if drops else "error",
            hint=column.hint or "", drops_value=drops, choices=column.allowed,
        )
        for code, broken, message in judged
    ]  # fmt: skip
    return form, checks


def value_rules(column: Column, value: pl.Expr) -> Iterator[tuple[str, pl.Expr, str]]:
    """Code, where it is broken, and message of each rule about a value in normal form. Null values pass."""
    given = value.is_not_null()
    if column.allowed:
        fits = value.is_in(list(column.allowed))
        yield "not_allowed", given & ~fits, f'expected one of {", ".join(column.allowed)}; found "{{value}}"'
    if column.placeholders:
        placeholder = value.str.strip_chars().str.to_lowercase().is_in([p.lower() for p in column.placeholders])
        yield "placeholder_identity", given & placeholder, '"{value}" is a placeholder, not a person'
    if column.pattern is not None:
        yield (
            "pattern_mismatch",
            given & ~value.str.contains(column.pattern),
            f'expected a match of {column.pattern}, found "{{value}}"',
        )
    if column.min is not None or column.max is not None:
        number = value.cast(pl.Float64, strict=False)
        low = number >= column.min if column.min is not None else pl.lit(True)
        high = number <= column.max if column.max is not None else pl.lit(True)
        code = "not_non_negative_integer" if column.min == 0 and column.max is None else "out_of_range"
        expected = "a non-negative integer" if code != "out_of_range" else range_words(column.min, column.max)
        yield code, given & ~(low & high).fill_null(False), f'expected {expected}, found "{{value}}"'
    if column.length_min is not None:
        short = value.str.len_chars() < column.length_min
        yield "too_short", given & short, f'expected {column.length_min} characters or more, found "{{value}}"'
    if column.length_max is not None:
        long = value.str.len_chars() > column.length_max
        yield "too_long", given & long, f'expected {column.length_max} characters at most, found "{{value}}"'


def range_words(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"{high:g} at most" if low is None else f"{low:g} or more"
    return f"{low:g} to {high:g}"


def with_user_agents(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Browser and operating system from the user agent where the row does not give them (U85 to U87)."""
    for column in contract.columns:
        if not column.derive or column.derive.take not in ("browser", "operating_system"):
            continue
        source, take = column.derive.source, column.derive.take
        wanting = frame[column.name].is_null() & frame[source].is_not_null()
        if wanting.any():
            agents = frame[source].filter(wanting).unique().to_list()
            names = pl.DataFrame(
                {"agent": agents, "name": [family(agent[:AGENT_CHARACTERS_MAX], take) for agent in agents]},
                schema_overrides={"name": pl.String},
            )
            derived = pl.col(source).replace_strict(names["agent"], names["name"], default=None, return_dtype=pl.String)
            frame = frame.with_columns(pl.col(column.name).fill_null(derived))
    return frame


@lru_cache(maxsize=100_000)
def family(agent: str, take: str) -> str | None:
    """The browser or operating system of a User-Agent header; `agent` is its beginning where it is very long."""
    parsed = parse_user_agent(agent)
    found = parsed.user_agent if take == "browser" else parsed.os
    return found.family if found else None


def with_time(frame: pl.DataFrame, terms: Terms, findings: Findings) -> pl.DataFrame:
    """TIME, and the stored form of time columns; events must lie within the retention and not in the future (F25)."""
    contract = terms.contract
    as_of = pl.lit(terms.as_of.replace(tzinfo=None), dtype=times.UTC_MICROSECONDS)
    for column in contract.columns:
        if column.type not in ("iso_time", "unix_time"):
            continue
        moment = pl.col(column.name)
        if contract.time and contract.time.column == column.name:
            source, own = time_source(column.name, terms)
            # A row without a time counts as of the landing of its drop (B8), and says so from here on.
            own = own.fill_null(as_of) if contract.time.default_as_of else own
            moment = own if source == column.name else moment
            frame = frame.with_columns(own.alias(TIME))
            if contract.kind != "profiles":
                findings.apply(frame, time_checks(source, as_of, terms))
        written = times.write_iso(moment) if column.type == "iso_time" else times.write_unix(moment)
        frame = frame.with_columns(written.alias(column.name))
    return frame


def time_source(name: str, terms: Terms) -> tuple[str, pl.Expr]:
    """The column of the rows' time, and its moments: `ts<dd/MM/yyyy HH:mm:ss>` is the time column with a format."""
    for header, declared in terms.dates:
        match = DATE_HEADER.match(header)
        if match and match["name"] == name:
            return header, times.parse_date(pl.col(header), declared, terms.zone)
    return name, pl.col(name)


def time_checks(name: str, as_of: pl.Expr, terms: Terms) -> Iterator[Check]:
    late = as_of + FUTURE_TOLERANCE
    shown_limit = f"{terms.as_of:%Y-%m-%dT%H:%M:%SZ}"
    yield Check(
        name, "in_the_future", (pl.col(TIME) > late).fill_null(False),
        f'{name}: "{{value}}" is more than an hour after the file landed ({shown_limit})',
    )  # fmt: skip
    if terms.retention_days is None:
        return
    early = as_of - timedelta(days=terms.retention_days)
    yield Check(
        name, "beyond_retention", (pl.col(TIME) < early).fill_null(False),
        f'{name}: "{{value}}" is older than the retention of {terms.retention_days} days',
    )  # fmt: skip
