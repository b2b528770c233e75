"""Which algorithms a client may choose from: for the key exchange, the ciphers and the MACs.

Strict key exchange (against CVE-2023-48795, Terrapin) is asyncssh's own part, and always on with clients that know it.
Those of signatures are in `certificates`, those of host keys in `host_keys`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from asyncssh.mac import get_mac_algs

Crypto = Literal["default", "strict"]


@dataclass(frozen=True, slots=True)
class Algorithms:
    """What is offered, the best first; a client takes the first of its own list that is among them."""

    exchanges: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]

    def __add__(self, other: Algorithms) -> Algorithms:
        return Algorithms(self.exchanges + other.exchanges, self.ciphers + other.ciphers, self.macs + other.macs)


# What OpenSSH before 10 takes beside CTR, which it prefers to GCM; a fifth faster than HMAC. It needs libnettle here.
UMAC: Final = "umac-128-etm@openssh.com"

STRICT: Final = Algorithms(
    # Of post-quantum exchanges the one that OpenSSH (from 9.9) and asyncssh have in common, without a NIST curve.
    exchanges=("mlkem768x25519-sha256",),
    # AES-GCM is the fastest here by far. chacha20-poly1305 is left out: OpenSSH would prefer it, and it is slower.
    ciphers=("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
    # GCM needs none; SSH wants a list all the same.
    macs=(
        *((UMAC,) if UMAC.encode() in get_mac_algs() else ()),
        *("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
    ),
)

FOR_OLD_CLIENTS: Final = Algorithms(
    # OpenSSH before 9.9, PuTTY, libssh2 (curl), Go (rclone), ssh2 of npm: no post-quantum exchange in common with us.
    # Diffie-Hellman over plain numbers is left out: it costs us the most, and cryptography is about to give it up.
    exchanges=("curve25519-sha256", "curve25519-sha256@libssh.org"),
    # libssh2 1.10 (curl) has no GCM, and neither have older Java clients.
    ciphers=("aes128-ctr", "aes192-ctr", "aes256-ctr"),
    # libssh2 1.10 (curl) has no encrypt-then-MAC either.
    macs=("hmac-sha2-256", "hmac-sha2-512"),
)

BY_SETTING: Final[dict[Crypto, Algorithms]] = {"default": STRICT + FOR_OLD_CLIENTS, "strict": STRICT}


def listener_options(crypto: Crypto) -> dict[str, Any]:
    """The options of asyncssh's listener."""
    algorithms = BY_SETTING[crypto]
    return {
        "kex_algs": list(algorithms.exchanges),
        "encryption_algs": list(algorithms.ciphers),
        "mac_algs": list(algorithms.macs),
        "compression_algs": None,
    }
