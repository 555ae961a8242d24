"""Where an answer comes from, without a database."""

from __future__ import annotations

import numpy as np

from sensors.times import parse_timestamp
from storage.rollup_marks import Ranges
from storage.rollup_progress import Progress
from storage.rollup_tables import MINUTES, Tier
from storage.sources import COARSEST_FIRST, Segment, cover, split_dirty

NOON = parse_timestamp("2026-01-15T12:00:00Z")
DAY = 86_400_000_000
HOUR = 3_600_000_000


def test_what_changed_in_a_bucket_that_the_horizon_divides_leaves_its_first_part_to_finer_rows() -> None:
    """Its readings before the horizon are gone: read instead of the day's row, they would be missing."""
    midnight = NOON - DAY // 2
    progress = Progress("UTC", logged_to=NOON + DAY, clean_to=NOON + DAY, horizon=NOON)
    late = NOON + 3 * HOUR
    dirty = Ranges(np.array([1], np.int32), np.array([late]), np.array([late + MINUTES]))
    sources = cover(midnight, midnight + DAY, COARSEST_FIRST, progress)
    assert sources.segments == (Segment(midnight, midnight + DAY, Tier.DAY),)
    split = split_dirty(sources, dirty, COARSEST_FIRST, progress)
    assert split.gone == ()
    assert sorted(split.segments, key=lambda segment: segment.start) == [
        Segment(midnight, late, Tier.HOUR),
        Segment(late, late + HOUR, Tier.HOUR, dirty=True),
        Segment(late + HOUR, midnight + DAY, Tier.HOUR),
    ]
