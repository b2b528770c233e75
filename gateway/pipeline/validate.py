"""Rows against their contract: the good rows in normal form, and every problem of the others."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

import polars as pl
from ua_parser import parse as parse_user_agent

from gateway.contracts import Contract, times, value_types
from gateway.contracts.date_formats import DATE_HEADER
from gateway.contracts.value_types import FEW
from gateway.pipeline import damage, few, json_columns
from gateway.pipeline.damage import IdTallies
from gateway.pipeline.findings import Check, Findings
from gateway.pipeline.json_text import DEPTH_MAX
from gateway.pipeline.nested import with_nested
from gateway.pipeline.problems import Problems
from gateway.pipeline.rows import PLACE, ROW, Rows
from gateway.pipeline.rules import Asked, Rules, all_hold, rules_of
from gateway.pipeline.time_columns import RAW, TimeTallies

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

    def merge(self, following: Tallies) -> None:
        """Count also what was counted of the chunks that follow."""
        self.times.merge(following.times)
        self.ids.merge(following.ids)


@dataclass(frozen=True, slots=True)
class Validated:
    """One chunk after validation: the good rows in normal form, the places of the rejected ones, and what was found.

    good: PLACE columns, TIME where the contract has a time, and a String column for each column of the contract
    and of the file. rejected: PLACE columns. Both in the order of the file. broken: the records that are no row.
    blanked: for each column in which good rows hold the null marker, a mask of those.
    """

    good: pl.DataFrame
    rejected: pl.DataFrame
    broken: pl.DataFrame
    findings: Findings
    tallies: Tallies
    blanked: pl.DataFrame

    def tell(self, problems: Problems, tallies: Tallies) -> None:
        """Hand over what was found; chunks do so in their order."""
        self.findings.tell(self.broken, problems)
        tallies.merge(self.tallies)


def validated(rows: Rows, terms: Terms) -> Validated:
    """Judge one chunk of rows, apart from all others."""
    tallies = Tallies()
    rules = rules_of(Asked(terms.contract.sha256, terms.dates, terms.zone, terms.contract))
    raw = without_blanks(with_nested(rows.frame, terms.contract), terms)
    raw, markers = without_markers(raw, terms, rows.json_columns)
    findings = Findings(raw)
    findings.apply(raw, text_checks(rows))
    findings.apply(raw, damage.checks(raw, terms.contract, rows.traces))
    tallies.ids.add(raw, terms.contract)
    raw = with_defaults(raw, terms, findings)
    raw = with_urls(raw, terms.contract, findings)
    findings.apply(raw, rules.presence)
    frame = with_json(raw, terms, findings, rows.canonical)
    frame = with_normal_forms(frame, rules, findings, tallies.times)
    frame = with_user_agents(frame, terms.contract)
    frame = with_time(frame, terms, findings)
    if markers.columns:
        frame = frame.with_columns(
            pl.when(markers[name]).then(pl.lit(terms.null_marker)).otherwise(pl.col(name)).alias(name)
            for name in markers.columns
        )
    refused = rows.broken[:, list(PLACE)]
    if findings.rejected.any():
        refused = pl.concat([refused, frame.filter(findings.rejected).select(*PLACE)]).sort(ROW)
        frame = frame.filter(~findings.rejected)
        markers = markers.filter(~findings.rejected) if markers.columns else markers
    return Validated(frame, refused, rows.broken, findings, tallies, markers)


def without_blanks(frame: pl.DataFrame, terms: Terms) -> pl.DataFrame:
    """All columns of the contract, blank values as null, and null where `keep` says that a column is ignored."""
    contract = terms.contract
    names = [name for name in frame.columns if name not in PLACE]
    missing = [column.name for column in contract.columns if column.name not in names]
    if maybe := maybe_blank(frame, names):
        solid = [pl.when(pl.col(name).str.strip_chars() != "").then(pl.col(name)).alias(name) for name in maybe]
        frame = few.with_columns(frame, solid)
    if missing:
        frame = few.with_nulls(frame, missing)
    names += missing
    for keep in contract.keep:
        ignored = [name for name in names if name not in keep.columns and has_value(frame[name])]
        kept = ~frame.select(all_hold(keep.when)).to_series()
        if ignored and not kept.all():
            frame = frame.with_columns(pl.when(kept).then(pl.col(name)).alias(name) for name in ignored)
    return frame


def maybe_blank(frame: pl.DataFrame, names: list[str]) -> list[str]:
    """The columns that can hold a blank text at all.

    Whatever is blank begins with a character below "!", or has none; or it is a space of another script.
    """
    if frame.height > FEW:
        found = frame.select((pl.col(name) < "!").any() | (pl.col(name) > "\x7f").any() for name in names)
        return [name for name, maybe in found.row(0, named=True).items() if maybe]
    # For so few the least and the greatest of a column are quicker to find than anything can be compared.
    ends = {name: (frame[name].min(), frame[name].max()) for name in names}
    return [
        name
        for name, (least, greatest) in ends.items()
        if isinstance(least, str) and isinstance(greatest, str) and (least < "!" or greatest > "\x7f")
    ]


def without_markers(frame: pl.DataFrame, terms: Terms, further: Collection[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cells that hold the feed's null marker as null, and a mask of them for each column that has some.

    In objects, and in `further` columns of an NDJSON, it may stand as JSON. A marker blanks what is stored; identities
    and required columns cannot be blanked, so there it is only blank.
    """
    if terms.null_marker is None:
        return frame, pl.DataFrame()
    names = [name for name in frame.columns if name not in PLACE]
    as_json = {*further, *(column.name for column in terms.contract.columns if column.type == "object")}
    looks = {name: [terms.null_marker] for name in names}
    looks |= {name: [terms.null_marker, json.dumps(terms.null_marker, ensure_ascii=False)] for name in as_json}
    masks = frame.select(pl.col(name).is_in(looks[name]).fill_null(False) for name in names)
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
        check = Check(column.name, "defaulted", absent, used, "warning", told_once=True, null_in=column.name)
        if terms.strict:
            asked = f"{column.name}: required by this feed, but blank"
            check = Check(column.name, "missing_required", absent, asked, null_in=column.name)
        findings.apply(frame, [check])
    blank = [c for c in terms.contract.columns if c.default and frame[c.name].null_count()]
    return frame.with_columns(pl.col(c.name).fill_null(pl.lit(c.default)) for c in blank) if blank else frame


def with_urls(frame: pl.DataFrame, contract: Contract, findings: Findings) -> pl.DataFrame:
    """Columns that a URL overrides (U83, U84, U103)."""
    for column in contract.columns:
        if column.derive and column.derive.take in ("host", "path") and has_value(frame[column.derive.source]):
            source = pl.col(column.derive.source)
            part = value_types.url_host(source) if column.derive.take == "host" else value_types.url_path(source)
            given = pl.col(column.name)
            value = part.fill_null(given) if column.derive.override else given.fill_null(part)
            frame = frame.with_columns(value.alias(column.name))
    return frame


def with_json(frame: pl.DataFrame, terms: Terms, findings: Findings, canonical: bool) -> pl.DataFrame:
    """Objects and tags in canonical form (U78, U80, X3, F12)."""
    for column in terms.contract.columns:
        texts = frame[column.name]
        if column.type not in ("object", "tags") or not has_value(texts):
            continue
        if column.type == "object":
            values, faults = json_columns.objects(texts, terms.json_depth_max, canonical=canonical)
            findings.add_faults(frame, column.name, faults)
        else:
            values = json_columns.tags(texts)
            broken = pl.lit(texts.is_not_null() & values.is_null())
            message = f'{column.name}: expected tags separated by ; or a JSON array of strings, found "{{value}}"'
            findings.apply(frame, [Check(column.name, "bad_tags", broken, message)])
        frame = frame.with_columns(values.alias(column.name))
    return frame


def with_normal_forms(frame: pl.DataFrame, rules: Rules, findings: Findings, tallies: TimeTallies) -> pl.DataFrame:
    """Each column in the normal form of its type; what has none is a problem, or is dropped (`on_invalid`)."""
    both = frame.hstack([frame[name].alias(RAW + name) for name in rules.columns])
    empty = {time.name for time in rules.times if time.is_read and not has_value(frame[time.name])}
    forms = [form.alias(name) for name, form in rules.forms.items() if needs_form(frame[name], rules)]
    forms += [pl.lit(None, dtype=times.UTC_MICROSECONDS).alias(name) for name in empty]
    both = few.with_columns(both, forms) if forms else both
    tallies.add(rules.times, both)
    dropped: dict[str, pl.Series] = {}
    for check, mask in findings.apply(both, rules.checks):
        if check.drops_value:
            dropped[check.column] = dropped.get(check.column, mask) | mask
    kept = both[:, frame.columns]
    if not dropped:
        return kept
    return kept.with_columns(pl.when(~mask).then(pl.col(name)).alias(name) for name, mask in dropped.items())


def needs_form(texts: pl.Series, rules: Rules) -> bool:
    """False for a column without values, and for few that are seen to be in normal form."""
    normal = rules.normal.get(texts.name)
    return has_value(texts) and not (normal and few.all_match(texts, normal))


def with_user_agents(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Browser and operating system from the user agent where the row does not give them (U85 to U87)."""
    for column in contract.columns:
        if not column.derive or column.derive.take not in ("browser", "operating_system"):
            continue
        source, take = column.derive.source, column.derive.take
        if frame[column.name].null_count() == 0 or not has_value(frame[source]):
            continue
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
    if not any(column.type in ("iso_time", "unix_time") for column in contract.columns):
        return frame
    as_of = times.literal(terms.as_of)
    forms: list[pl.Expr] = []
    checks: list[Check] = []
    for column in contract.columns:
        if column.type not in ("iso_time", "unix_time"):
            continue
        moment = pl.col(column.name)
        if contract.time and contract.time.column == column.name:
            source, own = time_source(column.name, terms)
            # A row without a time counts as of the landing of its drop (B8), and says so from here on.
            own = own.fill_null(as_of) if contract.time.default_as_of else own
            moment = own if source == column.name else moment
            forms.append(own.alias(TIME))
            if contract.kind != "profiles":
                checks += time_checks(source, terms)
        written = times.write_iso(moment) if column.type == "iso_time" else times.write_unix(moment)
        forms.append(written.alias(column.name))
    frame = few.with_columns(frame, forms)
    findings.apply(frame, checks)
    return frame


def time_source(name: str, terms: Terms) -> tuple[str, pl.Expr]:
    """The column of the rows' time, and its moments: `ts<dd/MM/yyyy HH:mm:ss>` is the time column with a format."""
    for header, declared in terms.dates:
        match = DATE_HEADER.match(header)
        if match and match["name"] == name:
            return header, times.parse_date(pl.col(header), declared, terms.zone)
    return name, pl.col(name)


def time_checks(name: str, terms: Terms) -> Iterator[Check]:
    latest = terms.as_of + FUTURE_TOLERANCE
    shown_limit = f"{terms.as_of:%Y-%m-%dT%H:%M:%SZ}"
    yield Check(
        name, "in_the_future", (pl.col(TIME) > times.literal(latest)).fill_null(False),
        f'{name}: "{{value}}" is more than an hour after the file landed ({shown_limit})', value_in=TIME,
        all_fit=lambda moments: max(moments) <= latest.replace(tzinfo=None),
    )  # fmt: skip
    if terms.retention_days is None:
        return
    age_max = timedelta(days=terms.retention_days)
    early = times.literal(terms.as_of) - age_max
    yield Check(
        name, "beyond_retention", (pl.col(TIME) < early).fill_null(False),
        f'{name}: "{{value}}" is older than the retention of {terms.retention_days} days', value_in=TIME,
        all_fit=lambda moments: terms.as_of.replace(tzinfo=None) - min(moments) <= age_max,
    )  # fmt: skip


def has_value(texts: pl.Series) -> bool:
    """True where not all are null."""
    return texts.null_count() < len(texts)
