"""The named points of the way of a file at which tests let the gateway die, or let the system refuse a call.

A point is a call of a function: `function` as `module` knows it, made by the function `inside` where one is named.
`script` is the partner's session that comes by it. A point that nobody comes by any more fails its test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Point:
    """`nth` call of a function, by the process that is the `victim`; `errno` is what is raised in place of a kill."""

    name: str
    script: str
    when: Literal["before", "after"]
    module: str
    function: str
    inside: str = ""
    nth: int = 1
    victim: Literal["gateway", "worker"] = "gateway"
    errno: int | None = None


UPLOADS = "gateway.sftp.uploads"
HANDLES = "gateway.sftp.handles"
INBOX = "gateway.sftp.inbox"
LANDING = "gateway.pickup.landing"
SCAN = "gateway.pickup.scan"
SETTLED = "gateway.pickup.settled"
CLAIM = "gateway.pickup.claim"
BATCH = "gateway.pickup.batch"
PASSAGE = "gateway.pickup.passage"
PUBLICATION = "gateway.pickup.publication"
PUBLISH = "gateway.pipeline.publish"
PROCESS = "gateway.pipeline.process"
STAGING = "gateway.pipeline.staging"
DURABLE = "gateway.durable"
JOBS = "gateway.ledger.jobs"
COMMITTING = "gateway.pickup.committing"
COMMITS = "gateway.ledger.commits"
STOREKEEPING = "gateway.storekeeping"

# From the OPEN to the OK of the CLOSE: the client has no acknowledgement yet.
UNACKNOWLEDGED = (
    Point("before the upload is in the ledger", "put", "before", UPLOADS, "uploads.open_upload"),
    Point("the upload is in the ledger and has no file", "put", "after", UPLOADS, "uploads.open_upload"),
    Point("the spool file is made", "put", "after", UPLOADS, "Uploads._enter"),
    Point("the first bytes are written", "put", "after", HANDLES, "write_all"),
    Point("half of the bytes are written", "put", "after", HANDLES, "write_all", nth=4),
    Point("the close is seen", "put", "before", UPLOADS, "Uploads.finish"),
    Point("before the fsync of the bytes", "put", "before", LANDING, "sync", inside="land"),
    Point("after the fsync of the bytes", "put", "after", LANDING, "sync", inside="land"),
    Point("the upload is closed and not committed", "put", "after", LANDING, "uploads.close_upload"),
    Point("the landing is not committed", "put", "after", LANDING, "landings.record_landing"),
    Point("the landing is committed", "put", "before", LANDING, "move_into_inbox", inside="land"),
    Point("the file is renamed into the inbox", "put", "after", LANDING, "os.rename", inside="move_into_inbox"),
    Point("the inbox is fsynced", "put", "after", LANDING, "os.fsync", inside="move_into_inbox"),
    Point("before the OK is sent", "put", "after", UPLOADS, "Uploads.finish"),
)

TOUCHED = (
    Point("before the file time is set", "put", "before", INBOX, "Inbox.set_times"),
    Point("the file time is set and not in the ledger", "put", "after", INBOX, "os.utime", inside="set_times"),
    Point("the file time is in the ledger", "put", "after", INBOX, "drops.set_client_mtime"),
)

RENAMED = (
    Point("the temporary file is in the inbox", "rename", "after", UPLOADS, "os.rename", inside="store_temporary"),
    Point("the temporary file is in the ledger", "rename", "after", UPLOADS, "uploads.close_upload"),
    Point("before the rename", "rename", "before", INBOX, "Inbox.rename"),
    Point("the renamed upload is open again", "rename", "after", UPLOADS, "uploads.reopen", inside="land_stored"),
    Point("the renamed file is in the spool", "rename", "after", UPLOADS, "os.rename", inside="land_stored"),
    Point("the emptied inbox is fsynced", "rename", "after", UPLOADS, "os.fsync", inside="land_stored"),
    Point("the landing by rename is committed", "rename", "before", LANDING, "move_into_inbox", inside="land"),
    Point("before the OK of the rename", "rename", "after", INBOX, "Inbox.rename"),
)

OVERWRITTEN = (
    Point("before the name is cleared", "overwrite", "before", LANDING, "clear_the_name", nth=2),
    Point("the name is cleared", "overwrite", "after", LANDING, "clear_the_name", nth=2),
    Point("the next generation is committed", "overwrite", "before", LANDING, "move_into_inbox", inside="land", nth=2),
    Point("the next generation is in the inbox", "overwrite", "after", LANDING, "move_into_inbox", nth=2),
)

RESUMED = (
    Point("the rest of a broken upload is cut to what is good", "resume", "before", UPLOADS, "uploads.interrupt"),
    Point("the broken upload is kept", "resume", "after", UPLOADS, "uploads.interrupt"),
    Point("the upload is resumed in the ledger", "resume", "after", UPLOADS, "uploads.resume"),
    Point("the first bytes are appended", "resume", "after", HANDLES, "write_all", nth=4),
    Point("the close of the resumed upload is seen", "resume", "before", UPLOADS, "Uploads.finish"),
    Point("the resumed landing is committed", "resume", "before", LANDING, "move_into_inbox", inside="land"),
)

APPENDED = (
    Point("the appended upload has the old bytes", "append", "after", UPLOADS, "copy"),
    Point("the appended bytes are written", "append", "after", HANDLES, "write_all", nth=6),
    Point("the appended landing is committed", "append", "before", LANDING, "move_into_inbox", nth=2),
)

REMOVED = (
    Point("before the remove", "remove", "before", INBOX, "Inbox.remove"),
    Point("the drop is withdrawn and the file is there", "remove", "after", INBOX, "holds.withdraw"),
    Point("the removed file is gone", "remove", "after", INBOX, "os.unlink", inside="_remove_standing"),
    Point("before the OK of the remove", "remove", "after", INBOX, "Inbox.remove"),
)

CLAIMED = (
    Point("before the claim", "put", "before", SCAN, "settle"),
    Point("the job is made and not committed", "put", "after", SETTLED, "jobs.create"),
    Point("the drop is claimed and not committed", "put", "after", SETTLED, "drops.claim"),
    Point("the claim is committed", "put", "before", SCAN, "take_file"),
    Point("the file is linked into the work folder", "put", "after", CLAIM, "os.link", inside="link_and_unlink"),
    Point("the file is unlinked from the inbox", "put", "after", CLAIM, "os.unlink", inside="link_and_unlink"),
    Point("a file of a local program is known", "local", "after", "gateway.pickup.local", "landings.record_behind"),
)

HELD = (
    Point("what looks cut off is not held yet", "held", "before", PASSAGE, "holds.hold_suspect"),
    Point("what looks cut off is held", "held", "after", PASSAGE, "holds.hold_suspect"),
    Point("the status file is written", "held", "after", "gateway.pickup.waiting", "durable.write"),
    Point(
        "the held drop is replaced in the ledger", "held", "before", LANDING, "move_into_inbox", inside="land", nth=2
    ),
    Point("the file that replaces a held one is claimed", "held", "before", SCAN, "take_file", nth=2),
    Point("the status file is removed", "held", "after", PUBLICATION, "waiting.remove"),
)

PROVED = (
    Point("a marker is used up and not committed", "marked", "after", SETTLED, "drops.use_up"),
    Point("a marker is used up and in the inbox", "marked", "before", SCAN, "take_leaving"),
    Point("a used marker is out of the inbox", "marked", "before", CLAIM, "drops.left"),
    Point("a used marker is done with", "marked", "after", CLAIM, "drops.left"),
)

BEGUN = (
    Point("the job is begun and not committed", "put", "after", JOBS, "move", inside="begin"),
    Point("the job is begun", "put", "before", BATCH, "Batch.run"),
    Point("the digest is known and not in the ledger", "put", "after", PASSAGE, "digest"),
    Point("before the worker gets the job", "put", "before", BATCH, "Engine.run"),
    Point("the worker has the job and its gateway dies", "put", "before", "gateway.engine", "Worker._receive"),
    Point("before the outcome is committed", "put", "before", BATCH, "Batch.commit"),
    Point("the digest is not committed", "put", "after", PASSAGE, "drops.set_sha256"),
    Point("processing is not committed", "put", "after", JOBS, "note", inside="stage"),
    Point("the outcome is not committed", "put", "after", JOBS, "change", inside="stage"),
    Point("the outcome is committed", "put", "after", BATCH, "Batch.commit"),
)

IN_THE_WORKER = (
    Point("the worker has begun", "put", "before", PROCESS, "process", victim="worker"),
    Point("the file is opened", "put", "after", PROCESS, "opened", victim="worker"),
    Point("the rows are judged", "put", "after", PROCESS, "judge", victim="worker"),
    Point("the rejected rows are written", "put", "after", STAGING, "Staging.write", nth=1, victim="worker"),
    Point("the rows are in order", "put", "after", PROCESS, "ordered", victim="worker"),
    Point("the accepted rows are written", "put", "after", STAGING, "Staging.write", nth=2, victim="worker"),
    Point("the errors are written", "put", "after", STAGING, "Staging.write", nth=3, victim="worker"),
    Point("the page is written", "put", "after", STAGING, "Staging.write", nth=4, victim="worker"),
    Point("the report is written", "put", "after", STAGING, "Staging.write", nth=5, victim="worker"),
    Point("the worker is done", "put", "after", PROCESS, "process", victim="worker"),
    Point("the worker has answered", "put", "before", DURABLE, "os.fsync", inside="sync_all", victim="worker"),
    Point(
        "half of the results are durable",
        "put",
        "after",
        DURABLE,
        "os.fsync",
        inside="sync_all",
        nth=3,
        victim="worker",
    ),
)

PUBLISHED = (
    Point("before the first result is visible", "put", "before", PUBLISH, "os.rename", inside="move"),
    Point("the first result is visible", "put", "after", PUBLISH, "os.rename", inside="move", nth=1),
    Point("the second result is visible", "put", "after", PUBLISH, "os.rename", inside="move", nth=2),
    Point("the third result is visible", "put", "after", PUBLISH, "os.rename", inside="move", nth=3),
    Point("all results but the report are visible", "put", "after", PUBLISH, "os.rename", inside="move", nth=4),
    Point("the report is visible", "put", "after", PUBLISH, "os.rename", inside="move", nth=5),
    Point("the end is not committed", "put", "after", JOBS, "drops.finish"),
    Point("the end is committed", "put", "before", PUBLICATION, "Spares.give"),
    Point("the staging folder is cleaned", "put", "after", PUBLICATION, "Spares.give"),
)

CRASHES = (
    *UNACKNOWLEDGED,
    *TOUCHED,
    *RENAMED,
    *OVERWRITTEN,
    *RESUMED,
    *APPENDED,
    *REMOVED,
    *CLAIMED,
    *HELD,
    *PROVED,
    *BEGUN,
    *IN_THE_WORKER,
    *PUBLISHED,
)

# Round the commit of a staged job into the store; only a gateway with a store comes by them.
COMMITTED = (
    Point("before the commit is begun", "put", "before", COMMITTING, "commits.begin"),
    Point("the commit is begun and not committed", "put", "after", COMMITS, "take_jobs", inside="begin"),
    Point("the commit is begun", "put", "before", COMMITTING, "Storekeeper.resolve"),
    Point("the storekeeper is asked to resolve", "put", "before", STOREKEEPING, "Stores.resolve", victim="worker"),
    Point("the results are settled and nobody knows", "put", "after", STOREKEEPING, "Stores.resolve", victim="worker"),
    Point("the outcomes are decided", "put", "after", COMMITTING, "Storekeeper.resolve"),
    Point("the decision is not committed", "put", "after", COMMITTING, "commits.resolve"),
    Point("the commit is resolved", "put", "before", COMMITTING, "Storekeeper.make"),
    Point("the storekeeper is asked to commit", "put", "before", STOREKEEPING, "Stores.make", victim="worker"),
    Point("the commit is made and nobody knows", "put", "after", STOREKEEPING, "Stores.make", victim="worker"),
    Point("the commit is made", "put", "after", COMMITTING, "Storekeeper.make"),
    Point("the end of the commit is not committed", "put", "after", COMMITS, "move", inside="finish"),
    Point("the commit is done", "put", "after", COMMITTING, "commits.finish"),
    Point("results of a commit are published", "put", "before", PUBLICATION, "finish"),
)
