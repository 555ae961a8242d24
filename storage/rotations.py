"""Replacing a device's secret, with a time in which the old one and the new one are both good."""

from __future__ import annotations

import datetime as dt

from sensors.accounts import user_name
from sensors.errors import AlatauError
from storage.devices import Credential, change_accounts, compare_accounts, find_device
from storage.kinds import Connection

ENDINGS_CHANNEL = "alatau_endings"  # says that there is a new secret or batch, and so another end


class RotationError(AlatauError):
    """A device has an old secret and a new one already."""


async def replace_credential(
    connection: Connection, device: str, credential: Credential, grace: dt.timedelta = dt.timedelta()
) -> str:
    """Give a device another password, and return the user name that it is for. The old one stays good for ``grace``;
    without one it is no longer stored.

    Raises RotationError while the one before is still good and shall stay so, and of a device with a certificate.
    """
    await change_accounts(connection)
    slot = await connection.fetchval(
        "SELECT alatau.replace_credential($1, $2, $3, $4, $5)",
        device,
        credential.salt,
        credential.hash,
        credential.iterations,
        grace,
    )
    if slot == 0:
        raise RotationError(
            f"device {device} has a certificate, which is of its first account; replace its secret without a grace"
        )
    if slot is None:
        found = await find_device(connection, device)
        until = found and found.old_secret_until
        raise RotationError(
            f"device {device} has two secrets until {until:%Y-%m-%d %H:%M:%S} UTC; wait, or replace both at once, "
            "without a grace"
        )
    return user_name(device, slot)


async def end_rotations(connection: Connection, most: int) -> list[str]:
    """Delete passwords whose time is over, at most so many, and return their user names. In a transaction."""
    await compare_accounts(connection)
    rows = await connection.fetch("SELECT device, ended FROM alatau.end_rotations($1)", most)
    return [user_name(row["device"], row["ended"]) for row in rows]


async def next_end_of_rotation(connection: Connection) -> float | None:
    """Return in how many seconds the next password's time is over, None without any; below 0 when it is."""
    seconds = await connection.fetchval(
        "SELECT extract(epoch FROM min(until) - now())::float8 FROM alatau.device_credential"
    )
    return None if seconds is None else float(seconds)
