"""Who speaks another firmware's format: claimed as a device, or only seen."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from sensors.errors import AlatauError, did_you_mean
from sensors.profiles import Profile
from sensors.times import from_microseconds
from storage.devices import DEVICES_CHANGED, DEVICES_CHANNEL
from storage.kinds import Connection

# How many are noted that nobody has claimed; who makes up ever new ones fills no table.
MOST_UNCLAIMED = 10_000
LONGEST_NAME = 256
_UNREADABLE = "a profile can't be read; its sources are read by the names of their fields"
log = structlog.get_logger("storage.sources")
_MOST_FIELDS, _MOST_TOPICS = 100, 64


class SourceError(AlatauError):
    """A source can't be claimed so."""


class HeldError(SourceError):
    """A source is another device's."""


class ClaimedMeanwhileError(AlatauError):
    """A source that nobody had claimed is a device's by now: what it said is to be read again."""


class Bindings(NamedTuple):
    """Whose each source is, as (format, name): (device, profile); and by (format, kind) the profile of those without
    one, which is called ``format-kind``."""

    sources: Mapping[tuple[str, str], tuple[str, Profile | None]]
    defaults: Mapping[tuple[str, str], Profile]


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What an unclaimed source said in some messages, the last of them at ``last_seen`` in Unix µs."""

    format: str
    name: str
    last_seen: int
    messages: int
    fields: Mapping[str, tuple[float, str | None]]
    topics: Sequence[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A source as it is kept. ``messages`` came before it was claimed, and ``fields`` is what they said last: each a
    value, and its unit or None. ``has_kept``: some of them wait to be read again."""

    format: str
    name: str
    device: str | None
    profile: str | None
    first_seen: dt.datetime
    last_seen: dt.datetime
    messages: int
    fields: dict[str, Any]
    topics: list[str]
    has_kept: bool


async def load_bindings(connection: Connection) -> Bindings:
    """Return whose every source is that is a device's."""
    profiles = {}
    for row in await connection.fetch("SELECT name, definition FROM alatau.profile"):
        try:
            profiles[row["name"]] = msgspec.convert(row["definition"], Profile)
        except msgspec.ValidationError as error:
            # Of a later version, perhaps. Telemetry does not wait for it.
            log.warning(_UNREADABLE, profile=row["name"], error=str(error))
    sources = await connection.fetch(
        """
        SELECT s.format, s.name, d.id AS device, s.profile
        FROM alatau.source s JOIN alatau.device d USING (device_id)
        """
    )
    return Bindings(
        {
            (row["format"], row["name"]): (row["device"], profiles.get(row["profile"] or ""))
            for row in sources
        },
        {
            (one.format, one.kind): one
            for one in profiles.values()
            if one.name == default_profile(one.format, one.kind)
        },
    )


def default_profile(wire_format: str, kind: str) -> str:
    """Return the name of the profile of a kind's devices that speak a format, where nothing else is said."""
    return f"{wire_format}-{kind}"


async def profile_for(
    connection: Connection, wire_format: str, kind: str, device: str | None
) -> Profile | None:
    """Return the profile by which a device's messages of a format are read where nobody names one: that of its own
    topic or its first source, else the kind's; None where there is neither."""
    definition = await connection.fetchval(
        """
        SELECT definition FROM alatau.profile WHERE name = coalesce(
            (SELECT s.profile FROM alatau.source s JOIN alatau.device d USING (device_id)
             WHERE s.format = $1 AND d.id = $2 ORDER BY s.name <> $2, s.name LIMIT 1), $3)
            AND definition->>'format' = $1 AND definition->>'kind' = $4
        """,
        wire_format,
        device,
        default_profile(wire_format, kind),
        kind,
    )
    return None if definition is None else msgspec.convert(definition, Profile)


async def note_seen(connection: Connection, seen: Sequence[Seen]) -> None:
    """Note what unclaimed sources said, in a transaction.

    Beyond ``MOST_UNCLAIMED`` the longest silent are forgotten. Raises ClaimedMeanwhileError: who claims a source waits
    for this transaction and finds what it kept, or this one waits and finds the claim.
    """
    rows = [
        {
            "format": one.format,
            "name": one.name,
            "last_seen": from_microseconds(one.last_seen).isoformat(),
            "messages": one.messages,
            "fields": {name: list(said) for name, said in list(one.fields.items())[:_MOST_FIELDS]},
            "topics": list(one.topics)[:_MOST_TOPICS],
        }
        for one in seen
    ]
    noted = await connection.fetch(
        """
        INSERT INTO alatau.source AS old (format, name, first_seen, last_seen, messages, fields, topics)
        SELECT format, name, last_seen, last_seen, messages, fields, topics
        FROM jsonb_to_recordset($1) AS new (
            format text, name text, last_seen timestamptz, messages bigint, fields jsonb, topics text[])
        ORDER BY format, name
        ON CONFLICT (format, name) DO UPDATE
        SET last_seen = greatest(old.last_seen, excluded.last_seen),
            messages = old.messages + excluded.messages,
            fields = (SELECT coalesce(jsonb_object_agg(f.key, f.value), '{}') FROM (
                SELECT key, value FROM jsonb_each(old.fields || excluded.fields)
                ORDER BY excluded.fields ? key DESC, key LIMIT $3) f),
            topics = (SELECT array_agg(topic ORDER BY topic) FROM (
                SELECT DISTINCT topic FROM unnest(old.topics || excluded.topics) AS topic ORDER BY topic LIMIT $2) t)
        RETURNING device_id
        """,
        rows,
        _MOST_TOPICS,
        _MOST_FIELDS,
    )
    if any(row["device_id"] is not None for row in noted):
        raise ClaimedMeanwhileError("a source was claimed a moment ago")
    await connection.execute(
        """
        DELETE FROM alatau.source WHERE device_id IS NULL AND (format, name) IN (
            SELECT format, name FROM alatau.source WHERE device_id IS NULL ORDER BY last_seen DESC OFFSET $1)
        """,
        MOST_UNCLAIMED,
    )


_SELECT = """
    SELECT s.format, s.name, d.id AS device, s.profile, s.first_seen, s.last_seen, s.messages, s.fields, s.topics,
           s.kept_after IS NOT NULL AS has_kept
    FROM alatau.source s LEFT JOIN alatau.device d USING (device_id)
"""


async def list_sources(
    connection: Connection,
    *,
    claimed: bool | None = None,
    wire_format: str | None = None,
    after: tuple[str, str] = ("", ""),
    limit: int = 100,
) -> list[Source]:
    """Return sources in the order of format and name, beginning after one of them."""
    rows = await connection.fetch(
        f"""
        {_SELECT}
        WHERE (s.format, s.name) > ($1, $2) AND ($3::boolean IS NULL OR (s.device_id IS NOT NULL) = $3)
              AND ($4::text IS NULL OR s.format = $4)
        ORDER BY s.format, s.name LIMIT $5
        """,
        *after,
        claimed,
        wire_format,
        limit,
    )
    return [Source(**row) for row in rows]


async def find_source(connection: Connection, wire_format: str, name: str) -> Source | None:
    """Return one source."""
    row = await connection.fetchrow(f"{_SELECT} WHERE s.format = $1 AND s.name = $2", wire_format, name)
    return None if row is None else Source(**row)


async def claim_source(
    connection: Connection, wire_format: str, name: str, device: str, profile: str | None
) -> None:
    """Make a source a device's, seen or not yet, and have what was kept of it read again; announce it.

    In a transaction. Raises SourceError, HeldError where it is another device's.
    """
    number = await connection.fetchval("SELECT device_id FROM alatau.device WHERE id = $1", device)
    if number is None:
        raise SourceError(
            f'no device "{device[:80]}" is registered; register it first (alatau device add), or claim for another'
        )
    known = await connection.fetchrow(
        "SELECT definition FROM alatau.profile WHERE name = $1 FOR KEY SHARE", profile
    )
    if profile is not None and known is None:
        raise SourceError(
            f'no profile "{profile[:80]}" is known; {did_you_mean(profile, await _profiles(connection))}'
        )
    if known is not None:
        await _check_fits(connection, msgspec.convert(known["definition"], Profile), wire_format, device)
    holder = await connection.fetchval(
        """
        INSERT INTO alatau.source AS old (format, name, device_id, profile) VALUES ($1, $2, $3, $4)
        ON CONFLICT (format, name) DO UPDATE
        SET device_id = $3, profile = $4, changed_at = clock_timestamp(),
            kept_after = CASE WHEN old.topics <> '{}' THEN 0 END
        WHERE old.device_id IS NULL OR old.device_id = $3
        RETURNING device_id
        """,
        wire_format,
        name,
        number,
        profile,
    )
    if holder is None:
        raise HeldError(f"{wire_format} {name} is another device's; release it first")
    await connection.execute("SELECT pg_notify($1, $2)", DEVICES_CHANNEL, DEVICES_CHANGED)


async def _profiles(connection: Connection) -> list[str]:
    return [row["name"] for row in await connection.fetch("SELECT name FROM alatau.profile")]


async def _check_fits(connection: Connection, profile: Profile, wire_format: str, device: str) -> None:
    kind = await connection.fetchval("SELECT kind FROM alatau.device WHERE id = $1", device)
    if profile.format != wire_format:
        raise SourceError(
            f"profile {profile.name} is of {profile.format}, the source of {wire_format}; choose another"
        )
    if profile.kind != kind:
        raise SourceError(
            f"profile {profile.name} is of {profile.kind}, {device} is registered as {kind}; choose another"
        )


async def release_source(connection: Connection, wire_format: str, name: str) -> str | None:
    """Make a source nobody's; what it sends from then on is kept as unclaimed. Return whose it was."""
    device: str | None = await connection.fetchval(
        """
        WITH old AS (
            SELECT format, name, d.id FROM alatau.source JOIN alatau.device d USING (device_id)
            WHERE format = $1 AND name = $2 FOR UPDATE OF source
        )
        UPDATE alatau.source s
        SET device_id = NULL, profile = NULL, kept_after = NULL, changed_at = clock_timestamp()
        FROM old WHERE s.format = old.format AND s.name = old.name
        RETURNING old.id
        """,
        wire_format,
        name,
    )
    await connection.execute("SELECT pg_notify($1, $2)", DEVICES_CHANNEL, DEVICES_CHANGED)
    return device
