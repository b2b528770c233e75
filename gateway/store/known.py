"""Which identities a tenant knows: those that are stored, and those that the jobs of the same commit bring."""

from __future__ import annotations

import polars as pl

from gateway.store.contribution import KEY, Brought, Contribution, TableName
from gateway.store.index import Index

# The identities of companies are known by `companies`, all others by `profiles`.
COMPANY = "company_id"
PEOPLE = pl.Schema({"namespace": pl.String, "identity": pl.String})


def unknown_of(people: pl.DataFrame, profiles: Index, companies: Index, brought: Brought) -> pl.DataFrame:
    """Those of the people whom neither the store nor one of the jobs knows."""
    is_company = pl.col("namespace") == COMPANY
    return pl.concat(
        [
            not_in(people.filter(is_company), companies, brought.people("companies")),
            not_in(people.filter(~is_company), profiles, brought.people("profiles")),
        ]
    )


def not_in(people: pl.DataFrame, index: Index, brought: pl.DataFrame) -> pl.DataFrame:
    """Those that are neither brought nor in the table."""
    return index.unknown(people.join(brought, on=KEY, how="anti") if people.height else people)


def left_out(contributions: list[Contribution], profiles: Index, companies: Index) -> dict[int, pl.DataFrame]:
    """The jobs that do not go because of events of those whom nobody knows; these, as `strangers_of` has them.

    One waits for profiles (its policy is "hold"), or has more such events than it may have. What a job brings is known
    only if it goes itself, so one that is left out can keep others out.
    """
    asking = [at for at, one in enumerate(contributions) if most_unknown(one) is not None and one.has("events")]
    own = {at: Brought([contributions[at]]) for at in asking}
    missing = {at: unknown_of(one.people("events"), profiles, companies, one) for at, one in own.items()}
    strangers = {at: strangers_of(contributions[at], missing[at]) for at in asking}
    out: dict[int, pl.DataFrame] = {}
    while True:
        brought = Brought([one for at, one in enumerate(contributions) if at not in out])
        lacking = {at: not_brought(strangers[at], brought) for at in asking}
        more = {at: rows for at, rows in lacking.items() if rows.height > (most_unknown(contributions[at]) or 0)}
        if len(more) == len(out):
            return more
        out = more


def most_unknown(one: Contribution) -> int | None:
    """How many of its events may be of somebody unknown while it goes; None when that does not matter."""
    return 0 if one.unknown_identity == "hold" else one.rejections_max


def strangers_of(one: Contribution, people: pl.DataFrame) -> pl.DataFrame:
    """row, namespace, identity of the job's events of these people; each is there once where the job would be held."""
    rows = one.rows("events")
    if rows is None or one.unknown_identity == "hold" or not people.height:
        return people.select(pl.lit(None, pl.Int64).alias("row"), *KEY)
    return rows.lazy().select("row", *KEY).join(people.lazy(), on=KEY, how="semi").collect(engine="streaming")


def not_brought(strangers: pl.DataFrame, brought: Brought) -> pl.DataFrame:
    """Those of the rows whose people none of the jobs brings."""
    if not strangers.height:
        return strangers
    tables: list[TableName] = ["profiles", "companies"]
    return strangers.join(pl.concat([brought.people(table) for table in tables]), on=KEY, how="anti")
