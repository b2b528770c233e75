"""A serving gateway for benchmarks: two tenants, default limits, a data directory that is new each time."""

from __future__ import annotations

from pathlib import Path

from scripts.gateways.process import GatewayProcess, make_keys

# One attacker alone may not have all connections of his tenant.
USERS = {"victim": ("victim-one",), "attacker": ("attacker-one", "attacker-two")}
SETTINGS = """
[pickup]
settle_seconds = 0
[log]
level = "error"
"""
USER = '[users.{user}]\nemail = "{user}@example.test"\nrole = "creator"\nkeys = ["{key}"]\n'
FEED = '[feeds.people]\ncontract = "clevertap-profiles"\non_duplicate = "process"\n'


class Serving:
    """A gateway below `root`, in a process group of its own; without a store when that is not wanted."""

    def __init__(self, root: Path, *, has_store: bool = True) -> None:
        self.root = root
        self.key = root / "client"
        self.port = 0
        self._process = GatewayProcess(root, root / "log")
        (root / "tenants").mkdir(parents=True)
        public = make_keys(root)
        (root / "gateway.toml").write_text(SETTINGS + f"[store]\nenabled = {str(has_store).lower()}\n")
        for tenant, users in USERS.items():
            tables = [USER.format(user=user, key=public) for user in users]
            (root / "tenants" / f"{tenant}.toml").write_text("".join(tables) + FEED)

    def __enter__(self) -> Serving:
        self.port = self._process.serve()
        return self

    def __exit__(self, *_: object) -> None:
        """Not by SIGTERM: it would finish what the attacker has begun."""
        self._process.kill(group=True)

    def outbox(self, tenant: str) -> Path:
        return self.root / "data" / "tenants" / tenant / "outbox" / "people"
