"""The stored secret of one device, for whoever compares it in the broker's place."""

from __future__ import annotations

from sensors.accounts import account_of
from storage.devices import Credential
from storage.kinds import Connection


async def find_secret(connection: Connection, username: str) -> Credential | None:
    """Return what is stored of the secret of an account, by its user name at the broker; None where there is none."""
    if (account := account_of(username)) is None:
        return None
    row = await connection.fetchrow(
        "SELECT salt, hash, iterations, is_disabled FROM alatau.device_secret($1, $2)", *account
    )
    return None if row is None else Credential(**row)
