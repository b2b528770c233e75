"""Warming up a worker: the first drop should find everything loaded and compiled."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gateway import clock, contracts
from gateway.config import FeedSettings
from gateway.pipeline.drop import Drop
from gateway.pipeline.process import outcome_of


def warm_up() -> None:
    """Process the samples of a contract that uses every kind of rule, and throw the results away."""
    contract = contracts.load("userpilot-import")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in contract.samples.items():
            path = Path(folder, name)
            path.write_text(text, encoding="utf-8")
            drop = Drop(
                job_id="", tenant="", feed="", name=name, generation=1, path=path, sha256="", as_of=clock.now(),
                uploaded_by=None, contract=contract, policy=FeedSettings(contract=contract.name),
            )  # fmt: skip
            outcome_of(drop, Path(folder, "out"))
