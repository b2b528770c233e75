"""What form the results of a drop take: their format and columns, and whether there are any."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection

from gateway.contracts import Contract
from gateway.pipeline.drop import Drop
from gateway.pipeline.header import Header
from gateway.pipeline.judge import Judged
from gateway.pipeline.nested import nested_columns
from gateway.pipeline.results import RENDERED
from gateway.pipeline.rows import PLACE
from gateway.pipeline.source import Source
from gateway.pipeline.validate import TIME, has_value


def result_columns(judged: Judged, drop: Drop, form: str) -> list[str]:
    """The columns of the accepted file of a drop that was judged as a whole."""
    good = judged.good
    valued = {name for name in good.columns if has_value(good[name])}
    return columns_of(judged.header, drop.contract, good.columns, valued, form)


def columns_of(
    header: Header, contract: Contract, present: Collection[str], valued: Collection[str], form: str
) -> list[str]:
    """The columns of the accepted file: those of the header, else of the contract, then further ones.

    `present` are the columns of the good rows, `valued` those of them with a value. A column that the file does not
    have is written where a rule filled it in. Form-style columns go into a CSV as they came, and into all else as the
    object that they make.
    """
    declared = [column.name for column in contract.columns]
    nested = nested_columns(header.names, contract)
    left_out = {contract.nested} if nested and form == "csv" else set(nested)
    names = [name for name in header.names if name not in header.ignored] or declared
    if RENDERED in present:
        present = {*present, *names} - {RENDERED}
    # By name, since the order in which keys are met changes with the order of the rows.
    further = sorted(set(present) - {*names, *PLACE, TIME})
    filled = [name for name in further if name in valued]
    found = [name for name in [*names, *filled] if name in present and name not in left_out]
    # A key that no object has is no column; a column of a CSV is one without any value too.
    return found if form == "csv" else [name for name in found if name in valued]


def too_many_errors(drop: Drop, rejected: int, total: int) -> str:
    """Why the drop fails as a whole, or nothing."""
    if rejected and drop.policy.on_error == "reject_file":
        return f"{rejected:,} of {total:,} rows are bad, and this feed takes a file only when all its rows are good"
    if total and rejected / total > drop.policy.max_error_rate:
        allowed = f"{drop.policy.max_error_rate:.2%}"
        return f"{rejected:,} of {total:,} rows are bad, more than the {allowed} that this feed allows"
    return ""


def errors_max(drop: Drop, total: int) -> int:
    """The most of so many rows that may be bad without failing the drop."""
    return bisect(range(1, total + 1), False, key=lambda rejected: bool(too_many_errors(drop, rejected, total)))


def result_format(source: Source, drop: Drop) -> str:
    return source.format if drop.policy.result_format == "same" else drop.policy.result_format


def is_rendered(source: Source, drop: Drop) -> bool:
    """True where accepted rows go out in the format in which they came, and nothing looks into them once judged."""
    contract = drop.contract
    plain = contract.kind != "profiles" and not contract.unique
    return plain and result_format(source, drop) == source.format


def properties_of(drop: Drop, columns: list[str]) -> dict[str, object]:
    """The further columns, which become properties (C11)."""
    declared = drop.contract.by_name
    return {"created": [name for name in columns if name not in declared], "changed": [], "blanked": 0}
