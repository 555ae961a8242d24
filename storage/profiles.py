"""Profiles of device models, kept with each of their versions."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from sensors.profiles import Profile, ProfileError
from storage.alert_rules import Origin
from storage.devices import DEVICES_CHANGED, DEVICES_CHANNEL
from storage.kinds import Connection


class ProfileUsedError(ProfileError):
    """A profile is in use, and can't become another."""


@dataclasses.dataclass(frozen=True, slots=True)
class StoredProfile:
    """A profile as it is kept; ``sources`` are how many it is used for."""

    profile: Profile
    version: int
    origin: Origin
    changed_at: dt.datetime
    changed_by: str
    sources: int


_SELECT = """
    SELECT p.definition, p.version, p.origin, p.changed_at, p.changed_by,
           (SELECT count(*) FROM alatau.source s WHERE s.profile = p.name) AS sources
    FROM alatau.profile p
"""


def _profile(row: Any) -> StoredProfile:
    return StoredProfile(
        msgspec.convert(row["definition"], Profile),
        row["version"],
        Origin(row["origin"]),
        row["changed_at"],
        row["changed_by"],
        row["sources"],
    )


async def list_profiles(connection: Connection) -> list[StoredProfile]:
    """Return all profiles in the order of their names."""
    return [_profile(row) for row in await connection.fetch(f"{_SELECT} ORDER BY p.name")]


async def find_profile(connection: Connection, name: str) -> StoredProfile | None:
    """Return one profile."""
    row = await connection.fetchrow(f"{_SELECT} WHERE p.name = $1", name)
    return None if row is None else _profile(row)


async def put_profile(connection: Connection, profile: Profile, origin: Origin, by: str) -> bool:
    """Store a profile as a new version of the one of its name, announce it; return whether that changed anything.

    In a transaction. Raises ProfileUsedError where sources name the one that is there, and it is of another format or
    kind.
    """
    await hold_profile(connection, profile.name)
    known = await find_profile(connection, profile.name)
    if known is not None and known.sources:
        was = known.profile
        if (was.format, was.kind) != (profile.format, profile.kind):
            raise ProfileUsedError(
                f"{known.sources} sources name the profile {profile.name}, which is of {was.format} and {was.kind}; "
                "put this one under another name, or claim them with another one first"
            )
    definition = msgspec.to_builtins(profile)
    row = await connection.fetchrow(
        """
        INSERT INTO alatau.profile AS old (name, definition, origin, changed_by, version)
        SELECT $1, $2, $3, $4, coalesce(max(version), 0) + 1 FROM alatau.profile_version WHERE name = $1
        ON CONFLICT (name) DO UPDATE
        SET definition = $2, origin = $3, changed_by = $4, changed_at = now(),
            version = greatest(old.version + 1, excluded.version)
        WHERE old.definition IS DISTINCT FROM $2
        RETURNING version, changed_at
        """,
        profile.name,
        definition,
        origin.value,
        by,
    )
    if row is None:
        return False
    await connection.execute(
        """
        INSERT INTO alatau.profile_version (name, version, definition, changed_at, changed_by)
        VALUES ($1, $2, $3, $4, $5)
        """,
        profile.name,
        row["version"],
        definition,
        row["changed_at"],
        by,
    )
    await connection.execute("SELECT pg_notify($1, $2)", DEVICES_CHANNEL, DEVICES_CHANGED)
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class ProfileVersion:
    """A profile as it was from a time on."""

    profile: Profile
    version: int
    changed_at: dt.datetime
    changed_by: str


async def list_versions(connection: Connection, name: str, limit: int = 100) -> list[ProfileVersion]:
    """Return the versions of a profile, the newest first, also of one that was deleted."""
    rows = await connection.fetch(
        """
        SELECT definition, version, changed_at, changed_by FROM alatau.profile_version
        WHERE name = $1 ORDER BY version DESC LIMIT $2
        """,
        name,
        limit,
    )
    return [
        ProfileVersion(
            msgspec.convert(row["definition"], Profile), row["version"], row["changed_at"], row["changed_by"]
        )
        for row in rows
    ]


async def put_builtin_profiles(connection: Connection, profiles: Sequence[Profile]) -> int:
    """Store the profiles that come with us, but for those that somebody has changed; return how many are new."""
    known = {stored.profile.name: stored for stored in await list_profiles(connection)}
    count = 0
    for profile in profiles:
        if (stored := known.get(profile.name)) is None or stored.origin is Origin.BUILTIN:
            count += await put_profile(connection, profile, Origin.BUILTIN, "alatau")
    return count


async def hold_profile(connection: Connection, name: str) -> None:
    """Have who claims a source with a profile wait for the end of this transaction, which may delete it."""
    await connection.execute("SELECT FROM alatau.profile WHERE name = $1 FOR UPDATE", name)


async def delete_profile(connection: Connection, name: str) -> bool:
    """Delete a profile that no source uses; its versions stay. Return whether there was one."""
    status = await connection.execute("DELETE FROM alatau.profile WHERE name = $1", name)
    return str(status) != "DELETE 0"
