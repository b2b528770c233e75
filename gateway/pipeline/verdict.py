"""The verdict on a drop: one sentence for a person, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Report = Mapping[str, Any]
Tone = Literal["good", "fix", "refused"]
# Codes that fail a drop and leave its sender nothing to fix.
BLAMELESS = frozenset({"gateway_failure", "duplicate_file"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a drop ended. `label` is one or two words, `sentence` has the numbers, `steps` say what to do about it."""

    tone: Tone
    label: str
    sentence: str
    steps: tuple[str, ...] = ()


def verdict(report: Report) -> Verdict:
    """The verdict that a report comes to."""
    if report["status"] == "failed":
        return failed(report)
    if report["duplicate_of"]:
        sentence = "This file was already processed; nothing was stored again."
        told = f"It has the same bytes as an earlier upload, which was job {report['duplicate_of']}."
        return Verdict("good", "Seen before", sentence, (told, "You need not do anything."))
    if report["rejected_rows"]:
        return some_rejected(report)
    if report["total_rows"] == 0:
        sentence = "There are no rows in this file, so there was nothing to store."
        step = "If you expected rows, check the export and upload the file again."
        return Verdict("good", "Empty", sentence, (step,))
    return all_accepted(report)


def all_accepted(report: Report) -> Verdict:
    total, accepted = report["total_rows"], report["accepted_rows"]
    if accepted == total:
        sentence = f"All {rows(total)} were accepted." if total > 1 else "The one row was accepted."
    else:
        others = " and ".join(folded(report))
        sentence = f"All {rows(total)} are fine: {accepted:,} accepted, {others}."
    step = "You need not do anything."
    if warned := file_named(report, "errors"):
        step += f" There are warnings below that are worth a look; {warned} lists them."
    return Verdict("good", "Accepted", sentence, (step,))


def folded(report: Report) -> Iterator[str]:
    """The good rows that are no row of their own in the result."""
    if merged := report["merged_rows"]:
        yield f"{merged:,} merged into {'another' if merged == 1 else 'others'}"
    if repeats := report["duplicate_rows"]:
        yield f"{repeats:,} {'repeats an earlier one' if repeats == 1 else 'repeat earlier ones'}"


def some_rejected(report: Report) -> Verdict:
    total, rejected = report["total_rows"], report["rejected_rows"]
    good = total - rejected
    if good == 0:
        sentence = f"None of the {rows(total)} could be accepted." if total > 1 else "The only row was not accepted."
    else:
        fate = f"{'was' if good == 1 else 'were'} accepted"
        if good != report["accepted_rows"]:
            fate = "is fine" if good == 1 else "are fine"
        sentence = f"{needing(report)} fixing; the other {good:,} {fate}."
    return Verdict(
        "fix" if good else "refused", "Rows to fix" if good else "Nothing accepted", sentence, repair(report)
    )


def repair(report: Report) -> tuple[str, ...]:
    """How to bring in the rejected rows only."""
    errors, rejected = file_named(report, "errors"), file_named(report, "rejected")
    listed = f"Read below what is wrong. {errors} lists it line by line." if errors else "Read below what is wrong."
    if not rejected:
        return (listed, "Fix these rows where they come from and upload them again.")
    again = f"Fix the rows in {rejected}, which holds them as you sent them, and upload that file again."
    rest = "Do not send the other rows again; they are in already." if report["accepted_rows"] else ""
    return tuple(step for step in (listed, again, rest) if step)


def failed(report: Report) -> Verdict:
    reasons = reasons_of(report)
    if "gateway_failure" in report["problems_by_code"]:
        blameless = "Your file is not at fault, and you need not do anything: the operator has been told."
        return Verdict("refused", "Not processed", "We could not process this file.", (*reasons, blameless))
    if "duplicate_file" in report["problems_by_code"]:
        sentence = "The file was refused: it was already processed."
        return Verdict("refused", "Refused", sentence, (*reasons, "You need not do anything."))
    if not report["total_rows"]:
        again = "Fix what is named below and upload the file again."
        return Verdict("refused", "Refused", "The file was refused; nothing in it was accepted.", (*reasons, again))
    withheld = report["withheld_rows"]
    held = f" The {rows(withheld)} without fault {'was' if withheld == 1 else 'were'} withheld." if withheld else ""
    sentence = f"The file was refused: {needing(report)} fixing."
    again = f"Nothing was accepted.{held} Fix the rows below in the whole file and upload all of it again."
    return Verdict("refused", "Refused", sentence, (*reasons, again))


def reasons_of(report: Report) -> tuple[str, ...]:
    """Why it failed, as sentences."""
    return tuple(f"{reason[:1].upper()}{reason[1:].rstrip('.')}." for reason in report["reason_for_failure"])


def needing(report: Report) -> str:
    rejected = report["rejected_rows"]
    return f"{rejected:,} of {rows(report['total_rows'])} {'needs' if rejected == 1 else 'need'}"


def file_named(report: Report, role: str) -> str:
    """The name of a result file, without its folders, or nothing."""
    names = (str(file["name"]).rpartition("/")[2] for file in report["files"] if file["role"] == role)
    return next(names, "")


def rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
