"""User names at the broker of who is let in with one client id alone: devices, whose id it is, and gateways."""

from __future__ import annotations

import datetime as dt

from sensors.gateways import gateway_client_id, gateway_of
from sensors.times import DAY, parse_duration
from sensors.topics import DEVICE_ID

# No id of a device has this character.
_SEPARATOR = "~"
# A device has one account; during a rotation it has two, and after it the other one.
SLOTS = (1, 2)
LONGEST_GRACE = dt.timedelta(days=30)


def user_name(device: str, slot: int) -> str:
    """Return the user name of a device's account: its id, or the id and a mark for the second."""
    return device if slot == 1 else f"{device}{_SEPARATOR}{slot}"


def user_names(device: str) -> list[str]:
    """Return both user names that a device may have."""
    return [user_name(device, slot) for slot in SLOTS]


def client_id_of(username: str) -> str:
    """Return the one client id that an account is let in with: a newer connection then ends the older."""
    if (gateway := gateway_of(username)) is not None:
        return gateway_client_id(gateway[1])
    return username.partition(_SEPARATOR)[0]


def account_of(username: str) -> tuple[str, int] | None:
    """Return whose account a user name is, and which of theirs; None of what no device's can be."""
    device = client_id_of(username)
    if not DEVICE_ID.fullmatch(device) or username not in user_names(device):
        return None
    return device, SLOTS[user_names(device).index(username)]


def parse_grace(text: str) -> dt.timedelta:
    """Return for how long an old secret stays good beside a new one. Raises ValueError that says what is right."""
    microseconds = parse_duration(text)
    if not 0 <= microseconds <= LONGEST_GRACE.days * DAY:
        raise ValueError(f"{text[:40]!r} is not from PT0S to P{LONGEST_GRACE.days}D; write P1D for a day")
    return dt.timedelta(microseconds=microseconds)
