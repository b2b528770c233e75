"""The ledger's tables and views, as migrations."""

from __future__ import annotations

import sqlite3

import sqlite_utils
from sqlite_utils.migrations import Migrations

from gateway.ledger.states import (
    AUDIT_RESULTS,
    AUDITED,
    COMMIT_STATES,
    DROP_KINDS,
    DROP_STATES,
    DRY_RUN_FOLDER,
    HOLDS,
    JOB_STATUSES,
    PROOFS,
    SWEPT,
    UPLOAD_STATES,
)

ledger_migrations = Migrations("gateway")

TIME = "CHECK ({0} IS NULL OR {0} GLOB '????-??-??T??:??:??.??????Z')"


def one_of(column: str, values: tuple[str, ...]) -> str:
    """The constraint of a column; NULL passes where it is allowed."""
    return f"CHECK ({column} IN ({', '.join(repr(value) for value in values)}))"


@ledger_migrations()
def m001_uploads_drops_jobs(db: sqlite_utils.Database) -> None:
    statements = f"""
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY,                 -- UUIDv7; also the name of the file in the spool
        tenant TEXT NOT NULL,
        username TEXT NOT NULL,
        feed TEXT NOT NULL,
        path TEXT NOT NULL,                  -- below inbox/<feed>/, with '/' between folders
        state TEXT NOT NULL {one_of("state", UPLOAD_STATES)},
        opened_at TEXT NOT NULL {TIME.format("opened_at")},
        ended_at TEXT {TIME.format("ended_at")},
        bytes INTEGER NOT NULL DEFAULT 0,
        in_place INTEGER NOT NULL DEFAULT 0 CHECK (in_place IN (0, 1)), -- may write over older bytes
        address TEXT,
        client TEXT,                         -- the client's SSH version string
        fingerprint TEXT,                    -- of the key that logged in; NULL: a password did
        reason TEXT                          -- why it ended in a state other than closed
    ) STRICT;
    CREATE INDEX uploads_of_name ON uploads (tenant, feed, path, id);
    CREATE INDEX uploads_ended ON uploads (ended_at);
    CREATE INDEX uploads_open ON uploads (tenant, feed) WHERE state IN ('open', 'incomplete');
    CREATE TABLE drops (
        id TEXT PRIMARY KEY,                 -- UUIDv7
        tenant TEXT NOT NULL,
        feed TEXT NOT NULL,
        path TEXT NOT NULL,                  -- below inbox/<feed>/, with '/' between folders
        generation INTEGER NOT NULL CHECK (generation >= 1),
        kind TEXT NOT NULL {one_of("kind", DROP_KINDS)},      -- data, or the proof that data of this feed is whole
        state TEXT NOT NULL {one_of("state", DROP_STATES)},
        state_since TEXT NOT NULL {TIME.format("state_since")},
        reason TEXT,                         -- why it is in this state
        held_for TEXT {one_of("held_for", HOLDS)},            -- what its last hold waited for
        held_until TEXT {TIME.format("held_until")},
        decided TEXT {one_of("decided", ("process", "refuse"))}, -- how it goes on without a proof
        proof TEXT {one_of("proof", PROOFS)},                 -- what showed that it is whole
        expected_sha256 TEXT,                -- what its checksum file says
        leaving TEXT {one_of("leaving", ("archive", "delete"))}, -- its file must still be taken out of the inbox
        landed_at TEXT NOT NULL {TIME.format("landed_at")},   -- the rules' `as_of`
        settles_at TEXT NOT NULL {TIME.format("settles_at")}, -- picked up when nothing touched it until then
        claimed_at TEXT {TIME.format("claimed_at")},
        bytes INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        sha256 TEXT,                         -- known from its job's first moments on
        -- NULL: put there by a local program, or the upload was swept from the ledger
        upload_id TEXT REFERENCES uploads (id) ON DELETE SET NULL,
        username TEXT,                       -- who uploaded; NULL for a local program
        client_mtime TEXT {TIME.format("client_mtime")},      -- the file time that the client set
        renamed_to TEXT,                     -- the name that the client gave it after the claim
        hidden INTEGER NOT NULL DEFAULT 0 CHECK (hidden IN (0, 1)), -- the client removed it after the claim
        told_at TEXT {TIME.format("told_at")},                -- when `on_quarantine` was told of it
        purged_at TEXT {TIME.format("purged_at")},            -- when the sweep removed its archived file
        UNIQUE (tenant, feed, path, generation)
    ) STRICT;
    CREATE INDEX drops_waiting ON drops (settles_at) WHERE state IN ('landed', 'settling', 'queued');
    CREATE INDEX drops_settling ON drops (tenant, settles_at) WHERE state IN ('landed', 'settling', 'queued');
    CREATE INDEX drops_in_inbox ON drops (tenant, feed) WHERE state IN ('landed', 'settling', 'queued', 'held');
    CREATE INDEX drops_unfinished ON drops (tenant, feed, landed_at)
        WHERE state IN ('landed', 'settling', 'queued', 'claimed');
    CREATE INDEX drops_held ON drops (held_until) WHERE state = 'held';
    CREATE INDEX drops_leaving ON drops (id) WHERE leaving IS NOT NULL;
    CREATE INDEX drops_shown ON drops (tenant, feed, coalesce(renamed_to, path));
    CREATE INDEX drops_quarantined ON drops (id) WHERE state = 'quarantined';
    CREATE INDEX drops_of_upload ON drops (upload_id);
    CREATE INDEX drops_archived ON drops (state_since)
        WHERE purged_at IS NULL AND state IN ('done', 'duplicate', 'superseded', 'withdrawn', 'vanished');
    CREATE INDEX drops_same_bytes ON drops (tenant, feed, sha256) WHERE sha256 IS NOT NULL;
    CREATE INDEX drops_graced ON drops (tenant, feed, claimed_at)
        WHERE state IN ('claimed', 'held', 'done', 'duplicate', 'quarantined');
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,                 -- UUIDv7
        drop_id TEXT NOT NULL UNIQUE REFERENCES drops (id),
        tenant TEXT NOT NULL,
        feed TEXT NOT NULL,
        name TEXT NOT NULL,                  -- import name, default the file name
        filename TEXT NOT NULL,              -- path below inbox/<feed>/
        status TEXT NOT NULL {one_of("status", JOB_STATUSES)},
        status_since TEXT NOT NULL {TIME.format("status_since")},
        tries INTEGER NOT NULL DEFAULT 0,    -- how often a worker began it
        not_before TEXT {TIME.format("not_before")}, -- a try that failed is followed by a pause
        uploaded_on TEXT NOT NULL {TIME.format("uploaded_on")},
        uploaded_by TEXT,                    -- the user's email
        start_time TEXT {TIME.format("start_time")},
        end_time TEXT {TIME.format("end_time")},
        elapsed_time REAL,                   -- seconds
        file_size INTEGER NOT NULL,          -- bytes
        contract TEXT,
        contract_sha256 TEXT,
        total_rows INTEGER NOT NULL DEFAULT 0,
        accepted_rows INTEGER NOT NULL DEFAULT 0,
        merged_rows INTEGER NOT NULL DEFAULT 0,
        duplicate_rows INTEGER NOT NULL DEFAULT 0,
        rejected_rows INTEGER NOT NULL DEFAULT 0,
        withheld_rows INTEGER NOT NULL DEFAULT 0,
        blank_rows INTEGER NOT NULL DEFAULT 0,
        problems_by_code TEXT NOT NULL DEFAULT '{{}}' CHECK (json_valid(problems_by_code)),
        reason_for_failure TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(reason_for_failure)),
        duplicate_of TEXT,                   -- the job that already had these bytes
        repairs TEXT,                        -- the job whose rejected rows came back in this drop
        repaired_by TEXT,                    -- the email of who last brought back rows that this job had rejected
        repaired_rows INTEGER NOT NULL DEFAULT 0, -- of its rejected rows, those that are in by now
        outcome TEXT CHECK (outcome IS NULL OR json_valid(outcome)), -- what is staged, while pending_refresh
        outbox_swept_at TEXT {TIME.format("outbox_swept_at")}, -- when the sweep removed its results from the outbox
        CHECK (status NOT IN ('completed', 'failed') OR end_time IS NOT NULL),
        CHECK (status <> 'failed' OR accepted_rows = 0),
        CHECK (status <> 'completed'
               OR total_rows = accepted_rows + merged_rows + duplicate_rows + rejected_rows + withheld_rows)
    ) STRICT;
    CREATE INDEX jobs_by_status ON jobs (status, id);
    CREATE INDEX jobs_queued ON jobs (tenant, id) WHERE status = 'queued';
    CREATE INDEX jobs_that_pause ON jobs (not_before) WHERE not_before IS NOT NULL;
    CREATE INDEX jobs_by_tenant ON jobs (tenant, id);
    CREATE INDEX jobs_in_outbox ON jobs (status_since)
        WHERE outbox_swept_at IS NULL AND status IN ('completed', 'failed');
    CREATE INDEX jobs_that_repair ON jobs (repairs) WHERE repairs IS NOT NULL;
    CREATE TABLE transitions (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL {TIME.format("at")},
        kind TEXT NOT NULL CHECK (kind IN ('upload', 'drop', 'job')),
        subject TEXT NOT NULL,               -- id of the upload, drop or job
        old TEXT,                            -- NULL: it was created
        new TEXT NOT NULL,
        reason TEXT
    ) STRICT;
    CREATE INDEX transitions_of ON transitions (subject, id);
    CREATE TRIGGER transitions_are_never_changed BEFORE UPDATE ON transitions
        BEGIN SELECT RAISE (ABORT, 'transitions are append-only'); END;
    CREATE TABLE transitions_kept (          -- one row: the sweep may delete transitions and audit before `since`
        id INTEGER PRIMARY KEY CHECK (id = 1),
        since TEXT NOT NULL {TIME.format("since")}
    ) STRICT;
    CREATE TRIGGER transitions_are_kept BEFORE DELETE ON transitions
        WHEN OLD.at >= coalesce((SELECT since FROM transitions_kept), '')
        BEGIN SELECT RAISE (ABORT, 'transitions are append-only; the sweep deletes those older than ledger_days'); END;
    CREATE TABLE sweeps (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL {TIME.format("at")},
        what TEXT NOT NULL {one_of("what", SWEPT)},
        count INTEGER NOT NULL,              -- files, or rows of the ledger
        bytes INTEGER NOT NULL               -- of the files
    ) STRICT;
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL {TIME.format("at")},
        action TEXT NOT NULL {one_of("action", AUDITED)},
        result TEXT NOT NULL {one_of("result", AUDIT_RESULTS)},
        tenant TEXT,
        username TEXT,                       -- a login; of a command, the user of the operating system
        address TEXT,
        fingerprint TEXT,                    -- of the key that logged in
        client TEXT,                         -- the client's SSH version string
        subject TEXT,                        -- what it was done to: a path, an address, a command
        bytes INTEGER,
        detail TEXT                          -- the rest, in words
    ) STRICT;
    CREATE INDEX audit_by_time ON audit (at);
    CREATE INDEX audit_of_user ON audit (username, at);
    CREATE INDEX audit_of_tenant ON audit (tenant, at);
    CREATE INDEX audit_of_action ON audit (action, at);
    CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
        BEGIN SELECT RAISE (ABORT, 'the audit is append-only'); END;
    CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
        WHEN OLD.at >= coalesce((SELECT since FROM transitions_kept), '')
        BEGIN SELECT RAISE (ABORT, 'the audit is append-only; the sweep deletes what is older than ledger_days'); END;
    CREATE TABLE bans (
        kind TEXT NOT NULL {one_of("kind", ("address", "user"))},
        subject TEXT NOT NULL,               -- an IPv4 address, an IPv6 network of /64, or a username
        score REAL NOT NULL,                 -- as it was at `scored_at`; it decays
        scored_at TEXT NOT NULL {TIME.format("scored_at")},
        bans INTEGER NOT NULL,               -- how many there were: each is longer than the one before
        banned_until TEXT {TIME.format("banned_until")},
        known_at TEXT {TIME.format("known_at")}, -- when a key logged in from there, to the hour
        PRIMARY KEY (kind, subject)
    ) STRICT, WITHOUT ROWID;
    """  # noqa: S608 - only constraints of our own are put in.
    for statement in split(statements):
        db.execute(statement)


@ledger_migrations()
def m002_views_for_ops(db: sqlite_utils.Database) -> None:
    statements = """
    CREATE VIEW jobs_today AS
        SELECT substr(status_since, 12, 8) AS since_utc, tenant, feed, filename AS file, status,
               total_rows AS "rows", accepted_rows AS accepted, rejected_rows AS errors,
               merged_rows + duplicate_rows AS merged_or_duplicate,
               round(elapsed_time, 2) AS seconds, uploaded_by,
               coalesce((SELECT group_concat(value, '; ') FROM json_each(reason_for_failure)), '') AS reason,
               id AS job
        FROM jobs
        WHERE uploaded_on >= strftime('%Y-%m-%dT00:00:00.000000Z', 'now')
        ORDER BY id DESC;
    CREATE VIEW stuck_jobs AS
        SELECT tenant, feed, filename AS file, status, status_since AS since,
               CAST((julianday('now') - julianday(status_since)) * 86400 AS INTEGER) AS seconds, tries, id AS job
        FROM jobs
        WHERE status IN ('queued', 'validating', 'processing', 'pending_refresh')
          AND status_since < strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-15 minutes')
        ORDER BY status_since;
    CREATE VIEW held_drops AS
        SELECT state_since AS since, held_until AS until, tenant, feed, path AS file, held_for, reason, id AS "drop"
        FROM drops WHERE state = 'held' ORDER BY state_since;
    CREATE VIEW quarantined_drops AS
        SELECT drops.state_since AS since, drops.tenant, drops.feed, drops.path AS file,
               coalesce((SELECT group_concat(value, '; ') FROM json_each(reason_for_failure)), '') AS reason,
               jobs.id AS job, drops.id AS "drop"
        FROM drops JOIN jobs ON drop_id = drops.id WHERE state = 'quarantined' ORDER BY drops.state_since;
    CREATE VIEW feed_health AS
        SELECT tenant, feed, max(uploaded_on) AS last_drop, count(*) AS jobs,
               sum(status = 'completed') AS completed, sum(status = 'failed') AS failed,
               sum(status NOT IN ('completed', 'failed')) AS in_progress, sum(total_rows) AS "rows",
               sum(rejected_rows) AS errors,
               round(100.0 * sum(rejected_rows) / nullif(sum(total_rows), 0), 2) AS error_percent,
               round(avg(elapsed_time), 3) AS average_seconds
        FROM jobs
        WHERE uploaded_on >= strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-7 days')
        GROUP BY tenant, feed
        ORDER BY tenant, feed;
    """
    for statement in split(statements):
        db.execute(statement)


@ledger_migrations()
def m003_commits(db: sqlite_utils.Database) -> None:
    statements = f"""
    CREATE TABLE commits (                   -- into the store: of all jobs of a tenant that could go together
        tenant TEXT NOT NULL,
        sequence INTEGER NOT NULL CHECK (sequence >= 1), -- the version of the tables' application transaction
        state TEXT NOT NULL {one_of("state", COMMIT_STATES)},
        begun_at TEXT NOT NULL {TIME.format("begun_at")},
        ended_at TEXT {TIME.format("ended_at")},
        jobs TEXT NOT NULL CHECK (json_valid(jobs)), -- in order, with the policies that they were resolved by
        created INTEGER NOT NULL DEFAULT 0,  -- profiles and companies that it made
        tries INTEGER NOT NULL DEFAULT 0,    -- how often it could not be made
        error TEXT,                          -- why, the last time
        PRIMARY KEY (tenant, sequence),
        CHECK (state <> 'committed' OR ended_at IS NOT NULL)
    ) STRICT, WITHOUT ROWID;
    -- One at a time for each tenant.
    CREATE UNIQUE INDEX commits_unfinished ON commits (tenant) WHERE state IN ('begun', 'resolved');
    CREATE INDEX commits_that_created ON commits (tenant, begun_at) WHERE created > 0;
    ALTER TABLE jobs ADD COLUMN commit_sequence INTEGER; -- the commit that takes it into the store
    CREATE INDEX jobs_of_commit ON jobs (tenant, commit_sequence) WHERE commit_sequence IS NOT NULL;
    CREATE TABLE transitions_of_commits (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL {TIME.format("at")},
        kind TEXT NOT NULL CHECK (kind IN ('upload', 'drop', 'job', 'commit')),
        subject TEXT NOT NULL,               -- id of the upload, drop or job; `<tenant>/<sequence>` of the commit
        old TEXT,                            -- NULL: it was created
        new TEXT NOT NULL,
        reason TEXT
    ) STRICT;
    INSERT INTO transitions_of_commits SELECT id, at, kind, subject, old, new, reason FROM transitions;
    DROP TABLE transitions;
    ALTER TABLE transitions_of_commits RENAME TO transitions;
    CREATE INDEX transitions_of ON transitions (subject, id);
    CREATE TRIGGER transitions_are_never_changed BEFORE UPDATE ON transitions
        BEGIN SELECT RAISE (ABORT, 'transitions are append-only'); END;
    CREATE TRIGGER transitions_are_kept BEFORE DELETE ON transitions
        WHEN OLD.at >= coalesce((SELECT since FROM transitions_kept), '')
        BEGIN SELECT RAISE (ABORT, 'transitions are append-only; the sweep deletes those older than ledger_days'); END;
    CREATE VIEW unfinished_commits AS
        SELECT commits.tenant, sequence, state, begun_at AS since, commits.tries, error,
               CAST((julianday('now') - julianday(begun_at)) * 86400 AS INTEGER) AS seconds, count(jobs.id) AS jobs
        FROM commits LEFT JOIN jobs ON jobs.tenant = commits.tenant AND commit_sequence = sequence
        WHERE state IN ('begun', 'resolved')
        GROUP BY commits.tenant, sequence
        ORDER BY begun_at;
    """  # noqa: S608 - only constraints of our own are put in.
    for statement in split(statements):
        db.execute(statement)


@ledger_migrations()
def m004_resets(db: sqlite_utils.Database) -> None:
    statements = f"""
    CREATE TABLE resets (                    -- of tenants for tests: what landed before is history, and counts no more
        tenant TEXT NOT NULL,
        at TEXT NOT NULL {TIME.format("at")},
        ended_at TEXT {TIME.format("ended_at")}, -- NULL: it was cut short
        PRIMARY KEY (tenant, at)
    ) STRICT, WITHOUT ROWID;
    """
    for statement in split(statements):
        db.execute(statement)


@ledger_migrations()
def m005_dry_runs(db: sqlite_utils.Database) -> None:
    # By the path alone: a file that is renamed before it is claimed is what its last name says.
    dry_run = f"INTEGER GENERATED ALWAYS AS (lower({{}}) GLOB '{DRY_RUN_FOLDER}/*') VIRTUAL"
    statements = f"""
    ALTER TABLE drops ADD COLUMN dry_run {dry_run.format("path")};
    ALTER TABLE jobs ADD COLUMN dry_run {dry_run.format("filename")};
    DROP VIEW jobs_today;
    CREATE VIEW jobs_today AS
        SELECT substr(status_since, 12, 8) AS since_utc, tenant, feed, filename AS file, status,
               total_rows AS "rows", accepted_rows AS accepted, rejected_rows AS errors,
               merged_rows + duplicate_rows AS merged_or_duplicate,
               round(elapsed_time, 2) AS seconds, uploaded_by,
               coalesce((SELECT group_concat(value, '; ') FROM json_each(reason_for_failure)), '') AS reason,
               dry_run, id AS job
        FROM jobs
        WHERE uploaded_on >= strftime('%Y-%m-%dT00:00:00.000000Z', 'now')
        ORDER BY id DESC;
    DROP VIEW feed_health;
    CREATE VIEW feed_health AS -- of what is stored; a dry run says nothing of it
        SELECT tenant, feed, max(uploaded_on) AS last_drop, count(*) AS jobs,
               sum(status = 'completed') AS completed, sum(status = 'failed') AS failed,
               sum(status NOT IN ('completed', 'failed')) AS in_progress, sum(total_rows) AS "rows",
               sum(rejected_rows) AS errors,
               round(100.0 * sum(rejected_rows) / nullif(sum(total_rows), 0), 2) AS error_percent,
               round(avg(elapsed_time), 3) AS average_seconds
        FROM jobs
        WHERE uploaded_on >= strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-7 days') AND NOT dry_run
        GROUP BY tenant, feed
        ORDER BY tenant, feed;
    """  # noqa: S608 - only a folder of our own is put in.
    for statement in split(statements):
        db.execute(statement)


@ledger_migrations()
def m006_columns(db: sqlite_utils.Database) -> None:
    statements = f"""
    CREATE TABLE column_changes (            -- of the files of a feed
        tenant TEXT NOT NULL,
        feed TEXT NOT NULL,
        name TEXT NOT NULL,
        job_id TEXT NOT NULL REFERENCES jobs(id),
        change TEXT NOT NULL CHECK (change IN ('added', 'removed')),
        at TEXT NOT NULL {TIME.format("at")},
        PRIMARY KEY (tenant, feed, name, at, job_id)
    ) STRICT, WITHOUT ROWID;
    CREATE VIEW feed_columns AS -- as they are now: each since its newest change
        SELECT tenant, feed, name, max(at) AS since, job_id, change
        FROM column_changes
        GROUP BY tenant, feed, name
        HAVING change = 'added';
    """  # noqa: S608 - only a constraint of our own is put in.
    for statement in split(statements):
        db.execute(statement)


def split(script: str) -> list[str]:
    """The statements of a script. `executescript` would commit the migration's own transaction."""
    statements: list[str] = []
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
