"""Accounts of gateways at the broker: who speaks for devices in another format, and under which names it is let in."""

from __future__ import annotations

import re

from sensors.topics import RESERVED_ID_PREFIX

# With these its client id has 23 characters, the most that every client takes.
GATEWAY_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,11}[a-z0-9])?")
_USER_PREFIX = f"{RESERVED_ID_PREFIX}gateway-"
_CLIENT_PREFIX = f"{RESERVED_ID_PREFIX}gw-"
_USER = re.compile(rf"{_USER_PREFIX}(?P<format>[a-z0-9_]+)-(?P<name>{GATEWAY_NAME.pattern})")


def gateway_role(format_name: str) -> str:
    """Return the role of a format's gateways at the broker."""
    return f"{_USER_PREFIX}{format_name}"


def gateway_user(format_name: str, name: str) -> str:
    """Return the user name of a gateway: it says what the account may do."""
    return f"{gateway_role(format_name)}-{name}"


def gateway_client_id(name: str) -> str:
    """Return the one client id that a gateway is let in with; no device has it."""
    return f"{_CLIENT_PREFIX}{name}"


def gateway_of(username: str) -> tuple[str, str] | None:
    """Return format and name of the gateway that a user name is of, None if it is of none."""
    match = _USER.fullmatch(username)
    return (match["format"], match["name"]) if match else None
