"""Addresses that servers listen at: whether they leave this machine, and what the machine is called there."""

import ipaddress
import socket
from contextlib import suppress

# Of the ranges for documentation: nothing is sent to them, they only say which way a network lies.
_SOMEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches who listens at `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reached_at(host: str) -> list[str]:
    """Return where others reach one that listens at `host`; for all addresses, those of the way to the network."""
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = host == ""
    if not everywhere:
        return [host]
    return [*_own_addresses(), socket.gethostname()]


def _own_addresses() -> list[str]:
    found = []
    for family, somewhere in _SOMEWHERE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as way:
            way.connect((somewhere, 9))
            found.append(str(way.getsockname()[0]))
    return found
