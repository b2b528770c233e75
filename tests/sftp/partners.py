"""The client programs that partners use, each by what a partner does with it. All paths are absolute."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path
from typing import ClassVar

import asyncssh

from tests.sftp.conftest import Ended, Running, kill, until

HERE = Path(__file__).parent
NOISE = ('Using username "acme-up".',)


class Partner:
    """A program that takes a script on stdin, with the words of its own language; here OpenSSH's sftp."""

    can_resume = True
    words: ClassVar = {"put": "put {} {}", "resume": "reput {} {}", "get": "get {} {}", "rename": "rename {} {}"}

    def __init__(self, server: Running) -> None:
        self.server = server
        self.user = "acme-up"
        self.at = f"{self.user}@127.0.0.1"
        self.key = str(server.root / "client")
        self.fingerprint = asyncssh.read_public_key(server.root / "host_key.pub").get_fingerprint()

    async def start(self) -> None:
        """Whatever the program needs before it can be used."""

    async def stop(self) -> None:
        """The end of what `start` began."""

    def program(self, script: str) -> list[str]:
        """The command line; `script` is also what it gets on stdin."""
        return self.server.sftp_command()

    async def do(self, script: str) -> str:
        """Run it; what it printed. It must not have complained of anything."""
        return done(await self.server.run(*self.at_home(self.program(script)), given=script))

    async def begin(self, script: str) -> asyncio.subprocess.Process:
        """Start it, to be killed."""
        return await self.server.begin(*self.at_home(self.program(script)), given=script)

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        """SIGKILL for it and for what it has started."""
        kill(process)
        await process.communicate()

    def at_home(self, command: list[str]) -> list[str]:
        return ["env", f"HOME={self.server.root}", *command]

    def putting(self, source: Path, path: str) -> str:
        return self.words["put"].format(source, path) + "\n"

    async def put(self, source: Path, path: str) -> None:
        await self.do(self.putting(source, path))

    async def resume(self, source: Path, path: str) -> None:
        await self.do(self.words["resume"].format(source, path) + "\n")

    async def get(self, path: str, target: Path) -> None:
        await self.do(self.words["get"].format(path, target) + "\n")

    async def rename(self, old: str, new: str) -> None:
        await self.do(self.words["rename"].format(old, new) + "\n")

    async def remove(self, path: str) -> None:
        await self.do(f"rm {path}\n")

    async def make_and_remove_folder(self, path: str) -> None:
        await self.do(f"mkdir {path}\nrmdir {path}\n")

    async def names(self, folder: str) -> list[str]:
        lines = (await self.do(f"ls -1 {folder}\n")).splitlines()
        return sorted(Path(line).name for line in lines if not line.startswith("sftp>"))


class Scp(Partner):
    """OpenSSH's scp for the files, and its sftp for the rest."""

    words: ClassVar = Partner.words | {"put": "scp {} @{}", "resume": "scp {} @{}", "get": "scp @{} {}"}

    def program(self, script: str) -> list[str]:
        program, *words = script.replace("@", f"{self.at}:").split()
        if program != "scp":
            return super().program(script)
        return [program, *self.server.options(), "-P", str(self.server.port), *words]


class Psftp(Partner):
    """PuTTY's sftp."""

    words: ClassVar = Partner.words | {"rename": "mv {} {}"}

    async def start(self) -> None:
        done(await self.server.run("puttygen", self.key, "-O", "private", "-o", f"{self.key}.ppk"))

    def options(self) -> list[str]:
        return ["-batch", "-P", str(self.server.port), "-i", f"{self.key}.ppk", "-hostkey", self.fingerprint]

    def program(self, script: str) -> list[str]:
        return ["psftp", *self.options(), "-b", "/dev/stdin", self.at]

    async def names(self, folder: str) -> list[str]:
        lines = (await self.do(f"ls {folder}\n")).splitlines()
        return sorted(line.split()[-1] for line in lines if line[:1] in "-d" and line[1:2] in "r-")


class Pscp(Psftp):
    """PuTTY's scp for the files, and its sftp for the rest. It cannot resume."""

    can_resume = False
    words: ClassVar = Psftp.words | {"put": "pscp {} @{}", "resume": "pscp {} @{}", "get": "pscp @{} {}"}

    def program(self, script: str) -> list[str]:
        program, *words = script.replace("@", f"{self.at}:").split()
        return ["pscp", "-q", *self.options(), *words] if program == "pscp" else super().program(script)


class Lftp(Partner):
    """lftp over OpenSSH's ssh. `temporary` uploads to `.in.NAME` first."""

    words: ClassVar = {"put": "put {} -o {}", "resume": "put -c {} -o {}", "get": "get {} -o {}", "rename": "mv {} {}"}
    temporary = False

    def program(self, script: str) -> list[str]:
        connect = shlex.join(["ssh", "-a", "-x", *self.server.options()])
        settings = [
            f"set sftp:connect-program '{connect}'",
            f"set xfer:use-temp-file {str(self.temporary).lower()}",
            "set net:max-retries 1",
            "set cmd:fail-exit yes",
            f"open -u {self.user},none -p {self.server.port} sftp://127.0.0.1",
        ]
        return ["lftp", "--norc", "-c", "; ".join([*settings, *script.splitlines()])]

    async def names(self, folder: str) -> list[str]:
        lines = (await self.do(f"cls -1 {folder}\n")).splitlines()
        return sorted(Path(line).name for line in lines)


class TemporaryLftp(Lftp):
    """lftp with `xfer:use-temp-file`."""

    temporary = True


class CommandPartner(Partner):
    """A program that takes its words as arguments: a script is a command line for each line."""

    def program(self, script: str) -> list[str]:
        lines = [shlex.join([*self.base(), *shlex.split(line)]) for line in script.splitlines()]
        return ["sh", "-ec", "\n".join(lines)]

    def base(self) -> list[str]:
        return []


class Curl(CommandPartner):
    """curl with libssh2."""

    words: ClassVar = {
        "put": "-T {} @{}",
        "resume": "-C - -T {} @{}",
        "get": "@{} -o {}",
        "rename": "-Q 'rename {} {}' -o /dev/null @/",
    }

    def base(self) -> list[str]:
        return ["curl", "-sS", "-k", "-u", f"{self.user}:", "--key", self.key, "--pubkey", f"{self.key}.pub"]

    def program(self, script: str) -> list[str]:
        return super().program(script.replace("@/", f"sftp://127.0.0.1:{self.server.port}/"))

    async def remove(self, path: str) -> None:
        await self.do(f"-Q 'rm {path}' -o /dev/null @/\n")

    async def make_and_remove_folder(self, path: str) -> None:
        await self.do(f"-Q 'mkdir {path}' -Q 'rmdir {path}' -o /dev/null @/\n")

    async def names(self, folder: str) -> list[str]:
        found = (await self.do(f"-l @{folder}/\n")).splitlines()
        return sorted(set(found) - {".", ".."})


class Rclone(CommandPartner):
    """rclone, which asks for md5sum after each upload and download."""

    can_resume = False
    words: ClassVar = {
        "put": "copyto {} gw:{}",
        "resume": "copyto {} gw:{}",
        "get": "copyto gw:{} {}",
        "rename": "moveto gw:{0} gw:{1}",
    }

    async def start(self) -> None:
        known = self.server.root / "known_hosts"
        (self.server.root / "rclone.conf").write_text(
            f"[gw]\ntype = sftp\nhost = 127.0.0.1\nport = {self.server.port}\nuser = {self.user}\n"
            f"key_file = {self.key}\nknown_hosts_file = {known}\n"
        )

    def base(self) -> list[str]:
        return ["rclone", "--config", str(self.server.root / "rclone.conf"), "--retries", "1"]

    async def remove(self, path: str) -> None:
        await self.do(f"deletefile gw:{path}\n")

    async def make_and_remove_folder(self, path: str) -> None:
        await self.do(f"mkdir gw:{path}\nrmdir gw:{path}\n")

    async def names(self, folder: str) -> list[str]:
        return sorted(line.rstrip("/") for line in (await self.do(f"lsf gw:{folder}\n")).splitlines())


class Sshfs(CommandPartner):
    """The gateway mounted as a folder, and the programs that everybody uses on folders."""

    can_resume = False
    words: ClassVar = {"put": "cp {} ~{}", "resume": "cp {} ~{}", "get": "cp ~{} {}", "rename": "mv ~{} ~{}"}

    async def start(self) -> None:
        self.mount = self.server.root / "mount"
        self.mount.mkdir(exist_ok=True)
        options = [*options_of_sshfs(self.server.options()), "-o", "dir_cache=no", "-p", str(self.server.port)]
        self.sshfs = await self.server.begin("sshfs", "-f", *options, f"{self.at}:/", str(self.mount))
        # A look into the folder itself would wait for the server, which runs in this very thread.
        await until(lambda: str(self.mount) in Path("/proc/self/mounts").read_text())

    async def stop(self) -> None:
        done(await self.server.run("fusermount3", "-u", str(self.mount)))
        await self.sshfs.communicate()

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        """Not of `cp`: its end would be a close like any other."""
        await super().kill(self.sshfs)
        await process.communicate()
        await self.stop()
        await self.start()

    def program(self, script: str) -> list[str]:
        return super().program(script.replace("~/", f"{self.mount}/"))

    async def remove(self, path: str) -> None:
        await self.do(f"rm ~{path}\n")

    async def make_and_remove_folder(self, path: str) -> None:
        await self.do(f"mkdir ~{path}\nrmdir ~{path}\n")

    async def names(self, folder: str) -> list[str]:
        return sorted((await self.do(f"ls ~{folder}\n")).splitlines())


class Library(Partner):
    """A program of somebody who uses a library; it takes `put SOURCE PATH` and the like on stdin."""

    words: ClassVar = {"put": "put {} {}", "resume": "resume {} {}", "get": "get {} {}", "rename": "rename {} {}"}

    def program(self, script: str) -> list[str]:
        return [*self.starts(), str(self.server.port), self.user, self.key, self.host()]

    def starts(self) -> list[str]:
        raise NotImplementedError

    def host(self) -> str:
        return str(self.server.root / "known_hosts")

    async def names(self, folder: str) -> list[str]:
        return sorted((await self.do(f"ls {folder}\n")).split())


class Paramiko(Library):
    """paramiko, which looks at the size after each upload."""

    def starts(self) -> list[str]:
        return [sys.executable, str(HERE / "libraries" / "with_paramiko.py")]


class Asyncssh(Library):
    """asyncssh as a client, with many requests under way at once."""

    def starts(self) -> list[str]:
        return [sys.executable, str(HERE / "libraries" / "with_asyncssh.py")]


class Node(Library):
    """ssh2-sftp-client of npm. `scripts/setup --for-tests` installs it."""

    def starts(self) -> list[str]:
        return ["node", str(HERE / "node" / "partner.js")]

    def host(self) -> str:
        return (self.server.root / "host_key.pub").read_text().strip()


class FastNode(Node):
    """ssh2-sftp-client with `fastPut`, which has many requests under way at once, in no order."""

    can_resume = False
    words: ClassVar = Node.words | {"put": "fastput {} {}", "resume": "fastput {} {}"}


def options_of_sshfs(options: list[str]) -> list[str]:
    """The options of ssh in the words of sshfs, which takes a key as an option of its own."""
    at = options.index("-i")
    return [*options[1:at], "-o", f"IdentityFile={options[at + 1]}", *options[at + 2 :]]


def done(ended: Ended) -> str:
    """What a program printed that ended well, and without a complaint."""
    complaints = [line for line in ended.err.splitlines() if line not in NOISE]
    assert (ended.code, complaints) == (0, []), ended
    return ended.out
