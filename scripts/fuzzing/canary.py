"""Another partner, who does nothing wrong: puts, looks, gets and removes, and has to be answered all the while."""

from __future__ import annotations

import io
import socket
import threading
import time
from contextlib import suppress

import paramiko

from scripts.fuzzing.site import CANARY, FEED, HOST, Site

WAIT_SECONDS_MAX = 20.0
CONTENT = b"identity,email\n1,ann@example.test\n"
ROUNDS_OF_A_CONNECTION = 20


class Canary(threading.Thread):
    """Runs until `stop`; `failures` says what it was not given."""

    def __init__(self, site: Site) -> None:
        super().__init__(name="canary", daemon=True)
        self.rounds = 0
        self.longest = 0.0
        self.failures: list[str] = []
        self._site = site
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()
        self.join(5 * WAIT_SECONDS_MAX)
        if self.is_alive():
            self.failures.append("the canary hangs")

    def run(self) -> None:
        while not self._stopping.is_set() and len(self.failures) < 20:
            try:
                self._connect_and_use()
            except (OSError, EOFError, paramiko.SSHException) as error:
                self.failures.append(f"another partner's session failed: {type(error).__name__} {error}")

    def _connect_and_use(self) -> None:
        own = socket.create_connection((HOST, self._site.port), timeout=WAIT_SECONDS_MAX)
        transport = paramiko.Transport(own)
        try:
            transport.start_client(timeout=WAIT_SECONDS_MAX)
            transport.auth_publickey(CANARY, self._site.key)
            channel = transport.open_session(timeout=WAIT_SECONDS_MAX)
            channel.settimeout(WAIT_SECONDS_MAX)
            channel.invoke_subsystem("sftp")
            with paramiko.SFTPClient(channel) as client:
                for _ in range(ROUNDS_OF_A_CONNECTION):
                    if self._stopping.wait(0.02):
                        return
                    self._round(client)
        finally:
            transport.close()

    def _round(self, client: paramiko.SFTPClient) -> None:
        """Each request has to be answered in time; the names are temporary ones, so that no job comes of them."""
        name = f"/inbox/{FEED}/canary{self.rounds}.csv.part"
        began = time.monotonic()
        client.putfo(io.BytesIO(CONTENT), name)
        back = io.BytesIO()
        client.getfo(name, back)
        if client.stat(name).st_size != len(CONTENT) or back.getvalue() != CONTENT:
            raise OSError("his file is not what he put there")
        with suppress(FileNotFoundError):
            client.remove(name)
        self.rounds += 1
        self.longest = max(self.longest, time.monotonic() - began)
