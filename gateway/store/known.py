"""Which identities a tenant knows: those that are stored, and those that the jobs of the same commit bring."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from gateway.store.buckets import bucket_of, hashes
from gateway.store.contribution import KEY, Brought, Contribution, TableName
from gateway.store.table import Table

# The identities of companies are known by `companies`, all others by `profiles`.
COMPANY = "company_id"
PEOPLE = pl.Schema({"namespace": pl.String, "identity": pl.String})


def unknown_of(people: pl.DataFrame, profiles: Table, companies: Table, brought: Brought) -> pl.DataFrame:
    """Those of the people whom neither the store nor one of the jobs knows."""
    is_company = pl.col("namespace") == COMPANY
    return pl.concat(
        [
            not_in(people.filter(is_company), companies, brought.people("companies")),
            not_in(people.filter(~is_company), profiles, brought.people("profiles")),
        ]
    )


def not_in(people: pl.DataFrame, table: Table, brought: pl.DataFrame) -> pl.DataFrame:
    """Those that are neither brought nor in the table; only the buckets are read in which they would be."""
    left = people.join(brought, on=KEY, how="anti") if people.height else people
    files = table.files()
    if not left.height or not files.height:
        return left
    buckets = bucket_of(hashes(left), [int(bucket) for bucket in files["partition"]]).unique().cast(pl.String)
    paths = files.filter(pl.col("partition").is_in(buckets.implode()))["path"]
    with table.place.reached("read"):
        return left.lazy().join(table.scan(paths, KEY), on=KEY, how="anti").collect(engine="streaming")


def held_back(contributions: list[Contribution], profiles: Table, companies: Table) -> set[int]:
    """The jobs that must wait for profiles: their policy is "hold", and somebody in their events is not known.

    What a job brings is known only if it goes itself, so one that is held back can hold back others.
    """
    held: set[int] = set()
    asking = [at for at, one in enumerate(contributions) if one.unknown_identity == "hold" and one.has("events")]
    missing = {
        at: unknown_of(Brought([contributions[at]]).people("events"), profiles, companies, Brought([])) for at in asking
    }
    while more := {at for at in asking if at not in held and lacks(missing[at], going(contributions, held))}:
        held |= more
    return held


def going(contributions: list[Contribution], held: Iterable[int]) -> list[Contribution]:
    """The jobs that are not held back."""
    return [one for at, one in enumerate(contributions) if at not in set(held)]


def lacks(missing: pl.DataFrame, jobs: list[Contribution]) -> bool:
    """Whether somebody is missing whom none of the jobs brings."""
    if not missing.height:
        return False
    tables: list[TableName] = ["profiles", "companies"]
    brought = Brought(jobs)
    return missing.join(pl.concat([brought.people(table) for table in tables]), on=KEY, how="anti").height > 0
