"""Raw sockets before any key exchange is done: versions, KEXINIT and what comes too early, whole, mutated and cut."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from random import Random

from scripts.fuzzing.findings import Hangs
from scripts.fuzzing.site import HOST, LOGIN_SECONDS_MAX, Site

# asyncssh looks for a login that is late once its time is over; a loaded machine may take some seconds more.
PATIENCE_SECONDS = LOGIN_SECONDS_MAX + 20
VERSION = b"SSH-2.0-fuzz_1.0\r\n"
VERSIONS = (
    b"SSH-1.99-old\r\n", b"SSH-1.5-older\r\n", b"SSH-2.0-\r\n", b"SSH-2.0-x\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n" * 200, b"SSH-2.0-" + b"v" * 300 + b"\r\n", b"SSH-2.0-" + b"v" * 100_000,
    b"\x16\x03\x01\x02\x00" + b"\1" * 512,
    b"\0" * 1000, b"\xff" * 300 + b"\r\n", b"SSH-2.0-a\0b\r\n", b"banner\r\n" * 2000 + VERSION, b"SSH-", b"",
    b"SSH-2.0-\x1b[2J\xff\r\n", b"ssh-2.0-lower\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + VERSION,
)  # fmt: skip
KEX = (b"curve25519-sha256", b"ecdh-sha2-nistp256", b"diffie-hellman-group14-sha256", b"kex-strict-c-v00@openssh.com")
NAMES = (KEX, (b"ssh-ed25519",), (b"aes128-gcm@openssh.com", b"aes128-ctr"), (b"hmac-sha2-256",), (b"none",))


def run(site: Site, pick: Random) -> None:
    """One connection; Hangs when the gateway leaves it open for longer than a login may take."""
    with socket.create_connection((HOST, site.port), timeout=PATIENCE_SECONDS) as connection:
        with suppress(ConnectionError, BrokenPipeError):
            for piece in conversation(pick):
                connection.sendall(piece)
                if pick.random() < 0.1:
                    time.sleep(0.05)
        leave(connection, pick)


def leave(connection: socket.socket, pick: Random) -> None:
    """Go in one of the ways that there are; or stay, and see that the gateway ends it."""
    way = pick.choice(("close", "close", "close", "reset", "half", "stay"))
    if way == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif way in ("half", "stay"):
        with suppress(OSError):
            if way == "half":
                connection.shutdown(socket.SHUT_WR)
        wait_for_the_end(connection)


def wait_for_the_end(connection: socket.socket) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    connection.settimeout(1)
    while time.monotonic() < deadline:
        try:
            if not connection.recv(65536):
                return
        except TimeoutError:
            continue
        except OSError:
            return
    raise Hangs("a connection that does not log in stays open")


def conversation(pick: Random) -> list[bytes]:
    kind = pick.choice(("version", "kexinit", "kexinit", "early", "sizes", "noise", "drip"))
    if kind == "version":
        return [pick.choice(VERSIONS)]
    if kind == "drip":
        whole = VERSION + packet(kexinit(pick))
        return [whole[at : at + 1] for at in range(pick.randint(1, len(whole)))]
    pieces = [VERSION]
    if kind == "kexinit":
        pieces.append(mutated(packet(kexinit(pick)), pick))
        pieces += [packet(early(pick)) for _ in range(pick.randint(0, 4))]
    elif kind == "early":
        pieces += [packet(early(pick)) for _ in range(pick.randint(1, 30))]
    elif kind == "sizes":
        length = pick.choice((0, 1, 4, 7, 8, 2**15, 2**18, 2**18 + 1, 2**31 - 1, 2**31, 2**32 - 1))
        pieces.append(struct.pack(">I", length) + pick.randbytes(pick.choice((0, 1, 16, 40_000))))
    else:
        pieces.append(pick.randbytes(pick.randint(1, 5000)))
    return pieces


def kexinit(pick: Random) -> bytes:
    """SSH_MSG_KEXINIT (RFC 4253, section 7.1), with some of its lists changed."""
    lists = [*NAMES[:2], NAMES[2], NAMES[2], NAMES[3], NAMES[3], NAMES[4], NAMES[4], (), ()]
    odd = (b"", b",", b",,,", b"none", b"\xff", b"x" * 50_000, b"a\0b", b",".join([b"curve25519-sha256"] * 3000))
    encoded = [pick.choice(odd) if pick.random() < 0.1 else b",".join(names) for names in lists]
    tail = bytes([pick.choice((0, 0, 1, 255))]) + struct.pack(">I", pick.choice((0, 0, 2**32 - 1)))
    return b"\x14" + pick.randbytes(16) + b"".join(string(names) for names in encoded) + tail


def early(pick: Random) -> bytes:
    """What has no place before the keys are there."""
    kind = pick.choice(
        (1, 2, 3, 4, 5, 6, 7, 20, 21, 30, 31, 32, 33, 34, 50, 51, 60, 80, 90, 94, 98, pick.randrange(256))
    )
    body = pick.choice(
        (b"", string(b"ssh-userauth"), string(b"x" * 32), string(b"\x04" + b"\xff" * 64), pick.randbytes(40))
    )
    return bytes([kind]) + body


def packet(payload: bytes) -> bytes:
    """A packet of the phase without a cipher (RFC 4253, section 6)."""
    padding = 8 - (5 + len(payload)) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", 1 + len(payload) + padding, padding) + payload + b"\0" * padding


def mutated(data: bytes, pick: Random) -> bytes:
    """The same with bytes changed, cut out, doubled, or the end missing; a third is left as it is."""
    changed = bytearray(data)
    for _ in range(pick.choice((0, 0, 1, 1, 2, 8))):
        at = pick.randrange(len(changed)) if changed else 0
        match pick.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([pick.randrange(256)])
            case 1:
                del changed[at : at + pick.randint(1, 40)]
            case 2:
                changed[at:at] = changed[at : at + pick.randint(1, 40)]
            case 3:
                changed[at : at + 4] = struct.pack(">I", pick.choice((0, 1, 2**31, 2**32 - 1, len(changed))))
            case _:
                del changed[at:]
    return bytes(changed)


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
