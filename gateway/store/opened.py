"""The stores of the tenants that are open in a process: open, a small commit is quick."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.store.tenant import TenantStore

TENANTS_MAX = 64
# With more than this in the indexes of the others, the one that was used longest ago is closed.
INDEX_BYTES_MAX = 256 << 20


class OpenStores:
    """They are closed when there are too many, or when they take too much memory: who is used last, is so last."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._url = url
        self._options = options
        self._open: dict[str, TenantStore] = {}

    def of(self, tenant: str) -> TenantStore:
        """The tenant's store, opened if it is not open."""
        if next(reversed(self._open), None) == tenant:
            return self._open[tenant]
        store = self._open.pop(tenant, None) or TenantStore(self._url, tenant, self._options)
        while len(self._open) >= TENANTS_MAX or self._index_bytes() > INDEX_BYTES_MAX:
            del self._open[next(iter(self._open))]
        self._open[tenant] = store
        return store

    def _index_bytes(self) -> int:
        return sum(index.bytes for store in self._open.values() for index in store.indexes)
