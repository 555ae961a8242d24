"""Planning a series: which tables of each kind say what, in one snapshot; and who is in which group."""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Sequence
from typing import Any

import numpy as np

from sensors.kinds import Kind
from sensors.times import from_microseconds
from storage.kinds import Connection
from storage.rollup_marks import Ranges, as_microseconds, merge_ranges
from storage.rollup_progress import Progress, read_progress
from storage.rollup_tables import Level, Tier
from storage.selection import Selection, condition
from storage.series_query import CARRY, OF_DEVICES, OF_READINGS, GroupBy, SeriesQuery
from storage.sources import Segment, cover, split_dirty, tiers_for, widen


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One table's share: a kind's readings or rollups in a segment.

    ``only`` are the devices and times that count, ``without`` those that don't; None is no such bound.
    """

    kind: Kind
    segment: Segment
    level: Level | None  # None are the readings
    only: Ranges | None = None
    without: Ranges | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """All parts of a question; those of readings that are followed; the districts in their order, where they are asked
    for; and what is gone."""

    parts: tuple[Part, ...]
    followed: tuple[Part, ...]
    districts: tuple[str, ...]
    gone: tuple[tuple[int, int], ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of what is read, the coarsest first."""
        used = {
            "raw" if part.level is None else str(part.segment.tier) for part in (*self.parts, *self.followed)
        }
        return tuple(name for name in ("1d", "1h", "5m", "raw") if name in used)


def needs_devices(query: SeriesQuery) -> bool:
    """Return whether rows of districts can't answer: of which devices they are is not in them."""
    chosen = query.selection
    by_place = chosen.bbox or chosen.near or chosen.polygon or chosen.tags
    return bool(
        query.group_by is GroupBy.DEVICE or chosen.devices or by_place or query.aggregates & OF_DEVICES
    )


async def make_plan(connection: Connection, query: SeriesQuery) -> Plan:
    """Return where to read; the transaction has to be of one snapshot."""
    names: list[str] = []
    if query.group_by is GroupBy.DISTRICT:
        names = await connection.fetchval("SELECT array_agg(name ORDER BY name) FROM alatau.district") or []
    progress = await read_progress(connection)
    parts: list[Part] = []
    followed: list[Part] = []
    gone: set[tuple[int, int]] = set()
    for kind in query.kinds:
        if query.selection.kinds and kind.name not in query.selection.kinds:
            continue
        known = progress.get(kind.name)
        tiers: tuple[Tier, ...] = ()
        if known is not None and not query.exact:
            tiers = tiers_for(query.start, query.end, query.boundaries, known)
        sources = cover(query.start, query.end, tiers, known)
        follows = bool(query.aggregates & OF_READINGS)
        if follows:
            readings = cover(query.start - CARRY, query.end + CARRY, (), known)
            followed += [Part(kind, segment, None) for segment in readings.segments]
            # What lacks of the rollups lacks of the readings, too: it is in these.
            gone |= set(readings.gone)
        else:
            gone |= set(sources.gone)
        if known is None or not any(segment.tier for segment in sources.segments):
            parts += [Part(kind, segment, None) for segment in sources.segments]
            continue
        dirty = await _read_dirty(connection, kind, query, known)
        zone = zoneinfo.ZoneInfo(known.zone)
        level = Level.DEVICE if needs_devices(query) else Level.DISTRICT
        split = split_dirty(sources, dirty, tiers, known)
        if not follows:
            gone |= set(split.gone)
        for segment in split.segments:
            parts += _parts(kind, segment, level, dirty, zone)
    return Plan(tuple(parts), tuple(followed), tuple(names), tuple(sorted(gone)))


def _parts(kind: Kind, segment: Segment, level: Level, dirty: Ranges, zone: zoneinfo.ZoneInfo) -> list[Part]:
    if segment.tier is None:
        return [Part(kind, segment, None)]
    if not segment.dirty:
        return [Part(kind, segment, level)]
    changed = widen(dirty, segment, zone)
    changed = merge_ranges(changed.device, changed.start, changed.stop)
    return [Part(kind, segment, Level.DEVICE, without=changed), Part(kind, segment, None, only=changed)]


async def _read_dirty(connection: Connection, kind: Kind, query: SeriesQuery, progress: Progress) -> Ranges:
    """Return what of the selected devices, or of districts they left, has changed since the rollups were made."""
    selected, arguments = condition(query.selection, 4)
    rows = await connection.fetch(
        f"""
        SELECT dirty.device_id, dirty.start, dirty.stop FROM alatau.rollup_dirty AS dirty
        JOIN alatau.device USING (device_id)
        WHERE dirty.kind = $1 AND dirty.start < $2 AND dirty.stop > $3
              AND (dirty.district IS NOT NULL OR {selected})
        """,
        kind.name,
        from_microseconds(query.end),
        from_microseconds(query.start),
        *arguments,
    )
    ranges = merge_ranges(
        np.array([row["device_id"] for row in rows], np.int32),
        np.array([as_microseconds(row["start"]) for row in rows], np.int64),
        np.array([as_microseconds(row["stop"]) for row in rows], np.int64),
    )
    return ranges.clip(progress.horizon, progress.clean_to)


class Arguments:
    """The values of a statement's parameters, and what it calls them."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def add(self, value: Any, type_: str) -> str:
        """Return the name of one more parameter."""
        self.values.append(value)
        return f"${len(self.values)}::{type_}"

    def select(self, selection: Selection) -> str:
        """Return a condition on ``device`` that holds for selected devices."""
        text, values = condition(selection, len(self.values) + 1)
        self.values += values
        return text


class Groups:
    """SQL that numbers the groups, in one statement's arguments."""

    def __init__(self, query: SeriesQuery, districts: Sequence[str], arguments: Arguments) -> None:
        self._query = query
        by_district = query.group_by is GroupBy.DISTRICT
        self._districts = arguments.add(list(districts), "text[]") if by_district else ""

    def number(self, kind: Kind, table: str) -> str:
        """Return the number of the group of a row: of alatau.device, or of a table with a district."""
        match self._query.group_by:
            case GroupBy.NONE:
                return "0"
            case GroupBy.KIND:
                return str(self._query.kinds.index(kind))
            case GroupBy.DISTRICT:
                return f"array_position({self._districts}, {table}.district) - 1"
            case GroupBy.DEVICE:
                return f"{table}.device_id"
