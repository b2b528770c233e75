"""What a user of paramiko writes: reads lines such as `put SOURCE PATH` from stdin and does one after the other.

Arguments: port, user, private key file, known_hosts file.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import paramiko


def resume(sftp: paramiko.SFTPClient, source: str, path: str) -> None:
    with open(source, "rb") as file, sftp.open(path, "ab") as remote:
        file.seek(sftp.stat(path).st_size or 0)
        while chunk := file.read(32_768):
            remote.write(chunk)
    assert sftp.stat(path).st_size == os.stat(source).st_size


def act(sftp: paramiko.SFTPClient, verb: str, *words: str) -> None:
    if verb == "resume":
        resume(sftp, *words)
    elif verb == "ls":
        # The test reads the names here.
        print(*sftp.listdir(*words), sep="\n")  # noqa: T201
    else:
        methods: dict[str, Any] = {
            "rm": sftp.remove,
            "put": sftp.put,
            "get": sftp.get,
            "mkdir": sftp.mkdir,
            "rmdir": sftp.rmdir,
        }
        methods["rename"] = sftp.rename
        methods[verb](*words)


def main(port: str, user: str, key: str, known_hosts: str) -> None:
    with paramiko.SSHClient() as ssh:
        ssh.load_host_keys(known_hosts)
        pkey = paramiko.Ed25519Key.from_private_key_file(key)
        ssh.connect("127.0.0.1", int(port), user, pkey=pkey, allow_agent=False, look_for_keys=False)
        with ssh.open_sftp() as sftp:
            for line in sys.stdin:
                act(sftp, *line.split())


main(*sys.argv[1:])
