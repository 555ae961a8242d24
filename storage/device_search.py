"""Finding devices by ids that may be mistyped."""

from __future__ import annotations

from collections.abc import Sequence

from storage.kinds import Connection


async def missing_devices(connection: Connection, devices: Sequence[str]) -> list[str]:
    """Return which of these ids no device has."""
    rows = await connection.fetch(
        """
        SELECT given FROM unnest($1::text[]) AS given
        WHERE NOT EXISTS (SELECT FROM alatau.device WHERE id = given)
        """,
        devices,
    )
    return [row["given"] for row in rows]


async def neighbours(connection: Connection, device: str, count: int = 50) -> list[str]:
    """Return the ids on either side of one in their order, at most ``count`` each: those spelt most alike at
    the beginning, at the price of two index scans however many devices there are."""
    rows = await connection.fetch(
        """
        (SELECT id FROM alatau.device WHERE id >= $1 ORDER BY id LIMIT $2)
        UNION ALL
        (SELECT id FROM alatau.device WHERE id < $1 ORDER BY id DESC LIMIT $2)
        """,
        device,
        count,
    )
    return [row["id"] for row in rows]
