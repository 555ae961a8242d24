"""What is asked of series, and what is answered: values, no SQL."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.times import DAY
from storage.selection import Selection


class Aggregate(enum.StrEnum):
    """What is computed of the values of a bucket; ``docs/api.md`` defines each."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"
    FIRST = "first"
    LAST = "last"
    STDDEV = "stddev"
    TWA = "twa"
    TWA_LINEAR = "twa_linear"
    INCREASE = "increase"
    RATE = "rate"
    EXCEED = "exceed"


# These follow each device from reading to reading, so that they are made of readings only.
OF_READINGS = frozenset(
    {Aggregate.TWA, Aggregate.TWA_LINEAR, Aggregate.INCREASE, Aggregate.RATE, Aggregate.EXCEED}
)
# A value is worth something for a day after it was read, and no longer: so far before and after a range they look.
CARRY = DAY
# Of several devices at the same time the one with the lowest number is first: rows of districts don't tell.
OF_DEVICES = frozenset({Aggregate.FIRST, Aggregate.LAST})


class GroupBy(enum.StrEnum):
    """What each series is of."""

    NONE = "none"
    DISTRICT = "district"
    KIND = "kind"
    DEVICE = "device"


@dataclasses.dataclass(frozen=True, slots=True)
class SeriesQuery:
    """What to aggregate: readings from ``start`` to before ``end`` between rising ``boundaries``, all Unix µs.

    The first boundary is not after ``start``. ``kinds`` are those to read, each with a metric of ``metrics``.
    ``quantiles`` are between 0 and 1, from sketches unless ``exact``. ``limit`` is that of EXCEED. After ``now``
    nothing is expected, and no value is carried on; None is the end.
    """

    metrics: tuple[str, ...]
    aggregates: frozenset[Aggregate]
    start: int
    end: int
    boundaries: Sequence[int]
    group_by: GroupBy
    kinds: tuple[Kind, ...]
    selection: Selection
    quantiles: tuple[float, ...] = ()
    exact: bool = False
    limit: float | None = None
    now: int | None = None
    most_rows: int = 5_000_000  # of readings that are looked at one by one

    @property
    def edges(self) -> npt.NDArray[np.int64]:
        """The boundaries as far as the range goes: buckets at its ends are clipped."""
        return np.clip(np.array(self.boundaries, np.int64), self.start, self.end)

    @property
    def begins(self) -> npt.NDArray[np.datetime64]:
        """Where the buckets begin, as ``with_literals`` takes it: a range may have thousands."""
        return np.array(self.boundaries[:-1], "datetime64[us]")

    @property
    def known_to(self) -> int:
        """The end of the range, or now if that is earlier."""
        return self.end if self.now is None else min(self.end, self.now)


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """One metric of one group; arrays of shape (buckets,), NaN where a bucket has no value.

    ``count`` int64 counts values, not rows; ``expected`` is how many the devices' intervals let expect. ``group``
    is None when nothing was grouped by.
    """

    group: str | None
    metric: str
    count: npt.NDArray[np.int64]
    values: dict[Aggregate, npt.NDArray[np.float64]]
    expected: npt.NDArray[np.float64]
    quantiles: dict[float, npt.NDArray[np.float64]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Series by group and metric; which tiers and readings they came from; and the ranges, Unix µs, of which
    something asked for is not kept any more."""

    series: list[Series]
    sources: tuple[str, ...]
    gone: tuple[tuple[int, int], ...]


class TooManyReadingsError(Exception):
    """A question would look at more readings one by one than is allowed; ``limit`` says how many are."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} readings would have to be read one by one")
        self.limit = limit
