"""The stored secret of one account, for whoever compares it in the broker's place."""

from __future__ import annotations

from sensors.accounts import account_of
from sensors.gateways import gateway_of
from storage.devices import Credential
from storage.kinds import Connection

_FOUND = "SELECT salt, hash, iterations, is_disabled FROM"


async def find_secret(connection: Connection, username: str) -> Credential | None:
    """Return what is stored of the secret of a device's or a gateway's account, by its user name at the broker; None
    where there is none."""
    if (gateway := gateway_of(username)) is not None:
        of_format, name = gateway
        row = await connection.fetchrow(f"{_FOUND} alatau.gateway_secret($1, $2)", name, of_format)
    elif (account := account_of(username)) is not None:
        row = await connection.fetchrow(f"{_FOUND} alatau.device_secret($1, $2)", *account)
    else:
        row = None
    return None if row is None else Credential(**row)
