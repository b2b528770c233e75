"""What the report of a dry run says beside the figures: that nothing was stored, and what would have come of the file.

The figures themselves stand where those of a real drop do, so that both can be compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from gateway.pipeline.drop import Contributed, Drop, Outcome
from gateway.pipeline.verdict import (
    BLAMELESS,
    Report,
    Tone,
    Verdict,
    file_named,
    folded,
    needing,
    reasons_of,
    rows,
)

if TYPE_CHECKING:
    # The words are needed where no store is.
    from gateway.store import Facts

Asked = Literal["asked", "off", "unreachable", "not_asked"]
NOTHING_STORED: Final = "Nothing was stored: this was a dry run."
UNASKED: Final[dict[Asked, str]] = {
    "off": "There is no store here: the file was only validated.",
    "unreachable": "The store could not be asked: what would be created, updated or blanked is not known. "
    "Try the file again later.",
}


def unasked(drop: Drop, outcome: Outcome, asked: Asked | None = None) -> dict[str, Any]:
    """`rehearsal` in the report of a dry run that the store was not asked about; by itself it says why."""
    has_rows = outcome.status == "completed" and outcome.counts.accepted > 0
    asked = asked or ("off" if has_rows and not drop.for_store else "not_asked")
    told = [UNASKED[asked]] if asked in UNASKED else []
    return rehearsal(drop, asked, told)


def asked_about(drop: Drop, brought: Contributed, facts: Facts, waits_for: int) -> dict[str, Any]:
    """`rehearsal` in the report of a dry run that the store was asked about; `waits_for` counts identities."""
    told = []
    if repeats := len(facts.duplicates):
        told.append(
            f"{counted(repeats, 'event is', 'events are')} in the store already, and would not be stored again."
        )
    if len(facts.unknown):
        told.append(fate_of_unknown(brought, facts, waits_for))
    hours = brought.hold_hours if waits_for else 0
    further = {"duplicates_of_stored": repeats, "waits_for": waits_for, "waits_hours_max": hours}
    return rehearsal(drop, "asked", told) | further


def rehearsal(drop: Drop, asked: Asked, told: list[str]) -> dict[str, Any]:
    says = [NOTHING_STORED, *seen_before(drop), *told]
    counts = {"duplicates_of_stored": 0, "waits_for": 0, "waits_hours_max": 0}
    return {"store": asked, "seen_before": drop.seen_before, **counts, "says": says}


def seen_before(drop: Drop) -> list[str]:
    """What became of a file with these bytes in the feed itself."""
    if drop.seen_before is None:
        return []
    fate = "refused" if drop.policy.on_duplicate == "reject" else "skipped"
    return [f"A file with the same bytes was processed before, as job {drop.seen_before}: this one would be {fate}."]


def fate_of_unknown(brought: Contributed, facts: Facts, waits_for: int) -> str:
    """What would become of events of whom there is no profile, by the feed's policy."""
    events = counted(len(facts.unknown), "event is", "events are")
    people = counted(facts.unknown_identities, "person or company", "people or companies")
    fate = "They would be stored all the same."
    if brought.unknown_identity == "reject":
        fate = "They would be rejected."
    elif waits_for:
        hours = f"up to {brought.hold_hours:g} hours"
        fate = f"The file would wait for their profiles, {hours}; events that have none by then are rejected."
    return f"{events} of {people} of whom there is no profile. {fate}"


def counted(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def verdict(report: Report) -> Verdict:
    """The verdict on a dry run: what would be, and what to do next."""
    tone, sentence, steps = outlook(report)
    return Verdict(tone, "Dry run", sentence, (*report["rehearsal"]["says"], *steps))


def outlook(report: Report) -> tuple[Tone, str, tuple[str, ...]]:
    """How the file would end, in a tone, a sentence and the steps that follow from it."""
    if report["status"] == "failed":
        return would_fail(report)
    if report["rejected_rows"]:
        return some_to_fix(report)
    if not report["total_rows"]:
        return "good", "There are no rows in this file, so there would be nothing to store.", ()
    store = f"Upload it to inbox/{report['feed']}/ when it is to be stored."
    if warned := file_named(report, "errors"):
        store += f" There are warnings below that are worth a look; {warned} lists them."
    return "good", all_fine(report), (store,)


def all_fine(report: Report) -> str:
    total, accepted = report["total_rows"], report["accepted_rows"]
    if accepted != total:
        others = " and ".join(folded(report))
        return f"All {rows(total)} are fine: {accepted:,} would be accepted, {others}."
    return f"All {rows(total)} would be accepted." if total > 1 else "The one row would be accepted."


def some_to_fix(report: Report) -> tuple[Tone, str, tuple[str, ...]]:
    good = report["total_rows"] - report["rejected_rows"]
    rest = f"the other {good:,} would be accepted" if good else "nothing would be accepted"
    errors = file_named(report, "errors")
    listed = f"Read below what is wrong. {errors} lists it line by line." if errors else "Read below what is wrong."
    fix = f"Fix these rows in the file; then try it again, or upload all of it to inbox/{report['feed']}/."
    return "fix" if good else "refused", f"{needing(report)} fixing; {rest}.", (listed, fix)


def would_fail(report: Report) -> tuple[Tone, str, tuple[str, ...]]:
    if BLAMELESS & set(report["problems_by_code"]):
        blameless = "Your file is not at fault: the operator has been told."
        return "refused", "We could not try this file.", (*reasons_of(report), blameless)
    needs = f": {needing(report)} fixing" if report["total_rows"] else ""
    again = "Fix what is named below, and try the file again."
    return "refused", f"The file would be refused{needs}.", (*reasons_of(report), again)
