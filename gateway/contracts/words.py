"""A contract in words: the CONTRACT.md that a partner reads."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config import FeedSettings
from gateway.contracts.date_formats import DATE_FORMATS
from gateway.contracts.model import Column, Contract

TYPE_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "digits": "digits; spaces between them are removed",
    "email": "email address",
    "url": "URL",
    "hostname": "host name",
    "country": "ISO 3166-1 alpha-2 country code",
    "language": "BCP 47 language tag",
    "tags": "tags, separated by ; or as a JSON array",
    "object": "JSON object",
    "iso_time": "ISO 8601 time",
    "unix_time": "Unix time in seconds",
}


def in_words(contract: Contract, policy: FeedSettings) -> str:
    """The contract as Markdown: formats, columns, rules, and what happens to bad rows."""
    return "\n".join([f"# {contract.title}", "", contract.description, "", *paragraphs(contract, policy)]) + "\n"


def paragraphs(contract: Contract, policy: FeedSettings) -> Iterator[str]:
    yield "## The file"
    yield f"- {' or '.join(form.upper() for form in contract.formats)}, UTF-8, plain or as .gz or .zst."
    if "csv" in contract.formats:
        yield from csv_words(contract)
    if "ndjson" in contract.formats:
        yield "- NDJSON: one JSON object on each line."
    yield f"- At most {policy.drop_bytes_max:,} bytes."
    further = "kept as properties" if contract.further_columns == "keep" else "ignored, with a warning"
    yield f"- Further columns are {further}."
    yield from ("", "## Columns", "", "| column | what it holds | rules | example |", "|---|---|---|---|")
    for column in contract.columns:
        cells = (
            f"`{column.name}`",
            column.description,
            column_rules(column),
            f"`{column.example}`" if column.example else "",
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield from rules_between(contract)
    yield from becoming(contract, policy)
    yield from outcome_words(contract, policy)


def csv_words(contract: Contract) -> Iterator[str]:
    order = ", ".join(f"`{name}`" for name in contract.csv_columns)
    if contract.csv_header == "optional":
        yield f"- CSV (RFC 4180): with a header, or without one and then with these columns in this order: {order}."
    else:
        yield "- CSV (RFC 4180) with a header; names are case-sensitive."
    if contract.date_headers:
        formats = ", ".join(f"`{name}`" for name in DATE_FORMATS)
        yield f"- A date column names its format in the header: `name<format>`, with one of {formats}, `Unix`."
        yield "  Without a time of day, 12:00:00 is taken."


def column_rules(column: Column) -> str:
    """What a value must be."""
    rules = ["required" if column.required else "optional", TYPE_WORDS[column.type]]
    rules += [f"one of {', '.join(f'`{value}`' for value in column.allowed)}"] if column.allowed else []
    rules += [f"from {column.min:g}"] if column.min is not None else []
    rules += [f"up to {column.max:g}"] if column.max is not None else []
    rules += [f"at most {column.length_max} characters"] if column.length_max else []
    rules += [f"`{column.default}` when absent"] if column.default else []
    rules += ["dropped when not valid, the row is kept"] if column.on_invalid == "drop_value" else []
    rules += [f"taken from `{column.derive.source}`"] if column.derive else []
    return "; ".join(rules)


def rules_between(contract: Contract) -> Iterator[str]:
    """The rules that speak of several columns."""
    rules = [f"- One of {names(group.columns)} is required." for group in contract.one_of]
    for rule in contract.requirements:
        when = " and ".join(f"`{key}` is {names(values)}" for key, values in rule.when.items())
        rules.append(f"- {', '.join(f'`{name}`' for name in rule.columns)}: required when {when}.")
    for keep in contract.keep:
        when = " and ".join(f"`{key}` is {names(values)}" for key, values in keep.when.items())
        rules.append(f"- When {when}, only {', '.join(f'`{name}`' for name in keep.columns)} are read.")
    if rules:
        yield from ("", "## Rules", *rules)


def becoming(contract: Contract, policy: FeedSettings) -> Iterator[str]:
    """What a row brings about: a profile, a company, or an event."""
    if not contract.identity:
        return
    yield from ("", "## What a row becomes")
    whom = names(contract.identity)
    if contract.kind == "profiles":
        yield f"- A row creates or updates the profile of whom {whom} names; an empty cell leaves what is stored."
        if contract.time:
            yield f"- Of each property the value of the latest `{contract.time.column}` stays, whatever is sent first."
        return
    for rule in contract.identify:
        when = " and ".join(f"`{key}` is {names(values)}" for key, values in rule.when.items())
        known = " and ".join(f"`{name}`" for name in rule.columns)
        beside = f", and {known}," if known else ""
        yield f"- When {when}: the members of `{rule.attributes}`{beside} update the one that `{rule.identity}` names."
    if contract.identify:
        yield "  Send all that you know with each of these records, and null for what you do not know yet: what is left"
        yield "  out keeps its value, what is null loses it, and a record with less than an earlier one gets a warning."
    called = [f"`{name}`" for name in (contract.event.name, contract.event.type) if name] if contract.event else []
    by = f"named by {', else '.join(called)}" if called else f"named `{contract.name}`"
    yield f"- {'Any other row' if contract.identify else 'A row'} is an event of whom {whom} names, {by}."
    yield from event_words(contract, policy)


def event_words(contract: Contract, policy: FeedSettings) -> Iterator[str]:
    """What becomes of events that come too early, too late or twice (F6, F7, B11, B12, B15, B16)."""
    fates = {
        "accept": "is taken, with a warning",
        "reject": "is rejected",
        "hold": f"holds the file, for {policy.hold_hours:g} h at most; then it is rejected",
    }
    yield f"- Send profiles before events: an event of somebody unknown {fates[policy.unknown_identity]}."
    yield "- An event may be as old as you like within your tenant's retention."
    yield f"  One of the last {policy.trigger_hours:g} h may trigger something when it is uploaded, one of the last"
    yield f"  {policy.activity_log_days:g} days is in the activity log."
    if not contract.allow_repeats:
        same = names(contract.unique) if contract.unique else "person, name, time and properties"
        yield f"- An event that was sent before (the same {same}) is not stored again."


def names(values: tuple[str, ...]) -> str:
    quoted = [f"`{value}`" for value in values]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def outcome_words(contract: Contract, policy: FeedSettings) -> Iterator[str]:
    yield from ("", "## What you get back")
    if policy.on_error == "reject_file":
        yield "- One bad row fails the whole file; nothing of it is taken."
    else:
        yield "- Good rows are taken; bad rows come back in `<name>.rejected.*`: fix them and drop that file again."
    if policy.max_error_rate < 1:
        yield f"- When more than {policy.max_error_rate:.2%} of the rows are bad, the whole file fails."
    if contract.time:
        yield f"- Accepted rows are ordered by `{contract.time.column}`, oldest first."
    yield "- `<name>.report.json` appears last and says everything; `<name>.errors.csv` lists every problem by line."
    yield from ("", "## To try a file first")
    yield "- Put it into `inbox/<feed>/dryrun/`: it is checked like any other, and nothing of it is stored."
    yield "- The report in `outbox/<feed>/dryrun/` says what would be created, updated, unchanged and blanked, and whom"
    yield "  we do not know. Upload the file to `inbox/<feed>/` when it is to be stored."
