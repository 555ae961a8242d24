"""Where the broker is."""

from __future__ import annotations

import dataclasses
import urllib.parse


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """The parts of an address; its text is host and port."""

    host: str
    port: int
    is_tls: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """Return the parts of mqtt://host:port or mqtts://host:port."""
    parts = urllib.parse.urlsplit(url)
    is_tls = parts.scheme == "mqtts"
    return Address(parts.hostname or "127.0.0.1", parts.port or (8883 if is_tls else 1883), is_tls)
