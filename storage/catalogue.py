"""The catalogue in the database: applied in one transaction, versioned, read back as a snapshot."""

from __future__ import annotations

import dataclasses
from typing import Any

import asyncpg
import msgspec

from sensors.catalogue import Catalogue, CityFile, build_catalogue
from storage.devices import register_devices, update_devices
from storage.errors import RetryableError
from storage.kinds import Connection, ensure_kind
from storage.rollup_tables import ensure_rollups

CATALOGUE_CHANNEL = "alatau_catalogue"


@dataclasses.dataclass(frozen=True, slots=True)
class Applied:
    """What applying a city file did."""

    version: int
    is_new_version: bool
    devices_added: int
    devices_updated: int


async def load_catalogue(connection: Connection) -> tuple[int, Catalogue] | None:
    """Return the newest version and its catalogue, or None before the first was applied."""
    row = await connection.fetchrow(
        "SELECT version, document FROM alatau.catalogue_version ORDER BY version DESC LIMIT 1"
    )
    if row is None:
        return None
    try:
        return row["version"], msgspec.convert(row["document"], Catalogue)
    except msgspec.ValidationError as error:
        raise RetryableError(
            f"catalogue version {row['version']} is not readable by this version: {error}; upgrade, or delete it"
        ) from error


async def newest_version(connection: Connection) -> int | None:
    """Return the newest version's number, without its contents."""
    version: int | None = await connection.fetchval("SELECT max(version) FROM alatau.catalogue_version")
    return version


async def apply_city_file(connection: asyncpg.Connection, file: CityFile, name: str) -> Applied:
    """Merge a city file into the stored catalogue: kinds' tables, districts, devices.

    Idempotent and never destructive; CatalogueError leaves everything as it was.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('alatau.catalogue'))")
        stored = await load_catalogue(connection)
        catalogue = build_catalogue(file, name, stored[1] if stored else None)
        for kind in catalogue.kinds:
            await ensure_kind(connection, kind)
            await ensure_rollups(connection, kind)
        await connection.executemany(
            """
            INSERT INTO alatau.district (name, title, outline) VALUES ($1, $2, $3)
            ON CONFLICT (name) DO UPDATE SET title = EXCLUDED.title, outline = EXCLUDED.outline
            """,
            [(d.name, d.title, d.outline) for d in catalogue.districts],
        )
        added = await register_devices(connection, file.device, catalogue)
        updated = await update_devices(connection, [d for d in file.device if d.id not in added], catalogue)
        if stored and stored[1] == catalogue:
            return Applied(stored[0], is_new_version=False, devices_added=len(added), devices_updated=updated)
        version = await connection.fetchval(
            "INSERT INTO alatau.catalogue_version (document) VALUES ($1) RETURNING version",
            _document(catalogue),
        )
        await connection.execute("SELECT pg_notify($1, '')", CATALOGUE_CHANNEL)
        return Applied(version, is_new_version=True, devices_added=len(added), devices_updated=updated)


def _document(catalogue: Catalogue) -> Any:
    return msgspec.to_builtins(catalogue)
