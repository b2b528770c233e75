"""A report (RULES.md, section 8) on the terminal, and what it means for the exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.cli.listing import harmless

Report = Mapping[str, Any]

ALL_ACCEPTED: Final = 0
SOME_REJECTED: Final = 1
REFUSED: Final = 2

PROBLEMS_SHOWN: Final = 10
NAMES_SHOWN: Final = 20
WOULD_BE: Final = {
    ALL_ACCEPTED: "all rows would be accepted",
    SOME_REJECTED: "some rows would be rejected",
    REFUSED: "the file would be refused",
}
ORIGINAL: Final = "original"
STYLES: Final = {"error": "red", "warning": "yellow", "note": "cyan"}
PROFILES: Final = {"created": "new", "updated": "updated", "unchanged": "with nothing to change"}
COUNTS: Final = ("accepted", "merged", "duplicate", "rejected", "withheld", "blank")


def exit_code(report: Report) -> int:
    """0 when all rows were accepted, 1 when some were rejected, 2 when the drop was refused or failed."""
    if report["status"] != "completed":
        return REFUSED
    return SOME_REJECTED if report["rejected_rows"] else ALL_ACCEPTED


def show(report: Report, console: Console) -> None:
    """The verdict, the counts, the first problems with what to do about them, and the files that were written."""
    console.print(verdict(report), soft_wrap=True)
    for reason in report.get("reason_for_failure") or ():
        console.print(Text("  ").append_text(harmless(reason, "red")), soft_wrap=True)
    if report.get("duplicate_of"):
        again = f"  the same bytes as job {report['duplicate_of']}; nothing was stored again"
        console.print(harmless(again), soft_wrap=True)
    for line in rehearsal_lines(report):
        console.print(Text("  ").append_text(harmless(line)), soft_wrap=True)
    problems = report.get("problems") or []
    if problems:
        console.print(problem_table(problems[:PROBLEMS_SHOWN]))
    for line in closing_lines(report, len(problems)):
        console.print(Text("  ").append_text(harmless(line, "dim")), soft_wrap=True)


def verdict(report: Report) -> Text:
    """One line: the file, how it ended, and the rows that were counted."""
    style, words = {
        ALL_ACCEPTED: ("bold green", "completed, all rows accepted"),
        SOME_REJECTED: ("bold yellow", "completed, some rows rejected"),
        REFUSED: ("bold red", "failed, nothing accepted"),
    }[exit_code(report)]
    if report.get("duplicate_of") and report["status"] == "completed":
        words = "already processed"
    if report.get("dry_run"):
        words = f"dry run, {WOULD_BE[exit_code(report)]}"
    counted = [f"{report[f'{name}_rows']:,} {name}" for name in COUNTS if report.get(f"{name}_rows")]
    rows = f"{report['total_rows']:,} row{'' if report['total_rows'] == 1 else 's'}"
    ending = f" ({', '.join([rows, *counted])})"
    return Text.assemble(harmless(report["filename"], "bold"), ": ", (words, style), ending)


def rehearsal_lines(report: Report) -> Iterator[str]:
    """What a dry run says, and what would come into the store."""
    if not report.get("dry_run"):
        return
    yield from report["rehearsal"]["says"]
    if (store := report.get("store")) is None:
        return
    if store["created"] or store["updated"] or store["unchanged"]:
        counts = ", ".join(f"{store[name]:,} {name}" for name in ("created", "updated", "unchanged"))
        yield f"profiles that would be: {counts}; values that would be blanked: {report['properties']['blanked']:,}"
    if store["events"]:
        yield f"events that would be stored: {store['events']:,}"
    if store["unknown_identities"]:
        yield f"people or companies that have no profile: {store['unknown_identities']:,}"
    if new := report["properties"]["created"]:
        more = f" and {len(new) - NAMES_SHOWN:,} more" if len(new) > NAMES_SHOWN else ""
        yield f"properties that would be new: {', '.join(map(str, new[:NAMES_SHOWN]))}{more}"


def problem_table(problems: list[Mapping[str, Any]]) -> Padding:
    """Line, column, code, and in words what is wrong and what to do."""
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    table.add_column("line", justify="right")
    for column in ("column", "problem", "what is wrong, and what to do"):
        table.add_column(column, overflow="fold")
    for problem in problems:
        style = STYLES.get(str(problem.get("level")), "")
        words = harmless(said(problem, "message"))
        if hint := said(problem, "hint"):
            words.append("\n").append_text(harmless(hint, "dim"))
        place = (harmless(said(problem, "line")), harmless(said(problem, "column")))
        table.add_row(*place, harmless(said(problem, "code"), style), words)
    return Padding(table, (0, 0, 0, 2), expand=False)


def said(problem: Mapping[str, Any], key: str) -> str:
    value = problem.get(key)
    return "" if value is None else str(value)


def closing_lines(report: Report, listed: int) -> Iterator[str]:
    """What the table left out, what the store made of the rows, their time span, and the files in the outbox."""
    by_code = report.get("problems_by_code") or {}
    total = max(sum(by_code.values()), listed)
    if total > PROBLEMS_SHOWN:
        counts = ", ".join(f"{code} {count:,}" for code, count in by_code.items())
        yield f"{total:,} problems in all: {counts}"
    yield from in_store(report.get("store") or {})
    order = report.get("order") or {}
    if order.get("first"):
        moved = order.get("rows_moved")
        yield f"from {order['first']} to {order['last']}" + (f"; {moved:,} rows were out of order" if moved else "")
    for file in report.get("files") or ():
        if file.get("role") != ORIGINAL:
            yield f"{file['name']}, {file['bytes']:,} bytes"


def in_store(store: Mapping[str, int]) -> Iterator[str]:
    """What became of profiles and events."""
    if any(store.get(name) for name in PROFILES):
        yield "profiles: " + ", ".join(f"{store.get(name, 0):,} {words}" for name, words in PROFILES.items())
    if events := store.get("events"):
        yield f"events: {events:,} stored"
