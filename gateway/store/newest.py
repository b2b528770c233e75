"""The newest stored event of each feed, by which the events of a later drop are late (RULES.md, section 4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import polars as pl

from gateway.store.table import Table


class Newest:
    """Read from the table's files once a feed, and then followed: events are only ever added, but for a reset.

    So as long as there are as many as are expected, they are the ones that are known.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows = 0
        self._known: dict[str, datetime | None] = {}
        self._expected_rows = 0
        self._expected: dict[str, datetime | None] = {}

    def of(self, feeds: Collection[str]) -> dict[str, datetime]:
        """The time of the newest event of each of the feeds that has some."""
        self._follow(int(self._table.files()["rows"].sum()))
        if missing := set(feeds) - self._known.keys():
            self._known |= self._read(missing)
        return {feed: newest for feed in feeds if (newest := self._known[feed]) is not None}

    def expect(self, newest: Mapping[str, datetime], rows: int) -> None:
        """What a commit of so many rows will make of it."""
        self._expected = {**self._known, **newest}
        self._expected_rows = self._rows + rows

    def _follow(self, rows: int) -> None:
        if rows != self._rows:
            self._known = self._expected if rows == self._expected_rows else {}
        self._rows = rows

    def _read(self, feeds: set[str]) -> dict[str, datetime | None]:
        """Mostly the newest file tells it; the others are read for the feeds that may have a newer event there."""
        files = self._table.files().sort("last", descending=True, nulls_last=False)
        found = dict.fromkeys(feeds) | self._newest_in(files["path"].head(1), feeds)
        ends: list[datetime | None] = files["last"].slice(1).to_list()
        latest = None if None in ends else max(filter(None, ends), default=datetime.min.replace(tzinfo=UTC))
        unsure = {feed for feed, newest in found.items() if newest is None or latest is None or newest < latest}
        more = self._newest_in(files["path"].slice(1), unsure) if unsure and ends else {}
        return {feed: max(filter(None, (newest, more.get(feed))), default=None) for feed, newest in found.items()}

    def _newest_in(self, paths: pl.Series, feeds: Collection[str]) -> dict[str, datetime]:
        with self._table.place.reached("read"):
            scanned = self._table.scan(paths, ["feed", "time"]).filter(pl.col("feed").is_in(feeds))
            return dict(scanned.group_by("feed").agg(pl.col("time").max()).collect(engine="streaming").iter_rows())
