"""What a drop costs does not grow with the ledger: every statement on its way goes by an index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.ledger import connection
from gateway.pickup.pickup import Pickup
from gateway.storekeeper import Storekeeper
from tests.pickup.conftest import SharedEngine, Site
from tests.waiting import until

EVENTS = b"identity,evtName,ts\nann,Seen,1767225600\n"
READS = re.compile(r"\s*(SELECT|UPDATE|DELETE)")
# A search by nothing but whose it is.
ALL_OF_ONE = re.compile(r"\((tenant=\?)?( AND )?(feed=\?)?\)$")
# The newest reset of a tenant is at the end of its key: SQLite looks at one row for a max().
OF_THE_NEWEST = "SEARCH resets USING PRIMARY KEY (tenant=?)"
# An index over what is under way only, and not over what has ended.
PARTIAL = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+) .*WHERE", re.DOTALL)


@pytest.mark.parametrize("has_store", [False, True])
def test_every_statement_on_a_drops_way_goes_by_an_index(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, has_store: bool
) -> None:
    statements: set[str] = set()
    original = connection.connected

    def traced(path: Path) -> sqlite3.Connection:
        made = original(path)
        made.set_trace_callback(statements.add)
        return made

    monkeypatch.setattr(connection, "connected", traced)
    site = make_site()
    with storing(site) if has_store else site.picking_up():
        for number in range(2):
            site.upload(f"{number}.csv")
            site.upload(f"{number}.csv", EVENTS, "events")
            site.upload(f"same-{number}.csv", feed="repeats")
        until(lambda: ended(site.settings.ledger_path) == 6)
    # Its columns are asked for with the first file of a feed, not with each.
    left_out = ("sqlite_master", "feed_columns")
    statements = {one for one in statements if READS.match(one) and not any(name in one for name in left_out)}
    assert len(statements) > 20
    assert any("UPDATE commits" in one for one in statements) == has_store
    assert walks(site.settings.ledger_path, statements) == []


@contextmanager
def storing(site: Site) -> Iterator[None]:
    """A pickup whose jobs go into a store."""
    engine, keeper = SharedEngine(1), Storekeeper(site.settings.store_url, {})
    engine.start()
    pickup = Pickup(site.live, site.ledger, engine, keeper)
    pickup.start()
    try:
        yield
    finally:
        pickup.stop()
        engine.stop()
        keeper.stop()


def ended(ledger: Path) -> int:
    """By a connection of its own, whose statements are not looked at."""
    with closing(sqlite3.connect(ledger)) as asked:
        return int(asked.execute("SELECT count(*) FROM jobs WHERE status IN ('completed', 'failed')").fetchone()[0])


def walks(ledger: Path, statements: set[str]) -> list[tuple[str, str]]:
    """The steps that read a whole table, an index over all that ever was, or all of a tenant or a feed in one; with
    their statements."""
    with closing(sqlite3.connect(ledger)) as asked:
        indices = asked.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        partial = {match[1] for (sql,) in indices if (match := PARTIAL.match(sql))}
        plans = [(sql, row[3]) for sql in statements for row in asked.execute(f"EXPLAIN QUERY PLAN {sql}")]
    return sorted(
        (step, sql)
        for sql, step in plans
        if (step.startswith("SCAN") or ALL_OF_ONE.search(step))
        and step != OF_THE_NEWEST
        and not set(step.split()) & partial
    )
