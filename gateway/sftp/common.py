"""What all sessions of a gateway have in common: who may come in, what is counted, and the uploads that are open."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config import LiveSettings
from gateway.ledger import Ledger
from gateway.ledger.audit import AuditQueue
from gateway.sftp.bandwidth import Bandwidth
from gateway.sftp.defender import Defender
from gateway.sftp.limits import Doors, Handles, Sessions
from gateway.sftp.pressure import BackPressure
from gateway.sftp.uploads import Uploads, Wakes


@dataclass(frozen=True, slots=True)
class Common:
    """Of one process that serves alone, or what it sees of that of all (`process`)."""

    doors: Doors
    handles: Handles
    sessions: Sessions
    defender: Defender
    pressure: BackPressure
    bandwidth: Bandwidth
    uploads: Uploads
    audit: AuditQueue


def alone(live: LiveSettings, ledger: Ledger, pickup: Wakes) -> Common:
    """For the one process that serves."""
    audit = AuditQueue(ledger)
    return Common(
        doors=Doors(),
        handles=Handles(),
        sessions=Sessions(),
        defender=Defender(live, ledger, audit),
        pressure=BackPressure(ledger),
        bandwidth=Bandwidth(),
        uploads=Uploads(live, ledger, pickup),
        audit=audit,
    )
