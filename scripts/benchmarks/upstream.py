"""What asyncssh could make faster: proposals, as replacements in a copy of it, each measured beside the copy as it is.

A server that throws away what it receives, and says a few bytes for each 256 KiB of it as an SFTP server would, gets a
file from OpenSSH's ssh. Nothing here is a part of the gateway, which patches nothing; UPSTREAM.md has the results.
"""

from __future__ import annotations

import asyncio
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

import asyncssh
import click

Replacements = tuple[tuple[str, str, str], ...]
MIB = 512
REPLY_EVERY = 256 * 1024
ONE_OBJECT: Replacements = (
    ("crypto/cipher.py", "        self._key = key\n", "        self._aead = AESGCM(key)\n"),
    ("crypto/cipher.py", "AESGCM(self._key).encrypt", "self._aead.encrypt"),
    ("crypto/cipher.py", "AESGCM(self._key).decrypt", "self._aead.decrypt"),
)
NO_IGNORE: Replacements = (
    (
        "connection.py",
        "        if self._send_encryption and pkttype > MSG_KEX_LAST:\n",
        "        if (self._send_encryption and pkttype > MSG_KEX_LAST and\n"
        "                self._send_encryption.needs_mac()):\n",
    ),
)
OFFSET: Replacements = (
    (
        "connection.py",
        "        self._inpbuf = b''\n",
        "        self._inpbuf = b''\n        self._inpofs = 0\n",
    ),
    (
        "connection.py",
        "        self._inpbuf += data\n",
        "        self._inpbuf = self._inpbuf[self._inpofs:] + data\n        self._inpofs = 0\n",
    ),
    (
        "connection.py",
        "while self._inpbuf and self._recv_handler()",
        "while self._inpofs < len(self._inpbuf) and self._recv_handler()",
    ),
    (
        "connection.py",
        "        if len(self._inpbuf) < self._recv_blocksize:\n",
        "        if len(self._inpbuf) - self._inpofs < self._recv_blocksize:\n",
    ),
    (
        "connection.py",
        "        self._packet = self._inpbuf[:self._recv_blocksize]\n"
        "        self._inpbuf = self._inpbuf[self._recv_blocksize:]\n",
        "        first = self._inpofs\n"
        "        self._inpofs += self._recv_blocksize\n"
        "        self._packet = self._inpbuf[first:self._inpofs]\n",
    ),
    ("connection.py", "        if len(self._inpbuf) < rem:\n", "        if len(self._inpbuf) - self._inpofs < rem:\n"),
    (
        "connection.py",
        "        rest = self._inpbuf[:rem-self._recv_macsize]\n"
        "        mac = self._inpbuf[rem-self._recv_macsize:rem]\n",
        "        end = self._inpofs + rem\n"
        "        rest = self._inpbuf[self._inpofs:end-self._recv_macsize]\n"
        "        mac = self._inpbuf[end-self._recv_macsize:end]\n",
    ),
    ("connection.py", "        self._inpbuf = self._inpbuf[rem:]\n", "        self._inpofs = end\n"),
)
NO_LINES: Replacements = (
    (
        "packet.py",
        "        if isinstance(packet, SSHPacket):\n            packet = packet.get_full_payload()\n",
        "        if self.logger._debug_level < 3:\n            return\n\n"
        "        if isinstance(packet, SSHPacket):\n            packet = packet.get_full_payload()\n",
    ),
)
PROPOSALS: dict[str, Replacements] = {
    "as it is": (),
    "one AESGCM object per direction": ONE_OBJECT,
    "no MSG_IGNORE before a packet with an AEAD": NO_IGNORE,
    "an offset into the input buffer": OFFSET,
    "no formatting of lines that are dropped": NO_LINES,
    "all four": ONE_OBJECT + NO_IGNORE + OFFSET + NO_LINES,
}


def patched(folder: Path, replacements: Replacements) -> Path:
    """A copy of the installed asyncssh below `folder`; the folder to import it from."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(Path(asyncssh.__file__).parent, folder / "asyncssh")
    for name, before, after in replacements:
        path = folder / "asyncssh" / name
        text = path.read_text()
        if before not in text:
            raise SystemExit(f"asyncssh {asyncssh.__version__} has no longer, in {name}: {before.strip()}")
        path.write_text(text.replace(before, after))
    return folder


class Sink(asyncssh.SSHServerSession[bytes]):
    """Takes all that comes."""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel, self._unanswered = chan, 0

    def exec_requested(self, command: str) -> bool:
        return True

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._unanswered += len(data)
        while self._unanswered >= REPLY_EVERY:
            self._unanswered -= REPLY_EVERY
            self._channel.write(b"\0" * 29)

    def eof_received(self) -> bool:
        self._channel.exit(0)
        return True


class Open(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> Sink:
        return Sink()


async def serve(given: Path) -> None:
    """Take the file once, and print the CPU seconds that it took."""
    async with await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Open, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        encoding=None, line_editor=False, compression_algs=None, window=8 * 2**20, max_pktsize=256 * 1024,
    ) as server:  # fmt: skip
        command = [
            "ssh",
            "-q",
            "-F",
            "/dev/null",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]
        command += ["-c", "aes128-gcm@openssh.com", "-p", str(server.get_port()), "nobody@127.0.0.1", "sink"]
        before = resource.getrusage(resource.RUSAGE_SELF)
        with given.open("rb") as file:
            client = await asyncio.create_subprocess_exec(*command, stdin=file, stdout=subprocess.DEVNULL)
            if await client.wait():
                raise SystemExit("ssh did not bring the file")
        after = resource.getrusage(resource.RUSAGE_SELF)
    print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def cpu_seconds(copy: Path, given: Path) -> float:
    """In a process of its own, which imports that copy."""
    code = f"import sys; sys.path[:0] = [{str(copy)!r}, {str(Path.cwd())!r}]; sys.argv = ['', {str(given)!r}]; "
    code += "import runpy; runpy.run_module('scripts.benchmarks.upstream', run_name='__serve__')"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
    return float(done.stdout)


@click.command()
@click.option("--pairs", default=5, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".bench"), show_default=True)
def main(pairs: int, folder: Path) -> None:
    """CPU seconds a GiB of each proposal, and the median of its ratios to asyncssh as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    given = folder.resolve() / "upstream.bin"
    given.write_bytes(bytes(MIB * 2**20))
    copies = {
        name: patched(folder.resolve() / f"upstream-{number}", replacements)
        for number, (name, replacements) in enumerate(PROPOSALS.items())
    }
    taken: dict[str, list[float]] = {name: [] for name in copies}
    for _ in range(pairs):
        for name, copy in copies.items():
            taken[name].append(cpu_seconds(copy, given) * 1024 / MIB)
    for name, seconds in taken.items():
        ratios = sorted(before / after for before, after in zip(taken["as it is"], seconds, strict=True))
        print(f"{name:45} {median(seconds):5.2f} CPU s/GiB  {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    given.unlink()


if __name__ == "__main__":
    main()
elif __name__ == "__serve__":
    asyncio.run(serve(Path(sys.argv[1])))
