"""Gateways, which speak for devices in another format: their table is the truth that the broker's file is made from."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from sensors.gateways import gateway_user
from storage.devices import Credential, change_accounts, compare_accounts
from storage.kinds import Connection


@dataclasses.dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway of a format; while ``disabled_at`` is set, the broker keeps it out."""

    name: str
    format: str
    created_at: dt.datetime
    created_by: str
    disabled_at: dt.datetime | None

    @property
    def user(self) -> str:
        """Its user name at the broker."""
        return gateway_user(self.format, self.name)


_SELECT = "SELECT name, format, created_at, created_by, disabled_at FROM alatau.gateway"


def _gateway(row: Any) -> Gateway:
    return Gateway(**row)


async def add_gateway(
    connection: Connection, name: str, format_name: str, secret: Credential, who: str
) -> Gateway | None:
    """Add a gateway; return None if there is one of this name, whatever its format."""
    await change_accounts(connection)
    row = await connection.fetchrow(
        """
        INSERT INTO alatau.gateway (name, format, salt, hash, iterations, created_by)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING
        RETURNING name, format, created_at, created_by, disabled_at
        """,
        name,
        format_name,
        secret.salt,
        secret.hash,
        secret.iterations,
        who,
    )
    return None if row is None else _gateway(row)


async def list_gateways(connection: Connection) -> list[Gateway]:
    """Return all gateways in the order of their names."""
    return [_gateway(row) for row in await connection.fetch(f"{_SELECT} ORDER BY name")]


async def hold_gateway(connection: Connection, name: str) -> Gateway | None:
    """Return a gateway by its name, which nobody changes before the transaction ends; for one who changes it."""
    await change_accounts(connection)
    row = await connection.fetchrow(f"{_SELECT} WHERE name = $1 FOR UPDATE", name)
    return None if row is None else _gateway(row)


async def disable_gateway(connection: Connection, name: str) -> None:
    """Keep a gateway out of the broker; once more changes nothing."""
    await connection.execute(
        "UPDATE alatau.gateway SET disabled_at = coalesce(disabled_at, now()) WHERE name = $1", name
    )


async def enable_gateway(connection: Connection, name: str) -> None:
    """Let a gateway in again; once more changes nothing."""
    await connection.execute("UPDATE alatau.gateway SET disabled_at = NULL WHERE name = $1", name)


async def replace_gateway_secret(connection: Connection, name: str, secret: Credential) -> None:
    """Give a gateway another secret in the place of the one that it has."""
    await connection.execute(
        "UPDATE alatau.gateway SET salt = $2, hash = $3, iterations = $4 WHERE name = $1",
        name,
        secret.salt,
        secret.hash,
        secret.iterations,
    )


async def remove_gateway(connection: Connection, name: str) -> Gateway | None:
    """Delete a gateway, and return it, None if there is none. What it has said stays."""
    await change_accounts(connection)
    row = await connection.fetchrow(
        """
        DELETE FROM alatau.gateway WHERE name = $1
        RETURNING name, format, created_at, created_by, disabled_at
        """,
        name,
    )
    return None if row is None else _gateway(row)


async def load_gateway_credentials(connection: Connection) -> dict[str, Credential]:
    """Return the stored secrets of gateways, by user name at the broker; only the owner's role may."""
    rows = await connection.fetch(
        "SELECT name, format, salt, hash, iterations, disabled_at IS NOT NULL AS is_disabled FROM alatau.gateway"
    )
    return {
        gateway_user(row["format"], row["name"]): Credential(
            row["salt"], row["hash"], row["iterations"], row["is_disabled"]
        )
        for row in rows
    }


async def hold_gateway_accounts(connection: Connection) -> dict[str, bool]:
    """Return the user names of gateways, with whether the broker shall keep each out, as ``hold_accounts`` does."""
    await compare_accounts(connection)
    return {one.user: one.disabled_at is not None for one in await list_gateways(connection)}
