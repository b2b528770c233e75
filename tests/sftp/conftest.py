"""A real listener on port 0 with a real ledger and real landing; only jobs do not run."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import argon2
import asyncssh
import pytest

from gateway.config import LiveSettings
from gateway.ledger import Ledger
from gateway.ledger.states import DRY_RUN_FOLDER
from gateway.pickup.folder import make_folders
from gateway.pickup.scan import Scan
from gateway.sftp.listener import SftpListener

PASSWORD = "correct horse"
CLOSE, OPEN, WRITE = 4, 3, 6
READ_FLAG, WRITE_FLAG, APPEND_FLAG, CREATE_FLAG, TRUNCATE_FLAG = 1, 2, 4, 8, 16


@dataclass(frozen=True)
class Ended:
    """How a client program ended."""

    code: int
    out: str
    err: str


async def shown(client: asyncssh.SFTPClient, inbox: str) -> list[str]:
    """What a client lists in an inbox, but for the folder for dry runs, which is always there."""
    return [name for name in await client.listdir(inbox) if name != DRY_RUN_FOLDER]


class Waking:
    """Pickup without its threads: tests claim when they want to."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def claim_now(self, drop_id: str) -> None:
        self._scan.claim_now(drop_id)


class Running:
    """A listener, and the clients that tests drive against it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.live = LiveSettings(root)
        make_folders(self.live.current)
        self.ledger = Ledger(self.live.current.ledger_path)
        self.scan = Scan(self.live, self.ledger)
        self.pickup = Waking(self.scan)
        self.listener = SftpListener(self.live, self.ledger, self.pickup)
        self.port = 0

    async def start(self) -> None:
        self.know(await self.listener.start())

    def know(self, port: int) -> None:
        """Clients connect to that port, and know its host key."""
        self.port = port
        host_key = (self.root / "host_key.pub").read_text()
        (self.root / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")

    def tree(self, *parts: str) -> Path:
        """A path on disk below what SFTP shows as `/`."""
        return self.live.current.tenant_dir("acme").joinpath(*parts)

    def inbox(self, name: str) -> Path:
        return self.tree("inbox", "events", name)

    def spooled(self) -> list[Path]:
        return sorted((self.live.current.spool_dir / "uploads").iterdir())

    def drops(self) -> list[tuple[str, int, str, int]]:
        """Path, generation, state and bytes of each drop, oldest first; touched or not, one that waits is `landed`."""
        rows = self.ledger.rows(
            "SELECT path, generation, replace(state, 'settling', 'landed'), bytes FROM drops ORDER BY id"
        )
        return [tuple(row) for row in rows]

    def uploads(self) -> list[tuple[str, str, int]]:
        """Path, state and bytes of each upload, oldest first."""
        rows = self.ledger.rows("SELECT path, state, bytes FROM uploads ORDER BY id")
        return [tuple(row) for row in rows]

    def claim(self) -> None:
        """Settle (settle_seconds is 0 here) and claim every drop."""
        assert self.scan.claim_settled()

    def options(self) -> list[str]:
        known = self.root / "known_hosts"
        return [
            *("-q", "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}"),
            *("-o", "IdentitiesOnly=yes", "-i", str(self.root / "client")),
        ]

    async def begin(self, *command: str, given: str = "") -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(given.encode())
        process.stdin.close()
        return process

    async def run(self, *command: str, given: str = "") -> Ended:
        process = await self.begin(*command, given=given)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    def sftp_command(self, *options: str, user: str = "acme-up") -> list[str]:
        return ["sftp", *self.options(), *options, "-P", str(self.port), "-b", "-", f"{user}@127.0.0.1"]

    async def sftp(self, *lines: str, user: str = "acme-up") -> Ended:
        """OpenSSH's sftp with a batch."""
        return await self.run(*self.sftp_command(user=user), given="".join(f"{line}\n" for line in lines))

    @asynccontextmanager
    async def connected(self, user: str = "acme-up", **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """An asyncssh connection."""
        options = {"client_keys": [str(self.root / "client")]} | options
        known = str(self.root / "known_hosts")
        async with asyncssh.connect(
            "127.0.0.1", self.port, username=user, known_hosts=known, config=None, agent_path=None, **options
        ) as connection:
            yield connection

    @asynccontextmanager
    async def client(self, user: str = "acme-up") -> AsyncIterator[asyncssh.SFTPClient]:
        async with self.connected(user) as connection, connection.start_sftp_client() as client:
            yield client

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[Raw]:
        """The SFTP subsystem as a stream of bytes, after INIT."""
        async with self.connected() as connection:
            process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(subsystem="sftp", encoding=None)
            raw = Raw(process)
            process.stdin.write(struct.pack(">IBI", 5, 1, 3))
            assert (await raw.receive())[:5] == struct.pack(">BI", 2, 3)
            yield raw


class Raw:
    """SFTP packets as a test wants them, right or wrong."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self.process = process
        self._request = 0

    def send(self, kind: int, body: bytes) -> int:
        """Send a request; its id."""
        self._request += 1
        packet = struct.pack(">BI", kind, self._request) + body
        self.process.stdin.write(struct.pack(">I", len(packet)) + packet)
        return self._request

    async def receive(self) -> bytes:
        """The next reply without its length."""
        length = struct.unpack(">I", await self.process.stdout.readexactly(4))[0]
        return await self.process.stdout.readexactly(length)

    async def status(self) -> tuple[int, int, str]:
        """Request, code and message of a STATUS reply."""
        reply = await self.receive()
        kind, request, code, length = struct.unpack_from(">BIII", reply)
        assert kind == 101
        return request, code, reply[13 : 13 + length].decode()

    async def open(self, path: str, flags: int = WRITE_FLAG | CREATE_FLAG | TRUNCATE_FLAG) -> bytes:
        """The handle of a file."""
        self.send(OPEN, string(path.encode()) + struct.pack(">II", flags, 0))
        reply = await self.receive()
        assert reply[0] == 102, reply
        return reply[9:]

    def write(self, handle: bytes, offset: int, data: bytes, trailing: bytes = b"") -> int:
        return self.send(WRITE, string(handle) + struct.pack(">Q", offset) + string(data) + trailing)

    def close(self, handle: bytes) -> int:
        return self.send(CLOSE, string(handle))


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


async def until(fact: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait for a fact; it is looked at again and again until the deadline."""
    async with asyncio.timeout(seconds):
        while not (found := fact()):
            await asyncio.sleep(0.01)
    return found


def kill(process: asyncio.subprocess.Process) -> None:
    """SIGKILL for a client and the ssh that it started. It may have ended already, when the gateway did."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A configured directory with a tenant of two feeds, an uploading user, a second one, and a viewer."""
    folder = tmp_path / "gateway"
    (folder / "tenants").mkdir(parents=True)
    for name in ("host_key", "client"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(folder / name))
        (folder / name).chmod(0o600)
        key.write_public_key(str(folder / f"{name}.pub"))
    (folder / "gateway.toml").write_text(
        '[sftp]\nhost = "127.0.0.1"\nport = 0\nhost_keys = ["host_key"]\npasswords = true\n'
        "[pickup]\nsettle_seconds = 0\n"
    )
    (folder / "tenants" / "acme.toml").write_text(acme((folder / "client.pub").read_text().strip()))
    return folder


def acme(key: str) -> str:
    password = argon2.PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)
    users = [("acme-up", "creator"), ("acme-two", "admin"), ("acme-view", "viewer")]
    tables = [
        f'[users.{name}]\nemail = "{name}@acme.example"\nrole = "{role}"\nkeys = ["{key}"]' for name, role in users
    ]
    tables.append(f'[users.acme-word]\nemail = "word@acme.example"\nrole = "creator"\npassword = "{password}"')
    tables.append('[feeds.events]\ncontract = "userpilot-import"\ntemporary_names = [".uploading"]')
    tables.append('[feeds.small]\ncontract = "userpilot-import"\ndrop_bytes_max = 100000')
    return "\n".join(tables) + "\n"


@pytest.fixture
async def server(root: Path) -> AsyncIterator[Running]:
    running = Running(root)
    await running.start()
    yield running
    await running.listener.stop(0)
    running.ledger.close()
