"""What becomes of a drop that has settled: its job takes it, or it is held until something shows that it is whole."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway import clock
from gateway.config import FeedSettings, Settings
from gateway.ledger import Ledger, drops, holds, jobs
from gateway.ledger.drops import DropRow
from gateway.pickup.folder import inbox, parent_of
from gateway.pickup.proofs import Missing, Proof, find_proof, proof_wait, proved_path, read_checksum

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 5.0


@dataclass(slots=True)
class Taken:
    """The drops whose files are to leave the inbox now, once the transaction has committed."""

    claimed: list[DropRow] = field(default_factory=list)
    proofs: list[str] = field(default_factory=list)


def settle(settings: Settings, ledger: Ledger, drop: DropRow, taken: Taken) -> None:
    """Decide about one drop, unless it was touched since it was read.

    Part of one transaction; the caller holds the names of the drop and of its proof.
    """
    if drops.get(ledger, drop.id) != drop:
        return
    try:
        if not give_up_if_missing(settings, ledger, drop):
            settle_kind(settings, ledger, drop, taken)
    except OSError as error:
        # Later, so that it does not keep the drops behind it from their claim.
        log.warning("landed file cannot be looked at yet", drop=drop.id, error=str(error))
        drops.postpone(ledger, drop.id, clock.now(), LOOK_AGAIN_SECONDS)


def settle_kind(settings: Settings, ledger: Ledger, drop: DropRow, taken: Taken) -> None:
    if drop.kind == "data":
        settle_data(settings, ledger, drop, taken)
        return
    now = clock.now()
    file = drops.newest(ledger, drop.tenant, drop.feed, proved_path(drop))
    if file is not None and is_repeated(settings, drop, file, now):
        drops.use_up(ledger, drop, f"{file.path} was shown to be whole before", now)
        taken.proofs.append(drop.id)
    elif file is None or not file.in_inbox:
        until = now + proof_wait(policy_of(settings, drop))
        holds.hold(ledger, drop, "file", f"{drop.path} is here, and {proved_path(drop)} has not come yet", until)
    elif file.state == "held" or file.settles_at <= now:
        settle(settings, ledger, file, taken)
        if drops.get(ledger, drop.id).state in drops.UNSETTLED:
            until = now + proof_wait(policy_of(settings, drop))
            holds.hold(ledger, drop, "file", f"{drop.path} does not complete {file.path}", until)
    else:
        # The file is still being settled; both are looked at together then.
        drops.postpone(ledger, drop.id, file.settles_at, 0)


def is_repeated(settings: Settings, proof: DropRow, file: DropRow, now: datetime) -> bool:
    """Whether a proof is the one that a file was claimed with, sent again because its first OK was lost.

    It must not be taken for the proof of the next file of that name.
    """
    grace = timedelta(seconds=settings.gateway.pickup.grace_seconds)
    if file.claimed_at is None or file.proof != proof.kind or now - file.claimed_at > grace:
        return False
    if proof.kind == "sha256":
        root = inbox(settings, proof.tenant, proof.feed)
        return read_checksum(root, proof.path, file.path.rsplit("/", 1)[-1]) == file.expected_sha256
    return True


def settle_data(settings: Settings, ledger: Ledger, drop: DropRow, taken: Taken) -> None:
    now = clock.now()
    policy = policy_of(settings, drop)
    proof = find_proof(settings, ledger, drop, policy)
    if isinstance(proof, Missing):
        # Not again: a drop that waits on would tell the same once more.
        if (drop.held_for, drop.reason) != (proof.held_for, proof.reason) or drop.state != "held":
            until = drop.held_until if drop.state == "held" else now + proof_wait(policy)
            holds.hold(ledger, drop, proof.held_for, proof.reason, until)
        return
    taken.claimed.append(claim(settings, ledger, drop, proof, now))
    if proof.beside is not None:
        taken.proofs.append(proof.beside.id)


def claim(settings: Settings, ledger: Ledger, drop: DropRow, proof: Proof, now: datetime) -> DropRow:
    """Queued, job made, claimed; and the marker or checksum that proves it is used up. Returns what its file needs."""
    job_id = jobs.create(ledger, drop, uploader(settings, drop), now)
    drops.claim(ledger, drop.id, now, proof=proof.kind, expected_sha256=proof.expected_sha256)
    if proof.beside is not None:
        drops.use_up(ledger, proof.beside, f"shows that {drop.path} is whole", now)
    return replace(drop, state="claimed", job_id=job_id)


def give_up_if_missing(settings: Settings, ledger: Ledger, drop: DropRow) -> bool:
    """Whether the file of a landed drop is gone or another; if so, the drop ends."""
    found = look(inbox(settings, drop.tenant, drop.feed), drop.path)
    if found is None:
        holds.give_up(ledger, drop, "vanished", "the file is no longer in the inbox", clock.now())
    elif (found.st_ino, found.st_size) != (drop.inode, drop.bytes):
        holds.give_up(ledger, drop, "superseded", "a local program put another file in its place", clock.now())
    else:
        return False
    return True


def policy_of(settings: Settings, drop: DropRow) -> FeedSettings | None:
    """The policies of the drop's feed; None when it is no longer configured."""
    tenant = settings.tenants.get(drop.tenant)
    return tenant.feeds.get(drop.feed) if tenant else None


def uploader(settings: Settings, drop: DropRow) -> str | None:
    """The email of who uploaded (C19), or the username when the account is gone by now."""
    found = settings.user(drop.username) if drop.username else None
    return found[1].email if found else drop.username


def look(root: Path, path: str) -> os.stat_result | None:
    """The regular file at `path` below `root`, no link followed; None when there is none."""
    try:
        with parent_of(root, path) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    return found if stat.S_ISREG(found.st_mode) else None
