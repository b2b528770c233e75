"""One Delta table: opened, read, written to and committed under a sequence number, durable on a local disk.

The files are written by polars and made durable first; then one entry in the table's log adds them, removes what they
replace, and carries the sequence number as the table's application transaction. deltalake would take a repeated number
again, so it is looked up before each commit.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.transaction import AddAction

from gateway.durable import sync, sync_folder
from gateway.errors import StoreContended
from gateway.store.place import Place, make_folder
from gateway.store.shapes import MOMENT, NUMBER, TEXT, Shape
from gateway.store.table_log import CHECKPOINT_EVERY, drop_torn_entry, sum_up

APPLICATION = "gateway"
CONFIGURATION: Mapping[str, str | None] = {
    # The log is tended by us, after its entries are durable; readers and other writers see what we go by.
    "delta.checkpointInterval": "20",
    "delta.logRetentionDuration": "interval 1 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
    "delta.enableExpiredLogCleanup": "true",
}
# `first` and `last`: between which times the rows are, where the table has a time.
FILES = pl.Schema({"path": TEXT, "bytes": NUMBER, "rows": NUMBER, "partition": TEXT, "first": MOMENT, "last": MOMENT})
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


@dataclass(slots=True)
class Change:
    """What a commit will do to a table: files that are written already, and the partitions that they replace.

    `version` is the state of the table that it was computed from (-1: the table was not there).
    """

    version: int
    added: list[AddAction] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    whole: bool = False

    def __bool__(self) -> bool:
        return bool(self.added)


class Table:
    """A table at a place; it need not be there yet."""

    def __init__(self, place: Place, shape: Shape) -> None:
        self.place = place
        self.shape = shape
        self._delta: DeltaTable | None = None
        self._files: tuple[int, pl.DataFrame] | None = None
        self._last: tuple[int, int | None] = -1, None
        self._log_changed_at: int | None = None
        self._summed_up_at = 0
        self.refresh()

    @property
    def is_there(self) -> bool:
        return self._delta is not None

    @property
    def delta(self) -> DeltaTable:
        """Of a table that is there."""
        if self._delta is None:
            raise LookupError(f"{self.place} is not there: create it, or ask is_there first")
        return self._delta

    @property
    def version(self) -> int:
        return -1 if self._delta is None else self._delta.version()

    def refresh(self) -> None:
        """See what has been committed since."""
        with self.place.reached("open"):
            if self._delta is not None:
                changed_at = self._log_change()
                # Two changes can have the same time; then the next entry is there.
                if changed_at is None or changed_at != self._log_changed_at or self._has_next_entry():
                    self._delta.update_incremental()
                    self._log_changed_at = changed_at
                return
            drop_torn_entry(self.place.folder)
            options = dict(self.place.options) or None
            if DeltaTable.is_deltatable(self.place.url, storage_options=options):
                self._delta = DeltaTable(self.place.url, storage_options=options)
                self._summed_up_at = self.version - self.version % CHECKPOINT_EVERY

    def _log_change(self) -> int | None:
        """When somebody committed last, by the folder of the log: a look at it is quick. None where it is elsewhere."""
        folder = self.place.folder
        return None if folder is None else (folder / "_delta_log").stat().st_mtime_ns

    def _has_next_entry(self) -> bool:
        folder = self.place.folder
        return folder is not None and (folder / "_delta_log" / f"{self.version + 1:020d}.json").exists()

    @property
    def last_sequence(self) -> int | None:
        """The number of the last commit here."""
        if self._delta is not None and self._last[0] != self.version:
            with self.place.reached("look up the sequence"):
                self._last = self.version, self._delta.transaction_version(APPLICATION)
        return self._last[1]

    def has(self, sequence: int) -> bool:
        """Whether the commit of this number, or a later one, has been made here."""
        last = self.last_sequence
        return last is not None and last >= sequence

    def files(self) -> pl.DataFrame:
        """The files of the current version, as `FILES` has them."""
        if self._delta is None:
            return pl.DataFrame(schema=FILES)
        if self._files is None or self._files[0] != self.version:
            with self.place.reached("list files"):
                self._files = self.version, self._listed(self._delta)
        return self._files[1]

    def _listed(self, delta: DeltaTable) -> pl.DataFrame:
        found = pl.DataFrame(delta.get_add_actions(flatten=True))
        names = {"size_bytes": "bytes", "num_records": "rows", "min.time": "first", "max.time": "last"}
        if self.shape.partition is not None:
            names[f"partition.{self.shape.partition}"] = "partition"
        have = {old: new for old, new in names.items() if old in found.columns}
        found = found.rename(have)
        return found.select(
            pl.col(name).cast(kind) if name in found.columns else pl.lit(None, kind).alias(name)
            for name, kind in FILES.items()
        )

    def scan(self, paths: Iterable[str], columns: list[str] | None = None) -> pl.LazyFrame:
        """The rows of these files, without the partition's column."""
        schema = {name: self.shape.schema[name] for name in self.shape.columns}
        addresses = [self.place.file(path) for path in paths]
        if not addresses:
            return pl.LazyFrame(schema=schema).select(columns or list(schema))
        scanned = pl.scan_parquet(
            addresses, glob=False, hive_partitioning=False, storage_options=self.place.polars_options
        )
        return scanned.select(columns or list(schema))

    def write(self, frame: pl.DataFrame, partition: str | None, sequence: int) -> AddAction:
        """A file of these rows, durable but not part of the table until it is committed."""
        name = f"part-{sequence:08d}-{uuid.uuid4()}.zstd.parquet"
        path = name if partition is None else f"{self.shape.partition}={partition}/{name}"
        folder = self.place.folder
        with self.place.reached("write"):
            if folder is not None:
                make_folder((folder / path).parent)
            size = self._write(frame[self.shape.columns], path)
        values: dict[str, str | None] = {} if self.shape.partition is None else {self.shape.partition: partition}
        return AddAction(path, size, values, time.time_ns() // 1_000_000, True, statistics(frame))

    def _write(self, frame: pl.DataFrame, path: str) -> int:
        """The file, and how many bytes it has: readers go by that to find its footer."""
        address, folder = self.place.file(path), self.place.folder
        if folder is not None:
            frame.write_parquet(address, statistics="time" in frame.columns, compression="zstd", compression_level=1)
            sync(folder / path)
            sync_folder((folder / path).parent)
            return (folder / path).stat().st_size
        # The service is not asked for the size: the same rows make the same bytes.
        frame.write_parquet(content := BytesIO(), compression="zstd", compression_level=1)
        options = self.place.polars_options
        frame.write_parquet(address, compression="zstd", compression_level=1, storage_options=options)
        return content.tell()

    def create(self) -> None:
        """The table, empty, where it is not there yet."""
        if self._delta is not None:
            return
        with self.place.reached("create"):
            if (folder := self.place.folder) is not None:
                make_folder(folder)
            self._delta = DeltaTable.create(
                self.place.url, Schema.from_arrow(self.shape.schema), mode="ignore",
                partition_by=self.shape.partition, name=self.shape.name, description=self.shape.description,
                configuration=CONFIGURATION, storage_options=dict(self.place.options) or None,
            )  # fmt: skip
            self._sync_log(self.version)
            if folder is not None:
                sync_folder(folder)

    def commit(self, change: Change, sequence: int, jobs: list[str]) -> bool:
        """Make the change under this number, once; False when the table has it already. `refresh` shows it."""
        self.refresh()
        if self.has(sequence):
            return False
        if self.version != change.version:
            raise StoreContended(
                f"{self.place}: version {self.version} is there, and {change.version} was resolved against.",
                hint="One gateway writes to a store; end the other writer. The commit is tried again.",
            )
        self.create()
        with self.place.reached("commit"):
            self._commit(change, sequence, jobs)
        return True

    def rewrite(self, change: Change) -> None:
        """Make a change that only puts rows into other files: without a number; the log says that no data changed."""
        as_before = [replace(one, data_change=False) for one in change.added]
        with self.place.reached("rewrite"):
            self._commit(replace(change, added=as_before), None, [])

    def _commit(self, change: Change, sequence: int | None, jobs: list[str]) -> None:
        self._write_entry(change, sequence, jobs)
        self._sync_log(self.version + 1)

    def _write_entry(self, change: Change, sequence: int | None, jobs: list[str]) -> None:
        partition = self.shape.partition
        replaced = [(partition or "", "in", sorted(change.replaced))] if change.replaced else None
        self.delta.create_write_transaction(
            list(change.added),
            "overwrite" if change.replaced or change.whole else "append",
            self.delta.schema(),
            [partition] if partition else None,
            replaced,
            commit_properties=CommitProperties(
                # Another writer's entry must not be stepped over: this change replaces what was read.
                max_commit_retries=0,
                app_transactions=[Transaction(APPLICATION, sequence)] if sequence is not None else None,
                custom_metadata={"jobs": " ".join(jobs[:100])},
            ),
            post_commithook_properties=NO_HOOKS,
        )

    @property
    def has_long_log(self) -> bool:
        """Whether it is time to sum it up."""
        return self.version - self._summed_up_at >= CHECKPOINT_EVERY

    def sum_up(self) -> None:
        """The log as it is now in one file, so that it stays quick to open; entries older than a day go."""
        with self.place.reached("shorten the log"):
            sum_up(self.delta, self.place.folder)
        self._summed_up_at = self.version

    def make_durable(self, paths: Iterable[str]) -> None:
        """What deltalake wrote by itself: these files, and the newest entry of the log."""
        if (folder := self.place.folder) is None:
            return
        with self.place.reached("make durable"):
            for path in paths:
                sync(folder / path)
                sync_folder((folder / path).parent)
            self._sync_log(self.version)

    def _sync_log(self, version: int) -> None:
        """That entry of the log survives a power cut: before it does, nobody is told that it is there."""
        if (folder := self.place.folder) is None:
            return
        history = folder / "_delta_log"
        sync(history / f"{version:020d}.json")
        sync_folder(history)


def statistics(frame: pl.DataFrame) -> str:
    """What the log says of a file: its rows, and between which times they are, so that a look for some skips others."""
    found: dict[str, object] = {"numRecords": frame.height}
    if "time" in frame.columns:
        first, last = frame.select(
            pl.col("time").min().dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").alias("first"),
            pl.col("time").max().dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").alias("last"),
        ).row(0)
        found |= {"minValues": {"time": first}, "maxValues": {"time": last}}
    return json.dumps(found)
