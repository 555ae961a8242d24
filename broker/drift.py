"""Where the broker's accounts of devices differ from the device table, which is the truth."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping

from sensors.accounts import client_id_of


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """A device's account at the broker; ``client_id`` is the only one that it may connect with, None any."""

    username: str
    client_id: str | None
    is_disabled: bool
    has_role: bool = True


class Deviation(enum.StrEnum):
    """What is wrong with an account."""

    MISSING = "missing"  # only a restart of the broker gives it: it takes no hashes while it runs
    UNKNOWN = "unknown"  # of no device that has a secret, or whose time is over
    ENABLED = "enabled"  # of a disabled device
    DISABLED = "disabled"  # of a device that is not
    CLIENT_ID = "client_id"  # another than the device's id, or any
    ROLE = "role"  # without its role, or with another


Drift = Mapping[Deviation, list[str]]


def compare(table: Mapping[str, bool], accounts: Iterable[Account]) -> Drift:
    """Return which accounts deviate, by how; ``table`` has the user name of each, and whether it is disabled."""
    drift: dict[Deviation, list[str]] = {deviation: [] for deviation in Deviation}
    missing = dict(table)
    for account in accounts:
        is_disabled = missing.pop(account.username, None)
        if is_disabled is None:
            drift[Deviation.UNKNOWN].append(account.username)
            continue
        if account.client_id != client_id_of(account.username):
            drift[Deviation.CLIENT_ID].append(account.username)
        if not account.has_role:
            drift[Deviation.ROLE].append(account.username)
        if account.is_disabled != is_disabled:
            drift[Deviation.ENABLED if is_disabled else Deviation.DISABLED].append(account.username)
    drift[Deviation.MISSING] = list(missing)
    return drift
