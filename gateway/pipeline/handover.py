"""The handover to the store: what a drop brings is gathered chunk by chunk, and left in `store/` of its staging folder.

Events are oldest first, and rows that repeat another one of the file are left out. Updates of profiles and companies
are in the order of the file, since a merge goes by their times. A lot of it waits on the disk, not in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateway.pipeline import contribution_files, rejecting
from gateway.pipeline.contribution import EVENT_ROWS, PROFILE_ROWS, Brought
from gateway.pipeline.contribution_files import FOLDER
from gateway.pipeline.drop import Contributed, Drop
from gateway.pipeline.order import LeftOut
from gateway.pipeline.pieces.disk import Disk
from gateway.pipeline.pieces.runs import Runs, joined
from gateway.pipeline.rows import ROW
from gateway.pipeline.validate import TIME

# In the staging folder: what a killed try leaves goes with it.
SCRATCH: Final = "handover"
SCHEMAS: Final = {"profiles": PROFILE_ROWS, "companies": PROFILE_ROWS, "events": EVENT_ROWS}
# So many bytes of rows wait in memory, by table, and so many are sorted at once.
HELD_BYTES = 64 << 20
RANGE_BYTES = 96 << 20


class Handover:
    """Takes what the chunks of one drop bring (see `judge.Taker`), in their order; `write` ends it."""

    def __init__(self, staging: Path, drop: Drop) -> None:
        self._drop = drop
        self._staging = staging
        self._piles: dict[str, Pile] = {}

    def take(self, brought: Brought) -> None:
        """What a chunk brings."""
        for table, rows in brought.items():
            if table not in self._piles:
                folder = self._staging / SCRATCH / table
                self._piles[table] = Pile(folder, self._drop.disk_free_min, SCHEMAS[table], by_time=table == "events")
            self._piles[table].add(rows)

    def write(self, left_out: LeftOut | None, rejected: Iterable[NDArray[np.int64]] = ()) -> Contributed:
        """Leave a durable file for each table that has rows; `settle.leave` syncs the folder.

        `rejected` are the numbers of the rows that were rejected: those that the store rejects will stand among them.
        """
        folder, first_event = self._staging / FOLDER, None
        rows: dict[str, int] = {}
        for table, pile in self._piles.items():
            parts = pile.parts(left_out)
            if (first := next(parts, None)) is not None:
                folder.mkdir(exist_ok=True)
                rows[table] = contribution_files.write(folder, table, pile.schema, first, parts)
                if table == "events":
                    first_event = first[TIME][0].replace(tzinfo=UTC)
        policy, contract = self._drop.policy, self._drop.contract
        contributed = Contributed(
            **rows, first_event=first_event, accumulating=bool(contract.identify), allow_repeats=contract.allow_repeats,
            unknown_identity=policy.unknown_identity, hold_hours=policy.hold_hours,
        )  # fmt: skip
        if contributed.can_be_rejected:
            rejecting.keep_rejected(folder, rejected)
        return contributed


class Pile:
    """The rows of one table, in the order of the file; what is more than HELD_BYTES is laid down in `folder`.

    `schema` has the columns of the table, and then those of the attributes that rows have had so far.

    Events are laid down as runs, so that any range of times can be read. Other rows keep their order, and are laid
    down as they come: a part of a frame with lists takes as long to write as all of it.
    """

    def __init__(self, folder: Path, disk_free_min: int, schema: pl.Schema, *, by_time: bool) -> None:
        self.schema = pl.Schema(schema)
        self._folder = folder
        self._disk = Disk(folder, disk_free_min)
        self._runs = Runs(folder / "runs", self._disk, by_time=True)
        self._by_time = by_time
        self._files: list[Path] = []
        self._held: list[pl.DataFrame] = []
        self._held_bytes = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Rows of the next chunk. Raises OSError (ENOSPC) where they have no room on the disk."""
        self.schema.update({name: dtype for name, dtype in rows.schema.items() if name not in (TIME, ROW)})
        self._held.append(rows)
        self._held_bytes += int(rows.estimated_size())
        if self._held_bytes >= HELD_BYTES:
            self._lay_down()

    def parts(self, left_out: LeftOut | None) -> Iterator[pl.DataFrame]:
        """All rows in their final order, without those that are left out, in parts that are not empty."""
        for part in self._all():
            kept = part if left_out is None or not part.height else part.filter(~left_out[part[ROW].to_numpy()])
            if kept.height:
                yield self._sorted(kept)

    def _all(self) -> Iterator[pl.DataFrame]:
        if len(self._runs) and self._held:
            self._lay_down()
        if len(self._runs):
            yield from (joined(self._runs.between(*span)) for span in self._runs.ranges(RANGE_BYTES))
            return
        yield from map(pl.read_ipc, self._files)
        yield joined(self._held)

    def _lay_down(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = self._sorted(joined(self._held))
        if self._by_time:
            self._runs.add(rows)
        else:
            self._disk.room_for(self._held_bytes)
            self._files.append(self._folder / str(len(self._files)))
            rows.write_ipc(self._files[-1])
        self._held, self._held_bytes = [], 0

    def _sorted(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Equal times keep the file's order (F17, F18)."""
        if not self._by_time or not rows.height or rows[TIME].is_sorted():
            return rows
        return rows.sort(TIME, maintain_order=True)
