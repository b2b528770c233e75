"""The words of the ledger, as its constraints have them: the states of uploads, drops and jobs, and their like."""

from __future__ import annotations

UPLOAD_STATES = ("open", "closed", "incomplete", "aborted", "expired")
DROP_STATES = (
    "landed",  # complete and in its inbox; picked up when nothing touches it until `settles_at`
    "settling",  # touched since: its times were set, it was renamed, or opened again
    "held",  # settled, but not to be processed yet: `held_for` and `reason` say why
    "queued",  # its job is made
    "claimed",  # its job has the file
    "done",  # its job has ended
    "duplicate",  # its job has ended: another job had the same bytes before
    "superseded",  # another file took its name before it was processed
    "withdrawn",  # the client or an operator took it back before it was processed
    "vanished",  # its file disappeared from the inbox
    "quarantined",  # its job could not be done by the gateway; an operator must look
)
DRY_RUN_FOLDER = "dryrun"
"""Below an inbox, in whatever case: what is put into it is tried, and not stored."""
PROOFS = ("rename", "done_marker", "sha256")
DROP_KINDS = ("data", "done_marker", "sha256")
HOLDS = (
    "suspect",  # it looks cut off
    "rename",  # the feed wants files that are renamed from a temporary name
    "done_marker",  # its marker is missing
    "sha256",  # its checksum is missing, or cannot be read
    "file",  # a marker or checksum whose file is missing
    "profiles",  # the profiles that landed before it go first (F6)
)
SWEPT = ("originals", "results", "uploads", "history")
AUDITED = (
    "login",
    "logout",
    "upload begin",
    "upload",
    "download",
    "remove",
    "rename",
    "mkdir",
    "rmdir",
    "request",  # one that was refused, in words
    "ban",
    "unban",
    "start",
    "config",  # tenants, users or feeds have changed
    "command",  # an operator's
    "left out",  # more came at once than is written
)
AUDIT_RESULTS = ("ok", "refused", "failed")
COMMIT_STATES = (
    "begun",  # its jobs are staged; nothing of it is in the store
    "resolved",  # their outcomes are decided against the store; a part of it may be there
    "committed",  # all of it is in the store
)
JOB_STATUSES = ("queued", "validating", "processing", "pending_refresh", "completed", "failed")
