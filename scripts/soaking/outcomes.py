"""The check: every acknowledged upload has exactly one outcome, and every row of it was taken once.

lost: an acknowledged upload that ended in none of the ways in which it may end, or rows of a file that are missing.
doubled: rows, reports or drops that are there more often than they were sent. torn: a job whose bytes nobody sent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from scripts.soaking import contents
from scripts.soaking.client import Upload
from scripts.soaking.contents import Content
from scripts.soaking.evidence import END_STATES, Drop, Evidence

OUTCOMES = ("processed", "duplicate", "superseded", "withdrawn", "refused", "quarantined")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. `kind` is lost, doubled or torn; `said` has who, what, and what the ledger says."""

    kind: str
    said: str
    client: int | None = None


class Check:
    """`outcomes` has the outcome of every acknowledged upload, `findings` what is wrong."""

    def __init__(self, uploads: list[Upload], evidence: Evidence) -> None:
        self.uploads = uploads
        self.evidence = evidence
        self.contents = {upload.content.sha256: upload.content for upload in uploads}
        self.findings: list[Finding] = []
        self.outcomes: dict[tuple[int, int], str] = {}
        for upload in uploads:
            if upload.acknowledged:
                self._find_outcome(upload)
        of_all = self._rows(), self._jobs(), self._reports(), self._drops()
        self.findings += chain.from_iterable(of_all)

    def count(self, kind: str) -> int:
        return sum(finding.kind == kind for finding in self.findings)

    def _find_outcome(self, upload: Upload) -> None:
        drops = self._drops_of(upload)
        own = [drop for drop in drops if drop.sha256 == upload.content.sha256]
        outcome = self._ended(upload, own) or given_up(upload, drops)
        if outcome is None:
            said = "; ".join(map(self.evidence.history, drops)) or "the ledger has no drop of that name"
            self.findings.append(
                Finding("lost", f"{upload}, sha256 {upload.content.sha256[:12]}: {said}", upload.client)
            )
        else:
            self.outcomes[upload.client, upload.number] = outcome

    def _drops_of(self, upload: Upload) -> list[Drop]:
        named = self.evidence.named
        found = chain.from_iterable(named.get((upload.content.feed, name), []) for name in upload.names)
        return list({drop.id: drop for drop in found}.values())

    def _ended(self, upload: Upload, own: list[Drop]) -> str | None:
        """How the drops of these very bytes ended."""
        if any(drop.has_processed for drop in own):
            return None if upload.content.refused else "processed"
        originals = [self.evidence.by_job.get(drop.duplicate_of) for drop in own if drop.duplicate_of]
        if any(drop and drop.has_processed and drop.sha256 == upload.content.sha256 for drop in originals):
            return "duplicate"
        if any(is_our_fault(drop) for drop in own):
            return "quarantined"
        if upload.content.refused and any(drop.status == "failed" for drop in own):
            return "refused"
        return None

    def _rows(self) -> Iterator[Finding]:
        """Each row of a processed file stands once in the accepted or rejected files of one job."""
        found: dict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
        named = {path: report for report in self.evidence.reports for path in report.files.values()}
        for path in self.evidence.result_files():
            if path not in named:
                yield Finding("doubled", f"{path}: no report names this file")
            elif ".accepted." in path.name or ".rejected." in path.name:
                found[named[path].content["job_id"]].update(contents.marks(path.read_bytes()))
        for drop in self.evidence.drops:
            content = self.contents.get(drop.sha256 or "")
            if content is not None and drop.job is not None:
                yield from compare(drop, content, found.pop(drop.job, Counter()))
        for job, rows in found.items():
            yield Finding("doubled", f"job {job}: {rows.total()} rows are in the outbox, but nobody sent such a file")

    def _jobs(self) -> Iterator[Finding]:
        """One file is processed once, and no job read other bytes than a client sent."""
        processed = Counter(drop.sha256 for drop in self.evidence.drops if drop.has_processed)
        for sha256, times in processed.items():
            if times > 1:
                drops = [str(drop) for drop in self.evidence.drops if drop.sha256 == sha256]
                yield Finding("doubled", f"the same bytes were processed {times} times: {'; '.join(drops)}")
        for drop in self.evidence.drops:
            if drop.sha256 and drop.sha256 not in self.contents and not self._was_given_up(drop):
                yield Finding("torn", f"nobody sent these {drop.bytes} bytes: {self.evidence.history(drop)}")

    def _reports(self) -> Iterator[Finding]:
        """Every job that ended has one report, and every report its job."""
        of_jobs = Counter(report.content["job_id"] for report in self.evidence.reports)
        of_drops = Counter(report.of_drop for report in self.evidence.reports)
        for subject, times in chain(of_jobs.items(), of_drops.items()):
            if times > 1:
                yield Finding("doubled", f"{subject}: there are {times} reports")
        for drop in self.evidence.drops:
            if drop.status in ("completed", "failed") and drop.job not in of_jobs and not self._was_given_up(drop):
                yield Finding("lost", f"there is no report: {self.evidence.history(drop)}")
        for report in self.evidence.reports:
            if report.content["job_id"] not in self.evidence.by_job:
                yield Finding("doubled", f"{report.path}: the ledger has no job of this report")
            for path in report.files.values():
                if not path.exists():
                    yield Finding("lost", f"{path}: the report names this file, and it is not there")

    def _was_given_up(self, drop: Drop) -> bool:
        """Whether a program that goes on by itself (lftp) closed its file early when its tries were over.

        Such a beginning of a file is held as cut off, and makes way for the whole file. Nobody was told that it is in.
        """
        if drop.state != "superseded" or "it looks cut off" not in str(drop.reason):
            return False
        sent = [upload for upload in self.uploads if not upload.tries_are_counted and drop.path in upload.names]
        wholes = [one for upload in sent for one in self._drops_of(upload) if one.sha256 == upload.content.sha256]
        part = self.evidence.original(drop)
        return any(one.id > drop.id and self.evidence.original(one).startswith(part) for one in wholes)

    def _drops(self) -> Iterator[Finding]:
        """No drop is on its way still, and there are not more of a file than its client sent."""
        for drop in self.evidence.drops:
            if drop.upload_id is None:
                yield Finding("doubled", f"no upload has brought this into the inbox: {self.evidence.history(drop)}")
            if drop.state not in END_STATES:
                yield Finding("lost", f"not at its end: {self.evidence.history(drop)}")
        for upload_id, times in Counter(drop.upload_id for drop in self.evidence.drops if drop.upload_id).items():
            if times > 1:
                yield Finding("doubled", f"upload {upload_id} has become {times} drops")
        for upload in self.uploads:
            own = [drop for drop in self._drops_of(upload) if drop.sha256 == upload.content.sha256]
            if upload.tries_are_counted and len(own) > upload.tries:
                said = "; ".join(map(self.evidence.history, own))
                yield Finding("doubled", f"{upload} was sent {upload.tries} times: {said}", upload.client)


def given_up(upload: Upload, drops: list[Drop]) -> str | None:
    """How it ended when its client itself had taken it back, or had sent another file of that name."""
    sizes = {drop.state for drop in drops if drop.bytes == upload.content.bytes}
    if upload.removed and "withdrawn" in sizes:
        return "withdrawn"
    if upload.replaced_by is not None and (sizes & {"superseded", "withdrawn"} or any(d.replaced for d in drops)):
        return "superseded"
    return None


def is_our_fault(drop: Drop) -> bool:
    return drop.state == "quarantined" or (drop.status == "failed" and "the gateway was ended" in str(drop.reason))


def compare(drop: Drop, content: Content, found: Counter[tuple[str, int]]) -> Iterator[Finding]:
    """The rows of one job against those of the file that it read."""
    takes_rows = drop.has_processed and not content.refused
    sent = Counter({(content.key, row): 1 for row in range(content.rows)} if takes_rows else {})
    if missing := sent - found:
        yield Finding("lost", f"{missing.total()} of {content.rows} rows are in no result: {drop}")
    if more := found - sent:
        yield Finding("doubled", f"{more.total()} rows are in the results that should not be: {drop}")
    if takes_rows and (drop.accepted_rows, drop.rejected_rows) != (
        content.rows - content.broken_rows,
        content.broken_rows,
    ):
        counted = f"{drop.accepted_rows} rows accepted and {drop.rejected_rows} rejected"
        yield Finding("lost", f"{counted} of {content.rows} with {content.broken_rows} broken ones: {drop}")
