"""Names that the contract does not know: what is said of them, and what they were likely meant as."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from gateway.config import did_you_mean
from gateway.contracts import Contract
from gateway.pipeline.problems import Problems

# A name is taken for a misspelt one only when it is very like it: Nickname is not Name.
MISSPELT_MIN = 0.8


def tell_unknown(
    name: str, present: Collection[str], contract: Contract, problems: Problems, line: int, row: int | None = None
) -> None:
    """Warn of a column or key that is ignored, and of one that is kept but was likely meant as another."""
    known = contract.by_name
    if contract.further_columns == "ignore":
        near = did_you_mean(name, known)
        message = f"{name}: the contract has no '{name}'; it is ignored{near}"
    elif near := misspelt(name, present, known):
        message = f"{name}: '{name}' is kept as a property of its own{near}"
    else:
        return
    problems.add_of_file("unknown_column", message, column=name, line=line, row=row)


def misspelt(name: str, present: Collection[str], known: Collection[str]) -> str:
    """`; did you mean 'x'?` where a column of the contract differs in case only, or is nearly so named and missing."""
    likely = {column.lower(): column for column in known if column not in present or column.lower() == name.lower()}
    near = difflib.get_close_matches(name.lower(), likely, n=1, cutoff=MISSPELT_MIN)
    return f"; did you mean '{likely[near[0]]}'?" if near else ""
