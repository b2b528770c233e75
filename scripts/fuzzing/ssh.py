"""What comes after the key exchange: logins that must fail; after a good one, channels and requests of every kind."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from random import Random

import paramiko

from scripts.fuzzing import names
from scripts.fuzzing.findings import Hangs, Wrong
from scripts.fuzzing.site import ATTACKER, CANARY, HOST, Site
from scripts.fuzzing.wire import PATIENCE_SECONDS, mutated, string

ANSWER_SECONDS_MAX = 30.0
METHODS = (
    b"none",
    b"password",
    b"publickey",
    b"keyboard-interactive",
    b"hostbased",
    b"gssapi-with-mic",
    b"",
    b"\xff\xfe",
)
SERVICES = (b"ssh-connection", b"ssh-connection", b"ssh-userauth", b"", b"\xff", b"x" * 3000)
GLOBALS = (
    b"tcpip-forward", b"cancel-tcpip-forward", b"streamlocal-forward@openssh.com", b"no-more-sessions@openssh.com",
    b"cancel-streamlocal-forward@openssh.com", b"hostkeys-prove-00@openssh.com", b"keepalive@openssh.com", b"", b"\xff",
)  # fmt: skip
CHANNELS = (
    b"session", b"session", b"direct-tcpip", b"forwarded-tcpip", b"x11", b"auth-agent@openssh.com", b"tun@openssh.com",
    b"direct-streamlocal@openssh.com", b"forwarded-streamlocal@openssh.com", b"", b"\xff\xfe", b"s" * 5000,
)  # fmt: skip
REQUESTS = (
    b"pty-req", b"env", b"x11-req", b"auth-agent-req@openssh.com", b"exec", b"exec", b"shell", b"subsystem", b"signal",
    b"window-change", b"exit-status", b"exit-signal", b"xon-xoff", b"break", b"eow@openssh.com", b"\xff", b"",
)  # fmt: skip
COMMANDS = (
    b"id", b"sh", b"sha256sum /etc/passwd", b"md5sum inbox/people/secret.csv", b"sha1sum ../../third/outbox", b"'",
    b"\\",
    b"sha256sum \xff\xfe", b"sha256sum 'a\0b'", b"md5sum " + b"x " * 20_000, b"\0", b"", b"scp -t /", b"md5sum -- --",
    b"sha256sum /inbox/people/\xed\xa0\x80", b"internal-sftp", b"sha256sum outbox/people/big.accepted.csv; id",
)  # fmt: skip


def connected(site: Site) -> paramiko.Transport:
    """A connection with its keys exchanged."""
    transport = paramiko.Transport(socket.create_connection((HOST, site.port), timeout=PATIENCE_SECONDS))
    try:
        transport.start_client(timeout=ANSWER_SECONDS_MAX)
    except BaseException:
        transport.close()
        raise
    return transport


def logged_in(site: Site, user: str = ATTACKER) -> paramiko.Transport:
    """Raises Hangs when a good key does not get in."""
    try:
        transport = connected(site)
        transport.auth_publickey(user, site.key)
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise Hangs(f"a good login was not answered: {type(error).__name__}") from error
    return transport


def try_login(site: Site, pick: Random) -> None:
    """Requests for a login that must not succeed; whatever they are, the connection is cut in time."""
    try:
        transport = connected(site)
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise Hangs(f"no key exchange: {type(error).__name__}") from error
    try:
        if pick.random() < 0.9:
            send(transport, b"\x05" + string(pick.choice((b"ssh-userauth",) * 8 + SERVICES)))
        for _ in range(pick.randint(1, 12)):
            send(transport, mutated(authentication(pick), pick))
        if pick.random() < 0.1:
            ends(transport)
    finally:
        transport.close()


def ends(transport: paramiko.Transport) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while transport.is_active():
        if time.monotonic() > deadline:
            raise Hangs("a connection that did not log in stays open")
        time.sleep(0.05)


def authentication(pick: Random) -> bytes:
    """SSH_MSG_USERAUTH_REQUEST (RFC 4252, section 5), mostly, with all that can be asked for."""
    if pick.random() < 0.1:
        return bytes([pick.choice((52, 53, 61, 60, 80, 90, 98, 5, 6, 20))]) + pick.randbytes(pick.randint(0, 60))
    user = pick.choice((*names.USERNAMES, b"acme-fuzz", b"acme-fuzz", b"acme-fuzz"))
    method = pick.choice(METHODS)
    head = b"\x32" + string(user) + string(pick.choice(SERVICES)) + string(method)
    blob = pick.choice(
        (b"", b"\0" * 9, string(b"ssh-ed25519") + string(b"k" * 32), pick.randbytes(80), b"\xff" * 20_000)
    )
    match method:
        case b"password":
            word = pick.choice((b"", b"\0", b"guess", b"\xff\xfe", b"p" * 100_000))
            return head + pick.choice((b"\0", b"\1", b"\2")) + string(word) + pick.choice((b"", string(b"new")))
        case b"publickey":
            kind = pick.choice((b"ssh-ed25519", b"ssh-rsa", b"rsa-sha2-512", b"", b"ssh-dss", b"\xff"))
            signed = pick.choice((b"", string(string(kind) + string(b"s" * 64)), string(b"")))
            return head + (b"\1" if signed else b"\0") + string(kind) + string(blob) + signed
        case b"keyboard-interactive":
            return head + string(b"") + string(pick.choice((b"", b"pam", b"\xff"))) + pick.choice((b"", string(b"x")))
        case b"hostbased":
            return head + string(b"ssh-ed25519") + string(blob) + string(b"host") + string(b"root") + string(b"s")
        case _:
            return head + pick.randbytes(pick.randint(0, 30))


def use_channels(site: Site, pick: Random) -> None:
    """After a good login: forwarding in every form is refused, and what is odd ends this connection at most."""
    transport = logged_in(site)
    try:
        refuse_forwarding(transport, pick)
        with suppress(OSError, EOFError, paramiko.SSHException):
            channel = transport.open_session(timeout=ANSWER_SECONDS_MAX)
            for _ in range(pick.randint(1, 25)):
                send(transport, mutated(connection_packet(channel.remote_chanid, pick), pick))
            if pick.random() < 0.1:
                time.sleep(0.3)
    finally:
        transport.close()


def refuse_forwarding(transport: paramiko.Transport, pick: Random) -> None:
    match pick.randrange(4):
        case 0:
            reply = transport.global_request("tcpip-forward", (HOST, pick.choice((0, 22, 8080))), wait=True)
            if reply is not None:
                raise Wrong("a port is forwarded")
        case 1:
            path = str(pick.choice(("/tmp/fuzz.sock", "")))  # noqa: S108 - Asked of the gateway, which must not make it.
            if transport.global_request("streamlocal-forward@openssh.com", (path,), wait=True) is not None:
                raise Wrong("a socket is forwarded")
        case 2:
            with suppress(OSError, EOFError, paramiko.SSHException):
                transport.open_channel("direct-tcpip", (HOST, 22), (HOST, 1), timeout=ANSWER_SECONDS_MAX)
                raise Wrong("a connection is forwarded")
        case _:
            pass


def connection_packet(channel: int, pick: Random) -> bytes:
    """A packet of the connection protocol (RFC 4254)."""
    number = pick.choice((channel, channel, channel, channel + 1, 99, 2**31, 2**32 - 1))
    size = pick.choice((0, 1, 2**15, 2**31, 2**32 - 1))
    wants = pick.choice((b"\0", b"\1"))
    text = pick.choice((b"", b"x", b"\xff", b"LANG", pick.choice(names.PATHS), b"t" * 30_000))
    match pick.randrange(10):
        case 0:
            body = string(text) + struct.pack(">I", pick.choice((0, 22, 2**32 - 1)))
            return b"\x50" + string(pick.choice(GLOBALS)) + wants + body
        case 1 | 2:
            head = string(pick.choice(CHANNELS)) + struct.pack(">III", pick.choice((7, 0, 2**32 - 1)), size, size)
            return b"\x5a" + head + string(text) + struct.pack(">I", 22) + string(text) + struct.pack(">I", 22)
        case 3:
            return b"\x5d" + struct.pack(">II", number, size)
        case 4:
            return b"\x5e" + struct.pack(">I", number) + string(text)
        case 5:
            return b"\x5f" + struct.pack(">II", number, pick.choice((0, 1, 2, 2**32 - 1))) + string(text)
        case 6:
            return bytes([pick.choice((96, 97, 91, 92, 99, 100, 81, 82))]) + struct.pack(">III", number, 0, size)
        case 7:
            return bytes([pick.randrange(256)]) + pick.randbytes(pick.randint(0, 100))
        case _:
            kind = pick.choice(REQUESTS)
            body = (
                string(pick.choice(COMMANDS)) if kind in (b"exec", b"subsystem") else string(text) + pick.randbytes(20)
            )
            return b"\x62" + struct.pack(">I", number) + string(kind) + wants + body


def send(transport: paramiko.Transport, payload: bytes) -> None:
    """As it is, encrypted; a connection that the gateway has ended takes nothing any more."""
    with suppress(OSError, EOFError, paramiko.SSHException, AttributeError):
        if payload and transport.is_active():
            transport._send_message(paramiko.Message(payload))  # type: ignore[attr-defined]


__all__ = ["CANARY", "logged_in", "try_login", "use_channels"]
