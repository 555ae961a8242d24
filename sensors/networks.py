"""Addresses: which a program of ours may be sent to by what somebody has entered, and which are one client's."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Translated to IPv4 on the way, RFC 6052.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# What there is of version 6 in public. The rest is reserved, whatever this Python takes it for.
_PUBLIC = ipaddress.IPv6Network("2000::/3")
_RESERVED = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("3fff::/20"))


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return networks as in ``10.0.0.0/8, fd00::/8``. Raises ValueError that says what is wrong."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def parse_ip(host: str) -> Address | None:
    """Return the address that a host is written as, or None of a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_reachable(address: Address, allowed: Sequence[Network]) -> bool:
    """Return whether an address is one of the public internet, or in a network that is allowed.

    What an address of version 6 stands for counts, where it stands for one of version 4.
    """
    if any(address in network for network in allowed):
        return True
    meant = _meant(address)
    if meant != address:
        return is_reachable(meant, allowed)
    if any(address in network for network in _RESERVED):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC:
        return False
    return address.is_global and not address.is_multicast


def _meant(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def network_of(address: str) -> str:
    """Return what one client has of addresses: of IPv6, 64 bits are its own to choose."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped or ipaddress.ip_network((parsed, 64), strict=False))
