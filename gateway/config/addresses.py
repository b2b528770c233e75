"""Addresses and networks: what stands in a list of them, and whether an address is in one."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAPPED_BITS = 96
"""So many bits of an IPv6 address stand before the IPv4 address that is mapped into it."""


@lru_cache(4096)
def network(text: str) -> Network:
    """An address or a network, or ValueError; IPv4 that is mapped into IPv6 is IPv4."""
    try:
        found = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"'{text}' is no address and no network, as in '203.0.113.7' or '2001:db8:1::/48'") from None
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    if mapped is None or found.prefixlen < MAPPED_BITS:
        return found
    return ipaddress.IPv4Network((mapped, found.prefixlen - MAPPED_BITS))


def networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The same texts, or ValueError for the first that is none; for validators."""
    for text in texts:
        network(text)
    return texts


def plain(address: str) -> Address:
    """An address without its zone; IPv4 that is mapped into IPv6 is IPv4."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


def is_in(address: str | None, allowed: Iterable[str]) -> bool:
    """Whether an address is in one of the networks; one that is not known is in none."""
    return address is not None and any(plain(address) in network(text) for text in allowed)
