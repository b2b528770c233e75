"""What came of a partner's files, without what differs from run to run, so that two runs can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults.site import Site

OF_THE_RUN = frozenset(
    {
        # Ids.
        *("job_id", "links", "id", "drop_id", "upload_id", "inode"),
        # Times.
        *("uploaded_on", "as_of", "start_time", "end_time", "elapsed_time", "status_since"),
        *("landed_at", "state_since", "not_before", "settles_at", "claimed_at", "client_mtime"),
        # Tries, and the staged outcome, which repeats all of the above.
        *("tries", "outcome"),
        # Of the test, which has a feed for each run; a file may come twice, when its first OK was lost; and whether
        # a name is hidden tells whether the client's remove was before or after the claim.
        *("tenant", "feed", "generation", "hidden"),
        # Of the store: jobs go into it together, or apart.
        "commit_sequence",
    }
)
Reference = Callable[[str], "dict[str, Outcome]"]
"""The outcomes of a script when nothing fails, by the SHA-256 of the drops."""
DATA = ("accepted", "rejected", "errors")


@dataclass(frozen=True)
class Outcome:
    """One job that was no repeat: its report, its ledger rows, and its data files by their role."""

    report: Mapping[str, Any]
    job: Mapping[str, Any]
    drop: Mapping[str, Any]
    data: Mapping[str, bytes]


def without_the_run(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A report or a ledger row without the keys of OF_THE_RUN, and without generations in names of files.

    The page repeats the report, times and all: its size and digest are left out too.
    """
    kept = {key: value for key, value in facts.items() if key not in OF_THE_RUN}
    if "files" in kept:
        kept["files"] = [
            {
                key: plain(value) if key == "name" else value
                for key, value in file.items()
                if file["role"] != "report" or key not in ("bytes", "sha256")
            }
            for file in kept["files"]
        ]
    return kept


def plain(name: str) -> str:
    """A result's name without its generation."""
    return ".".join(part for part in name.split(".") if not (part[:1] == "g" and part[1:].isdecimal()))


def outcomes(site: Site) -> dict[str, Outcome]:
    """The outcomes of the site's feed by the SHA-256 of their drops; each may have one only.

    Everything that stands in the outbox must belong to a job.
    """
    found: dict[str, Outcome] = {}
    published: list[str] = []
    for job in site.jobs():
        prefix = job["path"] + (f".g{job['generation']}" if job["generation"] > 1 else "")
        report = json.loads((site.outbox / f"{prefix}.report.json").read_text())
        assert report["job_id"] == job["id"]
        results = {file["name"]: file for file in report["files"] if file["role"] != "original"}
        published += [*results, f"{prefix}.report.json"]
        check_files(site, results)
        if job["duplicate_of"]:
            assert {file["role"] for file in results.values()} == {"report"}
            continue
        data = {
            file["role"]: (site.outbox / name).read_bytes() for name, file in results.items() if file["role"] in DATA
        }
        (drop,) = (drop for drop in site.drops() if drop["id"] == job["drop_id"])
        assert job["sha256"] not in found, "the same bytes were processed twice"
        found[job["sha256"]] = Outcome(without_the_run(report), without_the_run(job), without_the_run(drop), data)
    assert sorted(path.name for path in site.outbox.glob("*")) == sorted(published)
    return found


def check_files(site: Site, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Every result is whole."""
    for name, file in results.items():
        content = (site.outbox / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])


def check_transitions(site: Site) -> None:
    """Nothing ended twice: neither a job, nor a drop."""
    twice = site.rows(
        "SELECT subject, new FROM transitions WHERE new IN ('completed', 'failed', 'done', 'withdrawn', 'vanished') "
        "GROUP BY kind, subject HAVING count(*) > 1"
    )
    assert twice == []
