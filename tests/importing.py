"""Drops on their whole way in one process: through the pipeline, against the store, into it.

What a gateway does with ledger, folders and processes round this is proved in tests/pickup and tests/faults.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from gateway import contracts
from gateway.config import FeedSettings
from gateway.contracts import Contract
from gateway.pipeline.drop import Contributed, Drop, Outcome
from gateway.pipeline.process import outcome_of
from gateway.store import TenantStore
from gateway.storekeeping import Commit, Resolve, StagedJob, Stores
from tests.pipeline.conftest import AS_OF, Result
from tests.store.conftest import Stored


@dataclass(frozen=True)
class Staged:
    """A drop that went through the pipeline, and where its results are."""

    drop: Drop
    outcome: Outcome
    staging: Path

    @property
    def job(self) -> StagedJob:
        brought = self.outcome.contributed or Contributed()
        return StagedJob(
            self.drop.job_id, self.drop.feed, self.drop.as_of, self.staging, brought.unknown_identity,
            brought.allow_repeats, brought.accumulating,
        )  # fmt: skip

    def result(self, outcome: Outcome) -> Result:
        """What would be published."""
        files = {role_of(file.staged): (self.staging / file.staged).read_bytes() for file in outcome.files}
        report = json.loads(files.pop("report"))
        check(report, outcome, files)
        return Result(outcome, report, files)


def role_of(staged: str) -> str:
    name = staged.rpartition("/")[2]
    return "page" if name == "report.html" else name.split(".")[0]


def check(report: dict[str, Any], outcome: Outcome, files: dict[str, bytes]) -> None:
    """Every row is accounted for, each file is as the report says, and errors.csv lists what the report does."""
    assert outcome.counts.add_up
    told = {file["role"]: file for file in report["files"] if file["role"] != "original"}
    told["page"] = told.pop("report")
    assert sorted(told) == sorted(files), (sorted(told), sorted(files))
    for role, content in files.items():
        assert (told[role]["bytes"], told[role]["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    errors = csv.DictReader(io.StringIO(files.get("errors", b"").decode(), newline=""))
    lines = {(line["row"], line["code"], line["message"]) for line in errors}
    problems = report["problems"]
    if any(one["level"] != "note" for one in problems):
        assert {(str(one["row"] or ""), one["code"], one["message"]) for one in problems} <= lines


@dataclass
class Tenant:
    """A tenant with a store of its own. Jobs are a minute apart; their ids sort by their age."""

    folder: Path
    sequence: int = 0
    jobs: int = 0
    store: Stored = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.store = Stored(TenantStore(str(self.folder / "store"), "acme"))
        self._stores = Stores(str(self.folder / "store"), {})

    def drop(
        self, body: bytes | str, contract: str | Contract, *, name: str = "drop.csv", as_of: datetime | None = None,
        **given: Any,
    ) -> Staged:  # fmt: skip
        """A drop up to where the store is asked; what is not a parameter of Drop is a policy of the feed."""
        self.jobs += 1
        folder = self.folder / f"job-{self.jobs}"
        folder.mkdir()
        content = body.encode() if isinstance(body, str) else body
        (folder / "original").write_bytes(content)
        loaded = contracts.load(contract) if isinstance(contract, str) else contract
        of_drop: dict[str, Any] = {key: given.pop(key) for key in list(given) if key in Drop.__slots__}
        usual: dict[str, Any] = {
            "tenant": "acme", "feed": loaded.name, "generation": 1, "uploaded_by": None, "for_store": True,
        }  # fmt: skip
        drop = Drop(
            job_id=f"0190f0f0-0000-7000-8000-{self.jobs:012}", name=name, path=folder / "original",
            sha256=hashlib.sha256(content).hexdigest(), as_of=as_of or AS_OF + timedelta(minutes=self.jobs),
            contract=loaded, policy=FeedSettings(contract=loaded.name, **given), **(usual | of_drop),
        )  # fmt: skip
        return Staged(drop, outcome_of(drop, folder / "out"), folder / "out")

    def commit(self, *staged: Staged, last_word: bool = False) -> list[Result | None]:
        """Their results as the store has decided them; None for a drop that is held, unless it was held long enough."""
        self.sequence += 1
        jobs = [one.job for one in staged]
        if last_word:
            jobs = [StagedJob.from_plain(job.to_plain() | {"unknown_identity": "reject"}) for job in jobs]
        commit = Commit("acme", self.sequence, tuple(jobs))
        rejecting = {job.job for job in jobs if job.unknown_identity == "reject"}
        resolved = self._stores.resolve(
            Resolve(
                commit,
                {one.drop.job_id: one.outcome for one in staged},
                {one.drop.job_id: one.drop for one in staged if one.drop.job_id in rejecting},
            )
        )
        going = [job for job in jobs if job.job in resolved.outcomes and resolved.outcomes[job.job].contributed]
        if going:
            self._stores.make(Commit("acme", self.sequence, tuple(going)))
        return [
            one.result(resolved.outcomes[one.drop.job_id]) if one.drop.job_id not in resolved.held else None
            for one in staged
        ]

    def take(self, body: bytes | str, contract: str | Contract, **given: Any) -> Result:
        """One drop, in a commit of its own."""
        (result,) = self.commit(self.drop(body, contract, **given))
        assert result is not None
        return result

    def profile(self, identity: str, namespace: str = "identity", table: str = "profiles") -> dict[str, Any]:
        """The attributes of a stored profile or company."""
        texts = self.store.value(identity, table, namespace)
        return {name: None if text is None else json.loads(text) for name, text in texts.items()}

    def rows(self, table: str) -> pl.DataFrame:
        """All stored rows; attributes as they are."""
        found = getattr(self.store.store, table)
        found.refresh()
        rows: pl.DataFrame = found.scan(found.files()["path"]).collect()
        return rows

    def files(self, table: str) -> list[str]:
        """The files of a table as it is now."""
        found = getattr(self.store.store, table)
        found.refresh()
        return [found.place.file(path) for path in found.files()["path"]]

    def events(self) -> list[dict[str, Any]]:
        """All stored events, the oldest first."""
        return self.rows("events").sort("time", "job", "row").to_dicts()
