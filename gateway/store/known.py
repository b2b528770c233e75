"""Which identities a tenant knows: those that are stored, and those that the jobs of the same commit bring."""

from __future__ import annotations

import polars as pl

from gateway.store.buckets import bucket_of, hashes
from gateway.store.contribution import KEY, Brought, Contribution, TableName
from gateway.store.table import Table

# The identities of companies are known by `companies`, all others by `profiles`.
COMPANY = "company_id"
# With as many identities as this for each bucket it is not worth while to look for those in which there are none.
MANY = 4
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
    paths = files["path"]
    if left.height < MANY * files.height:
        buckets = bucket_of(hashes(left), [int(bucket) for bucket in files["partition"]]).unique().cast(pl.String)
        paths = files.filter(pl.col("partition").is_in(buckets.implode()))["path"]
    with table.place.reached("read"):
        return left.lazy().join(table.scan(paths, KEY), on=KEY, how="anti").collect(engine="streaming")


def held_back(contributions: list[Contribution], profiles: Table, companies: Table) -> dict[int, int]:
    """The jobs that must wait for profiles, and for how many: their policy is "hold", and not all of them are known.

    What a job brings is known only if it goes itself, so one that is held back can hold back others.
    """
    held: dict[int, int] = {}
    asking = [at for at, one in enumerate(contributions) if one.unknown_identity == "hold" and one.has("events")]
    own = {at: Brought([contributions[at]]) for at in asking}
    missing = {at: unknown_of(one.people("events"), profiles, companies, one) for at, one in own.items()}
    while True:
        brought = Brought([one for at, one in enumerate(contributions) if at not in held])
        waiting = {at: lacking(missing[at], brought) for at in asking}
        if not {at for at in waiting if waiting[at]} - set(held):
            return {at: waiting[at] for at in held}
        held |= {at: count for at, count in waiting.items() if count}


def lacking(missing: pl.DataFrame, brought: Brought) -> int:
    """How many of the missing none of the jobs brings."""
    if not missing.height:
        return 0
    tables: list[TableName] = ["profiles", "companies"]
    return missing.join(pl.concat([brought.people(table) for table in tables]), on=KEY, how="anti").height
