"""The client programs, each in its own words. An upload is acknowledged when the program itself said that it is in."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import asyncssh
import paramiko

from scripts.soaking.site import USER, Site

SECONDS_MAX = 60.0
AT = f"{USER}@127.0.0.1"
# They tell of each connection that ends, and here that is every second one.
for noisy in ("paramiko", "asyncssh"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)


class Program:
    """A program that is started for each line of work. `words` are its commands, by what they do.

    put: a whole file. resume: what is missing of one. temporary: under a temporary name, then renamed.
    remove, rename: of a file that is in.
    """

    words: ClassVar[Mapping[str, str]] = {}
    can_be_killed = True
    tries_again = False
    """Whether it sends a file anew by itself, after a connection that broke."""
    slow: ClassVar[tuple[str, ...]] = ()
    """The options that hold an upload down to so many kilobytes a second, `{rate}`, or kilobits, `{kilobits}`."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    def can(self, verb: str) -> bool:
        return verb in self.words

    def prepare(self) -> None:
        """Whatever it needs before it is used first."""

    def do(self, verb: str, *names: str, rate: int | None = None, dies_after: float | None = None) -> bool:
        """Run it; True when it said that all is done. It may be held down to a rate, or killed after some seconds."""
        script = self.script(self.words[verb].format(*names), rate)
        process = subprocess.Popen(
            [*self.command(script, rate)],
            env=os.environ | {"HOME": str(self.site.folder), "LC_ALL": "C"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(script.encode(), timeout=dies_after or SECONDS_MAX)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return False
        return process.returncode == 0 and self.is_done(said)

    def script(self, words: str, rate: int | None) -> str:
        """What it reads from stdin."""
        return words + "\n"

    def command(self, script: str, rate: int | None) -> list[str]:
        raise NotImplementedError

    def is_done(self, said: bytes) -> bool:
        """Whether what it said agrees with its exit code 0."""
        return True

    def slowed(self, rate: int | None) -> list[str]:
        return [word.format(rate=rate, kilobits=rate * 8) for word in self.slow] if rate else []

    def ssh_options(self) -> list[str]:
        return [
            *("-q", "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={self.site.known_hosts}"),
            *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i", str(self.site.key), "-F", "/dev/null"),
        ]


class Sftp(Program):
    """OpenSSH's sftp."""

    words: ClassVar = {
        "put": "put {0} {1}",
        "resume": "reput {0} {1}",
        "temporary": "put {0} {1}.part\nrename {1}.part {1}",
        "remove": "rm {0}",
        "rename": "rename {0} {1}",
    }
    slow: ClassVar = ("-l", "{kilobits}")

    def command(self, script: str, rate: int | None) -> list[str]:
        return ["sftp", *self.ssh_options(), *self.slowed(rate), "-P", str(self.site.port), "-b", "-", AT]


class Scp(Program):
    """OpenSSH's scp, which speaks SFTP."""

    words: ClassVar = {"put": f"{{0}} {AT}:{{1}}"}
    slow: ClassVar = ("-l", "{kilobits}")

    def command(self, script: str, rate: int | None) -> list[str]:
        return ["scp", *self.ssh_options(), *self.slowed(rate), "-P", str(self.site.port), *shlex.split(script)]


class Psftp(Program):
    """PuTTY's sftp."""

    words: ClassVar = {
        "put": "put {0} {1}",
        "resume": "reput {0} {1}",
        "remove": "rm {0}",
        "rename": "mv {0} {1}",
    }

    @property
    def putty_key(self) -> str:
        return f"{self.site.key}.ppk"

    def prepare(self) -> None:
        key = [str(self.site.key), "-O", "private", "-o", self.putty_key]
        subprocess.run(["puttygen", *key], check=True, timeout=60)

    def command(self, script: str, rate: int | None) -> list[str]:
        options = ["-batch", "-P", str(self.site.port), "-i", self.putty_key]
        return ["psftp", *options, "-hostkey", self.site.host_key.get_fingerprint(), "-b", "/dev/stdin", AT]


class Lftp(Program):
    """lftp over OpenSSH's ssh. `net:max-retries 1` does not keep it from a second try 30 seconds later."""

    tries_again = True

    words: ClassVar = {
        "put": "put {0} -o {1}",
        "resume": "put -c {0} -o {1}",
        "temporary": "set xfer:use-temp-file true; put {0} -o {1}",
        "remove": "rm {0}",
        "rename": "mv {0} {1}",
    }
    slow: ClassVar = ("set net:limit-rate {rate}000",)

    def command(self, script: str, rate: int | None) -> list[str]:
        connect = shlex.join(["ssh", "-a", "-x", *self.ssh_options()])
        settings = [
            f"set sftp:connect-program '{connect}'",
            *("set net:max-retries 1", "set net:timeout 20", "set cmd:fail-exit yes"),
            *self.slowed(rate),
            f"open -u {USER},none -p {self.site.port} sftp://127.0.0.1",
        ]
        return ["lftp", "--norc", "-c", "; ".join([*settings, script])]


class Curl(Program):
    """curl with libssh2. A close that fails it tells with -v only, and its exit code is 0."""

    words: ClassVar = {
        "put": "-T {0} @{1}",
        "resume": "-C - -T {0} @{1}",
        "temporary": "-T {0} @{1}.part -Q '-rename {1}.part {1}'",
        "remove": "-Q 'rm {0}' -o /dev/null @/",
        "rename": "-Q 'rename {0} {1}' -o /dev/null @/",
    }
    slow: ClassVar = ("--limit-rate", "{rate}k")

    def command(self, script: str, rate: int | None) -> list[str]:
        key = ["--key", str(self.site.key), "--pubkey", str(self.site.key.with_suffix(".pub"))]
        words = shlex.split(script.replace("@/", f"sftp://127.0.0.1:{self.site.port}/"))
        return ["curl", "-sS", "-v", "-k", "-u", f"{USER}:", *key, *self.slowed(rate), *words]

    def is_done(self, said: bytes) -> bool:
        return b"Failed to close" not in said


class Rclone(Program):
    """rclone, which asks for md5sum after each upload."""

    words: ClassVar = {"put": "copyto --ignore-times {0} gw:{1}", "remove": "deletefile gw:{0}"}
    slow: ClassVar = ("--bwlimit", "{rate}k")

    @property
    def settings(self) -> Path:
        return self.site.folder / "rclone.conf"

    def prepare(self) -> None:
        self.settings.write_text(
            f"[gw]\ntype = sftp\nhost = 127.0.0.1\nport = {self.site.port}\nuser = {USER}\n"
            f"key_file = {self.site.key}\nknown_hosts_file = {self.site.known_hosts}\n"
        )

    def command(self, script: str, rate: int | None) -> list[str]:
        once = ["--retries", "1", "--low-level-retries", "1"]
        return ["rclone", "--config", str(self.settings), *once, *self.slowed(rate), *shlex.split(script)]


class Paramiko(Program):
    """The library paramiko, which looks at the size after each upload."""

    can_be_killed = False
    words: ClassVar = {"put": "", "temporary": "", "remove": "", "rename": ""}

    def do(self, verb: str, *names: str, rate: int | None = None, dies_after: float | None = None) -> bool:
        try:
            with paramiko.SSHClient() as ssh:
                ssh.load_host_keys(str(self.site.known_hosts))
                key = paramiko.Ed25519Key.from_private_key_file(str(self.site.key))
                waits = {"timeout": 20, "banner_timeout": 20, "auth_timeout": 20, "channel_timeout": 20}
                here = ("127.0.0.1", self.site.port, USER)
                ssh.connect(*here, pkey=key, allow_agent=False, look_for_keys=False, **waits)
                with ssh.open_sftp() as sftp:
                    sftp.get_channel().settimeout(SECONDS_MAX)
                    self.say(sftp, verb, *names)
            return True
        except (OSError, EOFError, paramiko.SSHException):
            return False

    def say(self, sftp: paramiko.SFTPClient, verb: str, *names: str) -> None:
        if verb == "put":
            sftp.put(*names)
        elif verb == "temporary":
            sftp.put(names[0], f"{names[1]}.part")
            sftp.posix_rename(f"{names[1]}.part", names[1])
        elif verb == "remove":
            sftp.remove(*names)
        else:
            sftp.rename(*names)


class Asyncssh(Program):
    """The library asyncssh, with many requests under way at once."""

    can_be_killed = False
    words: ClassVar = {"put": "", "temporary": "", "remove": "", "rename": ""}

    def do(self, verb: str, *names: str, rate: int | None = None, dies_after: float | None = None) -> bool:
        try:
            asyncio.run(asyncio.wait_for(self.say(verb, *names), SECONDS_MAX))
            return True
        except (OSError, TimeoutError, asyncssh.Error):
            return False

    async def say(self, verb: str, *names: str) -> None:
        known = {"known_hosts": str(self.site.known_hosts), "config": None, "agent_path": None}
        async with asyncssh.connect(
            "127.0.0.1", self.site.port, username=USER, client_keys=[str(self.site.key)], **known
        ) as connection, connection.start_sftp_client() as sftp:  # fmt: skip
            if verb == "put":
                await sftp.put(*names)
            elif verb == "temporary":
                await sftp.put(names[0], f"{names[1]}.part")
                await sftp.posix_rename(f"{names[1]}.part", names[1])
            elif verb == "remove":
                await sftp.remove(*names)
            else:
                await sftp.rename(*names)


# sshfs is not here: the kernel takes a close before the gateway has answered it, so that it acknowledges nothing.
PROGRAMS: tuple[type[Program], ...] = (Sftp, Curl, Lftp, Paramiko, Psftp, Asyncssh, Scp, Rclone)
