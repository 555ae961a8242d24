"""Where an answer comes from: rollups where they say exactly what is asked, the readings everywhere else."""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Sequence

import numpy as np

from storage.rollup_marks import Ranges
from storage.rollup_progress import Progress
from storage.rollup_tables import HOUR, MINUTES, Tier, ceil_to, edges_of, floor_to

COARSEST_FIRST = (Tier.DAY, Tier.HOUR, Tier.MINUTES)


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """A part of a range, Unix µs: from rows of a tier, or from the readings if it is None.

    In a ``dirty`` one the rows of some devices are not what their readings say.
    """

    start: int
    stop: int
    tier: Tier | None = None
    dirty: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """How a range is covered: segments in no order, and what is not there any more, as (start, stop)."""

    segments: tuple[Segment, ...]
    gone: tuple[tuple[int, int], ...]


def tiers_for(start: int, stop: int, boundaries: Sequence[int], progress: Progress) -> tuple[Tier, ...]:
    """Return the tiers that have a boundary at each of those within a range, the coarsest first."""
    inner = np.array([edge for edge in boundaries if start < edge < stop], np.int64)
    zone = zoneinfo.ZoneInfo(progress.zone)
    fits = {
        Tier.DAY: lambda: bool(np.isin(inner, edges_of(Tier.DAY, start, stop, zone)).all()),
        Tier.HOUR: lambda: not np.any(inner % HOUR),
        Tier.MINUTES: lambda: not np.any(inner % MINUTES),
    }
    return tuple(tier for tier in COARSEST_FIRST if fits[tier]())


def cover(start: int, stop: int, tiers: Sequence[Tier], progress: Progress | None) -> Sources:
    """Cover a range by rows of the coarsest tier that is there, and what is left at its ends by finer ones."""
    if progress is None:
        return Sources((Segment(start, stop),), ())
    segments, gone = _cover(start, stop, tiers, progress, zoneinfo.ZoneInfo(progress.zone))
    return Sources(tuple(segments), tuple(gone))


def _cover(
    start: int, stop: int, tiers: Sequence[Tier], progress: Progress, zone: zoneinfo.ZoneInfo
) -> tuple[list[Segment], list[tuple[int, int]]]:
    if start >= stop:
        return [], []
    if not tiers:
        kept = max(start, progress.horizon)
        return (
            [Segment(kept, stop)] if kept < stop else [],
            [(start, min(kept, stop))] if start < kept else [],
        )
    tier, *finer = tiers
    oldest = max(start, progress.horizon_of(tier))
    if oldest < min(stop, progress.clean_to):
        first, last = ceil_to(tier, oldest, zone), floor_to(tier, min(stop, progress.clean_to), zone)
        if first < last:
            before, gone_before = _cover(start, first, finer, progress, zone)
            after, gone_after = _cover(last, stop, finer, progress, zone)
            return [*before, Segment(first, last, tier), *after], [*gone_before, *gone_after]
    return _cover(start, stop, finer, progress, zone)


def split_dirty(sources: Sources, dirty: Ranges, tiers: Sequence[Tier], progress: Progress) -> Sources:
    """Set the parts of segments apart in which something has changed since their rows were made.

    ``tiers`` are those that may be read, the coarsest first. What has changed is of times whose readings are there.
    """
    zone = zoneinfo.ZoneInfo(progress.zone)
    segments: list[Segment] = []
    gone = list(sources.gone)
    for segment in sources.segments:
        if segment.tier is None:
            segments.append(segment)
            continue
        edges = edges_of(segment.tier, segment.start, segment.stop, zone)
        is_dirty = np.zeros(len(edges) - 1, dtype=bool)
        first = np.searchsorted(edges, dirty.start, side="right") - 1
        last = np.searchsorted(edges, dirty.stop, side="left")
        for low, high in set(zip(np.maximum(first, 0).tolist(), last.tolist(), strict=True)):
            is_dirty[low:high] = True
        turns = np.flatnonzero(np.append(True, is_dirty[1:] != is_dirty[:-1]))
        for low, high in zip(turns.tolist(), [*turns[1:].tolist(), len(is_dirty)], strict=True):
            begin, end = int(edges[low]), int(edges[high])
            if is_dirty[low] and begin < progress.horizon:
                # Of the bucket's first part there are no readings any more: finer rows say what that was.
                finer = tiers[tiers.index(segment.tier) + 1 :]
                inner = cover(begin, int(edges[low + 1]), finer, progress)
                inner = split_dirty(inner, dirty, finer, progress)
                segments += inner.segments
                gone += inner.gone
                begin = int(edges[low + 1])
            if begin < end:
                segments.append(Segment(begin, end, segment.tier, dirty=bool(is_dirty[low])))
    return Sources(tuple(segments), tuple(gone))


def widen(dirty: Ranges, segment: Segment, zone: zoneinfo.ZoneInfo) -> Ranges:
    """Return the whole buckets of a segment's tier that changed, as they lie within the segment."""
    if segment.tier is None:
        return dirty.clip(segment.start, segment.stop)
    edges = edges_of(segment.tier, segment.start, segment.stop, zone)
    inside = dirty.clip(segment.start, segment.stop)
    return Ranges(
        inside.device,
        edges[np.searchsorted(edges, inside.start, side="right") - 1],
        edges[np.searchsorted(edges, inside.stop, side="left")],
    )
