"""Emptying a tenant's tables, for the reset of a tenant for tests and for nothing else.

The tables stay, with their numbers of commits, so that who has them open goes on; their rows and files go at once.
"""

from __future__ import annotations

from datetime import timedelta

from deltalake import CommitProperties

from gateway.store.optimize import vacuum_table
from gateway.store.table import NO_HOOKS, Table
from gateway.store.tenant import TenantStore


def empty(store: TenantStore) -> None:
    """Remove all rows and all files that held them; safe to repeat. The caller is the only one that writes."""
    for table in store.tables:
        table.refresh()
        if table.is_there:
            _empty(table)


def _empty(table: Table) -> None:
    if table.files().height:
        with table.place.reached("empty"):
            # Without a condition: every file is removed as it is.
            table.delta.delete(
                commit_properties=CommitProperties(max_commit_retries=0), post_commithook_properties=NO_HOOKS
            )
            table.refresh()
        table.make_durable([])
    vacuum_table(table, timedelta(0))
