"""The keys by which clients recognise this server: made, read, and offered with SHA-2 only.

Of several keys of one kind the first is used, and the others are only announced (hostkeys-00@openssh.com): so a client
learns the next key while the present one still proves who says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import asyncssh

from gateway import durable
from gateway.config.keys import RSA_BITS_MIN, strings
from gateway.errors import ConfigError

Kind = Literal["ed25519", "rsa"]

ALGORITHMS: Final[dict[Kind, str]] = {"ed25519": "ssh-ed25519", "rsa": "ssh-rsa"}
RECIPES: Final[dict[Kind, str]] = {"ed25519": "ssh-keygen -t ed25519", "rsa": f"ssh-keygen -t rsa -b {RSA_BITS_MIN}"}
# The last one also signs the proof that we have a key which we announce: what OpenSSH asks for.
RSA_SIGNATURES: Final = (b"rsa-sha2-256", b"rsa-sha2-512")
RSA_BITS_LEAST: Final = 2048


@dataclass(frozen=True, slots=True)
class HostKey:
    """A private host key, and the file that it stands in."""

    path: Path
    key: asyncssh.SSHKey

    @property
    def kind(self) -> str:
        """As users know it: "ed25519", "rsa" or, where somebody has put one there, "ecdsa-sha2-nistp256"."""
        name = self.key.get_algorithm()
        return next((kind for kind, algorithm in ALGORITHMS.items() if algorithm == name), name)

    @property
    def rsa_bits(self) -> int | None:
        """The size of an RSA key; None for the other kinds, which have but one."""
        if self.kind != "rsa":
            return None
        return int.from_bytes(list(strings(self.key.public_data))[2], "big").bit_length()

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as ssh shows it to a partner who logs in for the first time."""
        return self.key.get_fingerprint()


def make(path: Path, kind: Kind) -> HostKey:
    """A new key, and its .pub file beside it. FileExistsError when there is a file already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if kind == "rsa":
        key = asyncssh.generate_private_key(ALGORITHMS[kind], key_size=RSA_BITS_MIN)
    else:
        key = asyncssh.generate_private_key(ALGORITHMS[kind])
    durable.write(path, key.export_private_key(), 0o600, replace=False)
    durable.write(path.with_name(f"{path.name}.pub"), key.export_public_key(), 0o644)
    return HostKey(path, key)


def kind_of_name(path: Path) -> Kind:
    """The kind that a file's name promises."""
    return "rsa" if "rsa" in path.name else "ed25519"


def recipe(path: Path) -> str:
    """The command that makes the key which is missing there."""
    return f"{RECIPES[kind_of_name(path)]} -N '' -f {path}"


def load(path: Path) -> HostKey:
    """The key in a file, or ConfigError with what to do."""
    try:
        found = HostKey(path, asyncssh.read_private_key(path))
    except (OSError, asyncssh.KeyImportError) as error:
        raise ConfigError(
            f"gateway.toml: sftp.host_keys: {path} cannot be used ({error}); make one with: {recipe(path)}"
        ) from error
    if (bits := found.rsa_bits) is not None and bits < RSA_BITS_LEAST:
        raise ConfigError(
            f"gateway.toml: sftp.host_keys: {path} has {bits} bits only, and clients refuse that; "
            f"take {RSA_BITS_MIN}: {recipe(path)}"
        )
    return found


def key_pairs(paths: Iterable[Path]) -> list[asyncssh.SSHKeyPair]:
    """What asyncssh's listener wants as `server_host_keys`."""
    return [pair for path in paths for pair in pairs_of(load(path).key)]


def pairs_of(key: asyncssh.SSHKey) -> Iterator[asyncssh.SSHKeyPair]:
    """A pair of a key. asyncssh would also offer an RSA key with SHA-1, and keep in it what one client has chosen while
    it signs for another: so there is one for each of the algorithms that are left."""
    if key.get_algorithm() != "ssh-rsa":
        yield from asyncssh.load_keypairs(key)
        return
    for algorithm in RSA_SIGNATURES:
        for pair in asyncssh.load_keypairs(key):
            pair.host_key_algorithms = (algorithm,)
            pair.set_sig_algorithm(algorithm)
            yield pair
