"""What a user of asyncssh writes: reads lines such as `put SOURCE PATH` from stdin and does one after the other.

Arguments: port, user, private key file, known_hosts file.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncssh


async def resume(sftp: asyncssh.SFTPClient, source: str, path: str) -> None:
    with open(source, "rb") as file:  # noqa: ASYNC230
        async with sftp.open(path, "ab") as remote:
            file.seek(await sftp.getsize(path) or 0)
            while chunk := file.read(1_000_000):
                await remote.write(chunk)


async def act(sftp: asyncssh.SFTPClient, verb: str, *words: str) -> None:
    if verb == "resume":
        await resume(sftp, *words)
    elif verb == "ls":
        # The test reads the names here.
        print(*sorted(set(map(str, await sftp.listdir(*words))) - {".", ".."}), sep="\n")  # noqa: T201
    else:
        methods: dict[str, Any] = {
            "rm": sftp.remove,
            "put": sftp.put,
            "get": sftp.get,
            "mkdir": sftp.mkdir,
            "rmdir": sftp.rmdir,
        }
        await (methods | {"rename": sftp.rename})[verb](*words)


async def main(port: str, user: str, key: str, known_hosts: str) -> None:
    async with (
        asyncssh.connect(
            "127.0.0.1",
            int(port),
            username=user,
            client_keys=[key],
            known_hosts=known_hosts,
            config=None,
            agent_path=None,
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):
        for line in sys.stdin:
            await act(sftp, *line.split())


asyncio.run(main(*sys.argv[1:]))
