"""Upkeep of a tenant's tables: small files of events become few, and files that no reader needs any more are removed.

`profiles` and `companies` are compact but for what came last (see `recent`). Of `events` each commit adds a file a
month; the files of a month are rewritten as few, sorted by time. The log says that no data changed by it, so that a
reader that follows the table sees no event twice. A repeat is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import polars as pl
from deltalake import CommitProperties, WriterProperties

from gateway.errors import StoreError
from gateway.store import recent
from gateway.store.table import NO_HOOKS, Table
from gateway.store.table_log import CHECKPOINT_EVERY
from gateway.store.tenant import TenantStore

# What a file of events should have; a file of a quarter of it is not small.
FILE_BYTES = 256 << 20
SMALL_FILES_MAX = 32
# A month is rewritten when a quarter of it is in small files, so that a large one is not for a few events.
SMALL_SHARE = 4
# However large the month is.
SMALL_FILES_EVER = 512
SORT_BYTES = 512 << 20
# A file that was replaced is kept for whoever still reads the table as it was, or restores it.
HORIZON = timedelta(days=7)
VACUUM_EVERY = timedelta(days=1)
# A reader that has opened the table must be able to end.
HORIZON_MIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done: months of events that were rewritten, files of events before and after, files removed.

    `placed`: recent profiles and companies that were put into their buckets.
    """

    months: list[str] = field(default_factory=list)
    files_before: int = 0
    files_after: int = 0
    removed: int = 0
    placed: int = 0


def due(store: TenantStore) -> list[str]:
    """The months of events whose small files have piled up."""
    small = pl.col("bytes") < FILE_BYTES // 4
    piled = (
        store.events.files()
        .group_by("partition")
        .agg(count=small.sum(), small=pl.col("bytes").filter(small).sum(), all=pl.col("bytes").sum())
        .filter(
            pl.col("count") > SMALL_FILES_MAX,
            (pl.col("small") * SMALL_SHARE >= pl.col("all")) | (pl.col("count") > SMALL_FILES_EVER),
        )
    )
    return sorted(piled["partition"])


def compact(store: TenantStore, months: list[str] | None = None) -> Upkeep:
    """Rewrite the events of these months (all that have more than one small file, when none are given)."""
    table = store.events
    table.refresh()
    before = table.files()
    if months is None:
        small = before.filter(pl.col("bytes") < FILE_BYTES // 4).group_by("partition").len()
        months = sorted(small.filter(pl.col("len") > 1)["partition"])
    for month in months:
        _compact_month(table, month)
    return Upkeep(months, before.height, table.files().height)


def _compact_month(table: Table, month: str) -> None:
    with table.place.reached("compact"):
        table.delta.optimize.z_order(
            ["time"],
            partition_filters=[("month", "=", month)],
            target_size=FILE_BYTES,
            max_spill_size=SORT_BYTES,
            writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
            commit_properties=CommitProperties(max_commit_retries=0),
            post_commithook_properties=NO_HOOKS,
        )
        table.refresh()
    table.make_durable(table.files().filter(partition=month)["path"].to_list())


def vacuum(store: TenantStore, horizon: timedelta = HORIZON) -> int:
    """Remove files that were replaced, or that no commit named, longer ago than the horizon; how many."""
    if horizon < HORIZON_MIN:
        raise StoreError(
            f"{store.place}: files replaced less than {HORIZON_MIN} ago are kept, since somebody may be reading them.",
            hint=f"Give a horizon of at least that; {HORIZON.days} days is the default.",
        )
    return sum(vacuum_table(table, horizon) for table in store.tables if table.is_there)


def vacuum_table(table: Table, horizon: timedelta) -> int:
    """Remove the files of one table that were replaced longer ago; how many. A reader of them fails."""
    table.refresh()
    with table.place.reached("vacuum"):
        removed = table.delta.vacuum(
            retention_hours=int(horizon.total_seconds() // 3600), dry_run=False, enforce_retention_duration=False,
            full=True, post_commithook_properties=NO_HOOKS,
        )  # fmt: skip
        table.refresh()
    table.make_durable([])
    return len(removed)


def shorten_logs(store: TenantStore) -> None:
    """Sum up the log of each table that has a long one, and remove its entries that are older than a day."""
    for table in store.tables:
        if table.is_there and table.version >= CHECKPOINT_EVERY:
            table.sum_up()


def optimize(store: TenantStore, horizon: timedelta = HORIZON) -> Upkeep:
    """All upkeep at once, as `gateway store optimize` does it."""
    done = compact(store)
    placed = sum(map(recent.put_in_place, store.indexes))
    removed = vacuum(store, horizon)
    shorten_logs(store)
    return replace(done, removed=removed, placed=placed)


class Schedule:
    """When a store that is open is tended by itself: for whoever commits to it, to be asked after each commit.

    Small files are compacted when they have piled up, a long log is summed up, and files that were replaced are removed
    once a day.
    """

    def __init__(self) -> None:
        self._vacuumed_at: dict[str, datetime] = {}
        self._looked_at: dict[str, int] = {}
        """The version of its events at which a store was looked at last."""

    def keep_up(self, store: TenantStore, now: datetime) -> Upkeep:
        """Do what is due, which mostly is nothing: then it costs a look at the list of files that is in memory."""
        store.refresh()
        for index in store.indexes:
            recent.tidy(index)
        for table in store.tables:
            if table.has_long_log:
                table.sum_up()
        done = self._compact(store)
        # A process that has just begun waits a day: one that is started often must not go through all files each time.
        before = self._vacuumed_at.setdefault(str(store.place), now)
        if now - before < VACUUM_EVERY:
            return done
        self._vacuumed_at[str(store.place)] = now
        return replace(done, removed=vacuum(store))

    def _compact(self, store: TenantStore) -> Upkeep:
        place, version = str(store.place), store.events.version
        if self._looked_at.get(place) == version:
            return Upkeep()
        months = due(store)
        done = compact(store, months) if months else Upkeep()
        self._looked_at[place] = version
        return done
