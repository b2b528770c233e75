"""The store: what was accepted becomes a tenant's profiles, companies and events, in Delta tables.

Plain functions over frames, and small classes that hold a table: no SQL, no SFTP, no ledger. A `Contribution` is what
a job brings, `TenantStore` resolves many of them against what is stored and commits them under a sequence number.
"""

from __future__ import annotations

from gateway.store.contribution import Contribution
from gateway.store.facts import Facts
from gateway.store.tenant import Prepared, TenantStore

__all__ = ["Contribution", "Facts", "Prepared", "TenantStore"]
