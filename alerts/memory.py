"""What the search knows: which series there are, what has come of them, and what it keeps from step to step."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from alerts.neighbours import Floats, Ints
from sensors.times import SECOND

BUCKET = 300 * SECOND
# Buckets whose mean is judged: an hour, as of the history that the bounds come from.
LAST = 12
_REFERENCE = 72  # buckets before that hour: what a change of the whole city is held against
NEVER = np.int64(-(2**62))

Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Which series there are: s series of d devices in g groups (district, kind, metric) of c cities (kind, metric).

    A counter's values are its rise in an hour.
    """

    device: Ints  # (s,) place among the devices
    group: Ints  # (s,)
    city: Ints  # (s,)
    city_of_group: Ints  # (g,)
    first_of_group: Ints  # (g,) a series of each
    first_of_city: Ints  # (c,)
    others: Ints  # (g, w), as of ``others_of``
    minimum: Floats  # (s,)
    maximum: Floats  # (s,)
    is_counter: Bools  # (s,)
    interval: Ints  # (d,) between two readings, µs


@dataclasses.dataclass(frozen=True, slots=True)
class Bucket:
    """Five minutes of all series from ``start`` (Unix µs), each array (s,): states of the rollups, NaN for none.

    ``last_at`` is the time of the last reading, Unix µs; what it says where ``count`` is 0 does not matter.
    """

    start: int
    count: Ints
    mean: Floats
    low: Floats
    high: Floats
    m2: Floats
    last: npt.NDArray[np.float64]
    last_at: Ints


@dataclasses.dataclass(slots=True)
class Memory:
    """What a detector keeps between steps: about 100 bytes a series. Times are Unix µs."""

    value: Floats  # (2, s) the last bucket means that were there, newest first
    hour: Floats  # (LAST, s) the bucket means of the last hour, newest first, NaN for none
    distance: Floats  # (s,) of the hour's mean from neighbours, in y
    slow: Floats  # (s,)
    still: Ints  # (s,) buckets of one value
    still_since: Ints  # (s,) the first reading of it
    back: Ints  # (s,) buckets near to neighbours again, after a drift
    over: Ints  # (s,) buckets beyond the bound
    pattern: npt.NDArray[np.int8]  # (s,)
    since: Ints  # (s,)
    leapt: Floats  # (s,) a reading that may have been a spike, NaN for none
    rest: Floats  # (s,) what the others were then
    peak: Floats  # (s,) the last spike's value
    spiked: Ints  # (s,) end of the bucket of the last spike
    common: Floats  # (s,) what neighbours have in common, in y
    expected: Floats  # (s,) y of the season
    width: Floats  # (s,) how far from that and from neighbours is usual; inf: not judged
    counter: npt.NDArray[np.float64]  # (s,)
    counter_at: Ints  # (s,)
    seen: Ints  # (d,) last reading of each device
    of_group: Floats  # (g,) distance from the other districts
    group_width: Floats  # (g,) how far is usual
    group_over: Ints  # (g,) buckets beyond the bound
    group_since: Ints  # (g,) 0: no event
    of_city: Floats  # (LAST + _REFERENCE, c) medians, newest first
    reference: Floats  # (c,) what the city is held against
    city_width: Floats  # (c,)
    city_over: Ints  # (c,)
    city_since: Ints  # (c,) 0: no event

    @classmethod
    def axes(cls) -> dict[str, str]:
        """Return along what each array runs at last: s series, d devices, g groups, c cities."""
        of_groups = dict.fromkeys(("of_group", "group_width", "group_over", "group_since"), "g")
        of_cities = dict.fromkeys(("of_city", "reference", "city_width", "city_over", "city_since"), "c")
        rest = {field.name: "s" for field in dataclasses.fields(cls)}
        return rest | {"seen": "d"} | of_groups | of_cities

    @classmethod
    def empty(cls, layout: Layout) -> Memory:
        """Return the memory before the first step."""
        s, d, (g, _) = len(layout.device), len(layout.interval), layout.others.shape
        c = len(layout.first_of_city)

        def nan(*shape: int) -> Floats:
            return np.full(shape, np.nan, np.float32)

        return cls(
            value=nan(2, s),
            hour=nan(LAST, s),
            distance=nan(s),
            slow=np.zeros(s, np.float32),
            still=np.zeros(s, np.int64),
            still_since=np.zeros(s, np.int64),
            back=np.zeros(s, np.int64),
            over=np.zeros(s, np.int64),
            pattern=np.zeros(s, np.int8),
            since=np.zeros(s, np.int64),
            leapt=nan(s),
            rest=nan(s),
            peak=nan(s),
            spiked=np.full(s, NEVER),
            common=np.zeros(s, np.float32),
            expected=nan(s),
            width=nan(s),
            counter=np.full(s, np.nan),
            counter_at=np.zeros(s, np.int64),
            seen=np.full(d, NEVER),
            of_group=nan(g),
            group_width=nan(g),
            group_over=np.zeros(g, np.int64),
            group_since=np.zeros(g, np.int64),
            of_city=nan(LAST + _REFERENCE, c),
            reference=nan(c),
            city_width=nan(c),
            city_over=np.zeros(c, np.int64),
            city_since=np.zeros(c, np.int64),
        )
