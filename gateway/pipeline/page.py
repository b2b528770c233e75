"""report.html: the report for a person, one page that needs no network, no script and no other file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from gateway import clock
from gateway.contracts.codes import CODES
from gateway.pipeline import dry_run
from gateway.pipeline.histogram import Bucket, Histogram
from gateway.pipeline.problems import Group, Problems
from gateway.pipeline.verdict import BLAMELESS, Report, file_named, rows, verdict

GROUPS_SHOWN: Final = 200
NAMES_SHOWN: Final = 100
CHARACTERS_MAX: Final = 1000
CHART_HEIGHT: Final = 100
BAR_WIDTH: Final = 10
# A single row must be seen beside a million others.
BAR_HEIGHT_MIN: Final = 1.5
SIZES: Final = ("kB", "MB", "GB", "TB")

# What the levels are to a person: identifier, heading, and what it means for the rows.
LEVELS: Final[dict[str, tuple[str, str, str]]] = {
    "error": ("fix", "What to fix", "Rows with one of these problems were not accepted."),
    "warning": ("look", "Worth a look", "These stopped no row, but may not be what you meant."),
    "note": ("notes", "Good to know", "Nothing to fix."),
}
COUNTS: Final = (
    ("accepted", "Accepted", "in the result"),
    ("merged", "Merged", "about somebody whom another row is about too; the newest values won"),
    ("duplicate", "Duplicate", "the same as an earlier row, so not stored again"),
    ("rejected", "Rejected", "with something to fix"),
    ("withheld", "Withheld", "without fault, but in a file that was refused"),
)
ROLES: Final = {
    "original": "the file as it came",
    "accepted": "the accepted rows, in order and in normal form",
    "rejected": "the rows to fix, byte for byte as they came",
    "errors": "every problem with its line, for a spreadsheet",
}
TIME_COUNTS: Final = {
    "without_zone": "without a time zone, so the zone of the account was used",
    "milliseconds": "in milliseconds instead of seconds",
    "fits_two_formats": "that another date format would read as another day, such as 03/04/2024",
    "local_time_twice": "that the clocks showed twice; the earlier was taken",
    "local_time_never": "that the clocks skipped",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of the chart, from the left and the top, and what it says."""

    x: float
    y: float
    height: float
    label: str
    count: int


def write(path: Path, report: Report, problems: Problems, histogram: Histogram | None) -> None:
    """Write the page; `report` is what report.json holds, with the files that were written so far."""
    path.write_text(page(report, problems, histogram), encoding="utf-8")


def page(report: Report, problems: Problems, histogram: Histogram | None) -> str:
    """The page as text. The same arguments always give the same page."""
    groups = problems.groups()
    parts = {level: [group for group in groups if group.level == level] for level in LEVELS}
    return template().render(
        report=report,
        verdict=dry_run.verdict(report) if report.get("dry_run") else verdict(report),
        parts=[(*heading(level, report, problems), level, found) for level, found in parts.items() if found],
        codes=CODES,
        counts=counts_of(report),
        time_counts=TIME_COUNTS,
        roles=ROLES,
        groups_shown=GROUPS_SHOWN,
        names_shown=NAMES_SHOWN,
        histogram=histogram,
        bars=bars(histogram) if histogram else [],
        bar_width=BAR_WIDTH,
        chart_height=CHART_HEIGHT,
    )


def counts_of(report: Report) -> list[tuple[str, str, str, int]]:
    """Name, heading, what it means and number of each kind of rows."""
    words = {"accepted": "would be in the result"} if report.get("dry_run") else {}
    return [(name, label, words.get(name, told), report[f"{name}_rows"]) for name, label, told in COUNTS]


def heading(level: str, report: Report, problems: Problems) -> tuple[str, str, str]:
    """Identifier, heading and first sentences of the problems of one level."""
    identifier, title, told = LEVELS[level]
    if level != "error":
        return identifier, title, told
    if BLAMELESS & set(report["problems_by_code"]):
        return identifier, "What happened", "Nothing in the file needs fixing."
    if report["status"] == "failed":
        told = "Nothing in the file is accepted until this is fixed."
    shown = "the first of these problems" if problems.is_cut else "each of these problems"
    return identifier, title, f"{told} {file_named(report, 'errors')} lists {shown}."


class Pages(Environment):
    """`report.status` is looked up as a key first: that it is no attribute takes longer to find out."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


@cache
def template() -> Template:
    """The template, compiled once a process."""
    environment = Pages(
        loader=PackageLoader("gateway.pipeline"), autoescape=True, auto_reload=False, undefined=StrictUndefined,
        finalize=harmless, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "when": when, "size": size, "rows": rows, "number": "{:,}".format, "bucket": label, "hint": common_hint,
        "message": common_message,
    }  # fmt: skip
    environment.tests["of_rows"] = of_rows
    return environment.get_template("report.html.j2")


def harmless(value: Any) -> Any:
    """Text as the page shows it: of bounded length, and what hides, moves or controls something as its escape."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    if len(value) > CHARACTERS_MAX:
        value = value[:CHARACTERS_MAX] + "…"
    return (
        value
        if value.isprintable()
        else "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in value)
    )


def when(moment: str, exact: bool = True) -> str:
    """A time of the report as a person reads it, in UTC; to the second where it need not be exact."""
    at = clock.moment(moment)
    seconds = f"{at:%H:%M:%S}" + (f"{at:.%f}".rstrip("0") if exact and at.microsecond else "")
    return f"{at.day} {at:%b} {at.year}, {seconds} UTC"


def size(count: int) -> str:
    """Bytes in a unit that fits, by thousands."""
    if count < 1000:
        return f"{count} byte" if count == 1 else f"{count} bytes"
    scaled, unit = count / 1000, 0
    while scaled >= 999.5 and unit < len(SIZES) - 1:
        scaled, unit = scaled / 1000, unit + 1
    return f"{scaled:.3g} {SIZES[unit]}"


def of_rows(group: Group) -> bool:
    """True where the problem is one of rows, not of the file as a whole."""
    return group.examples[0]["row"] is not None


def common_message(group: Group) -> str:
    """What is wrong in each row alike, or nothing where it differs."""
    messages = {str(example["message"]) for example in group.examples}
    return messages.pop() if len(messages) == 1 else ""


def common_hint(group: Group) -> str:
    """What to do about all problems of a group; a single problem may have more to say."""
    hints = {str(example["hint"]) for example in group.examples}
    return hints.pop() if len(hints) == 1 else CODES[group.code].hint


def bars(histogram: Histogram) -> list[Bar]:
    """The bars of the chart, in a box of BAR_WIDTH for each and CHART_HEIGHT."""
    most = histogram.fullest.count

    def bar(at: int, bucket: Bucket) -> Bar:
        height = max(BAR_HEIGHT_MIN, CHART_HEIGHT * bucket.count / most) if bucket.count else 0
        # A bar of no height is not drawn; the first and the last bucket have one.
        said = label(bucket.start, histogram.width) if bucket.count else ""
        return Bar(at * BAR_WIDTH, round(CHART_HEIGHT - height, 2), round(height, 2), said, bucket.count)

    return [bar(at, bucket) for at, bucket in enumerate(histogram.buckets)]


def label(start: datetime, width: str) -> str:
    """The start of a bucket, as exact as its width asks for."""
    unit = width.split()[-1].removesuffix("s")
    day = f"{start.day} {start:%b} {start.year}"
    match unit:
        case "second":
            return f"{day}, {start:%H:%M:%S}"
        case "minute" | "hour":
            return f"{day}, {start:%H:%M}"
        case "week":
            return f"week of {day}"
        case "month":
            return f"{start:%b} {start.year}"
        case "quarter":
            return f"{start:%b} to {start.replace(month=start.month + 2):%b} {start.year}"
        case "year":
            return f"{start.year}"
    return day
