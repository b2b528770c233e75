"""Times as partners write them, to UTC: ISO 8601, Unix time, and CleverTap's date headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from gateway.contracts.date_formats import DATE_FORMATS, UNIX_NAMES

UTC_MICROSECONDS = pl.Datetime("us")
# What one counts, and from when.
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)

# U79, X11: T or a space, seconds and fraction optional, zone optional.
ISO = (
    r"^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]"
    r"(?::[0-5][0-9](?:[.,][0-9]+)?)? ?(?:[zZ]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?$"
)
# A zone at the end of an ISO time; its date alone ends in one only where there is no time.
ZONE = r" ?(?:[zZ]|[+-][0-9][0-9](?::?[0-9][0-9])?)$"
# Of these polars reads the first three times as fast as the second.
LOCAL_FORMS = ("%Y-%m-%dT%H:%M:%S.%6f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")
UNIX_SECONDS = r"^-?[0-9]{1,11}(?:\.[0-9]{1,6})?$"
UNIX_MILLISECONDS = r"^[0-9]{13}$"


def number(moment: datetime) -> int:
    """A moment, which has a zone, as a Datetime counts it."""
    return (moment - EPOCH) // MICROSECOND


def literal(moment: datetime) -> pl.Expr:
    """A moment, which has a zone, as a Datetime in UTC; polars takes twenty times as long to make one."""
    return pl.lit(number(moment), pl.Int64).cast(UTC_MICROSECONDS)


# What a datetime can hold; a year before 1 or after 9999 is no time that anybody means.
FIRST = number(datetime.min.replace(tzinfo=UTC))
LAST = number(datetime.max.replace(tzinfo=UTC))


def within_years(moment: pl.Expr) -> pl.Expr:
    """A Datetime, null outside of the years 1 to 9999."""
    return pl.when(moment.cast(pl.Int64).is_between(FIRST, LAST)).then(moment)


def parse_iso(text: pl.Expr, zone: str) -> pl.Expr:
    """ISO 8601 to UTC (Datetime in µs), null where it is none; without a zone it is local time in `zone`.

    A local time that never existed is null; of one that happened twice the earlier is taken.
    """
    return text.map_batches(lambda texts: iso_series(texts, zone), return_dtype=UTC_MICROSECONDS)


def iso_series(texts: pl.Series, zone: str) -> pl.Series:
    """`parse_iso` of a Series. Most files write their times in one way, and pay for nothing else."""
    fits = texts.str.contains(ISO)
    text = texts if fits.all() else texts.set(~fits, None)
    if text.str.contains(",", literal=True).any():
        text = text.str.replace_all(",", ".", literal=True)
    zoned = text.str.contains(ZONE)
    if not zoned.any():
        return pl.select(within_years(to_utc(pl.lit(local_series(text)), zone))).to_series()
    local = local_series(text.str.replace(ZONE, ""))
    # The date part has a '-', so an offset is looked for behind the time only.
    offset = offset_of(pl.lit(text.str.extract(r":[0-9][0-9](?:\.[0-9]+)? ?([+-][0-9][0-9](?::?[0-9][0-9])?)$")))
    moment = pl.lit(local) - offset.fill_null(pl.duration())
    placed = pl.when(pl.lit(zoned)).then(moment).otherwise(to_utc(pl.lit(local), zone))
    return pl.select(within_years(placed)).to_series()


def local_series(text: pl.Series) -> pl.Series:
    """Dates and times without a zone as Datetime in µs; those without seconds are few."""
    whole = text.str.replace(" ", "T", literal=True)
    local = whole.str.strptime(UTC_MICROSECONDS, LOCAL_FORMS[0], strict=False)
    for form in LOCAL_FORMS[1:]:
        if local.null_count() == text.null_count():
            break
        local = local.zip_with(local.is_not_null(), whole.str.strptime(UTC_MICROSECONDS, form, strict=False))
    return local


def offset_of(text: pl.Expr) -> pl.Expr:
    """`+05:30`, `+0530` or `+05` as a Duration."""
    digits = text.str.replace_all(r"[^0-9]", "")
    minutes = digits.str.slice(0, 2).cast(pl.Int64) * 60 + digits.str.slice(2, 2).cast(
        pl.Int64, strict=False
    ).fill_null(0)
    return pl.duration(minutes=pl.when(text.str.starts_with("-")).then(-minutes).otherwise(minutes))


def to_utc(local: pl.Expr, zone: str) -> pl.Expr:
    """Local wall-clock time in `zone` to UTC without a zone; null where the clocks skipped it."""
    if zone == "UTC":
        return local
    placed = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return placed.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def has_no_zone(text: pl.Expr) -> pl.Expr:
    """True for an ISO time without a zone; of other text it says nothing."""
    return ~text.str.contains(ZONE)


def parse_unix(text: pl.Expr) -> pl.Expr:
    """Unix time in seconds, or in milliseconds where it has 13 digits, to UTC (Datetime in µs); else null."""
    seconds = pl.when(text.str.contains(UNIX_SECONDS)).then(text)
    whole = seconds.str.extract(r"^(-?[0-9]+)").cast(pl.Int64)
    fraction = seconds.str.extract(r"\.([0-9]+)$").str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    signed = pl.when(seconds.str.starts_with("-")).then(-fraction).otherwise(fraction)
    millis = pl.when(text.str.contains(UNIX_MILLISECONDS)).then(text).cast(pl.Int64) * 1000
    return within_years((whole * 1_000_000 + signed).fill_null(millis).cast(UTC_MICROSECONDS))


def write_iso(moment: pl.Expr) -> pl.Expr:
    """The stored form: `2024-07-28T08:55:35.874555Z`."""
    return moment.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")


def write_unix(moment: pl.Expr) -> pl.Expr:
    """Seconds, with a fraction only where there is one."""
    micros = moment.dt.epoch("us")
    return pl.when(micros % 1_000_000 == 0).then((micros // 1_000_000).cast(pl.String)).otherwise(fractional(micros))


def fractional(micros: pl.Expr) -> pl.Expr:
    whole = (micros.abs() // 1_000_000).cast(pl.String)
    fraction = (micros.abs() % 1_000_000).cast(pl.String).str.pad_start(6, "0").str.strip_chars_end("0")
    sign = pl.when(micros < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    return sign + whole + "." + fraction


def parse_date(text: pl.Expr, declared: str, zone: str) -> pl.Expr:
    """A value under a header `name<declared>` to UTC, null where it does not fit; no time means 12:00:00 (C41)."""
    if declared in UNIX_NAMES:
        return parse_unix(text)
    known = DATE_FORMATS[declared]
    full = (
        pl.when(text.str.contains(f"^{known.shape}$"))
        .then(text + " 12:00:00")
        .otherwise(
            pl.when(text.str.contains(rf"^{known.shape} (?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$")).then(text)
        )
    )
    return within_years(to_utc(full.str.strptime(UTC_MICROSECONDS, known.strptime + " %H:%M:%S", strict=False), zone))


def write_date(text: pl.Expr, declared: str) -> pl.Expr:
    """A fitting value in full: as declared, with its time of day."""
    if declared in UNIX_NAMES:
        return write_unix(parse_unix(text))
    return pl.when(text.str.contains(f"^{DATE_FORMATS[declared].shape}$")).then(text + " 12:00:00").otherwise(text)
